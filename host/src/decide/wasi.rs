//! The part of WASI that language runtimes need to link, all of it deaf.
//!
//! A plugin gets no environment, no arguments, no input, and no way to wait for anything; what it prints becomes its log. Its
//! hash seed is always the same, so that it decides the same when it is asked again. Absent on purpose: clocks, randomness,
//! files, sockets; a plugin that imports them is refused when it is loaded.

use wasmtime::Result;
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::bindings::random::insecure_seed;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi_io::bindings::wasi::io;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream, OutputStream, StreamError};

use super::guest::{Guest, Notes, Overstep, Pipe};

/// The interfaces that are linked, without their versions.
pub(super) const LINKED: [&str; 14] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
];

/// Bytes that are taken in one write; the guest can make the host allocate that much.
const MAX_WRITE: usize = 16 << 10;

struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links the interfaces of [`LINKED`].
pub(super) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    type Me = HasSelf<Guest>;
    io::error::add_to_linker::<_, Handles>(linker, |guest| &mut guest.table)?;
    io::poll::add_to_linker::<_, Handles>(linker, |guest| &mut guest.table)?;
    io::streams::add_to_linker::<_, Handles>(linker, |guest| &mut guest.table)?;
    environment::add_to_linker::<_, Me>(linker, |guest| guest)?;
    exit::add_to_linker::<_, Me>(linker, |guest| guest)?;
    stdin::add_to_linker::<_, Me>(linker, |guest| guest)?;
    stdout::add_to_linker::<_, Me>(linker, |guest| guest)?;
    stderr::add_to_linker::<_, Me>(linker, |guest| guest)?;
    terminal_input::add_to_linker::<_, Me>(linker, |guest| guest)?;
    terminal_output::add_to_linker::<_, Me>(linker, |guest| guest)?;
    terminal_stdin::add_to_linker::<_, Me>(linker, |guest| guest)?;
    terminal_stdout::add_to_linker::<_, Me>(linker, |guest| guest)?;
    terminal_stderr::add_to_linker::<_, Me>(linker, |guest| guest)?;
    insecure_seed::add_to_linker::<_, Me>(linker, |guest| guest)
}

impl environment::Host for Guest {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for Guest {
    fn exit(&mut self, _status: Result<(), ()>) -> Result<()> {
        Err(Overstep("it ended its own process instead of answering".to_owned()).into())
    }
    fn exit_with_code(&mut self, _code: u8) -> Result<()> {
        exit::Host::exit(self, Err(()))
    }
}

impl stdin::Host for Guest {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for Guest {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        self.output(Pipe::Stdout)
    }
}

impl stderr::Host for Guest {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        self.output(Pipe::Stderr)
    }
}

impl Guest {
    fn output(&mut self, pipe: Pipe) -> Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Output { pipe, notes: self.notes.clone() });
        Ok(self.table.push(stream)?)
    }
}

/// Takes what is printed into the notes. Never full: what is too much is dropped there, so a talkative plugin is cut, not killed.
struct Output {
    pipe: Pipe,
    notes: Notes,
}

#[wasmtime_wasi_io::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi_io::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.notes.write(self.pipe, &bytes);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }
    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(MAX_WRITE)
    }
}

impl terminal_input::Host for Guest {}
impl terminal_input::HostTerminalInput for Guest {
    fn drop(&mut self, _: Resource<terminal_input::TerminalInput>) -> Result<()> {
        Ok(())
    }
}

impl terminal_output::Host for Guest {}
impl terminal_output::HostTerminalOutput for Guest {
    fn drop(&mut self, _: Resource<terminal_output::TerminalOutput>) -> Result<()> {
        Ok(())
    }
}

impl terminal_stdin::Host for Guest {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<terminal_stdin::TerminalInput>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for Guest {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<terminal_stdout::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for Guest {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<terminal_stderr::TerminalOutput>>> {
        Ok(None)
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((0x7061_7261_6d65_6469, 0x6320_6469_6365_2121))
    }
}
