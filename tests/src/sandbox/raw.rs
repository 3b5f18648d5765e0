//! Components that no compiler would make: a core module written as text, put into the place of a real plugin's own.
//!
//! Everything around the module (the contract's types, the lifting and lowering of values) stays what a toolchain made, so the module is
//! what a hostile author would write: it may hand back any number as a pointer, a length, a handle or a case.

use crate::components::component;

/// What the module of a raw plugin does where; WebAssembly as text. The default is a good plugin that passes.
pub(super) struct Raw<'a> {
    /// Body of `decide`; leaves the address of the answer.
    pub(super) decide: &'a str,
    /// Body of `describe`; leaves the address of the manifest.
    pub(super) describe: &'a str,
    /// Body of `check` (address and length of the settings); leaves the address of the answer.
    pub(super) check: &'a str,
    /// Body of `cabi_realloc` (old, old length, alignment, new length); leaves an address.
    pub(super) realloc: &'a str,
    /// Body of what is called when the host has read the answer of `decide`.
    pub(super) afterwards: &'a str,
    /// Further parts: functions, globals, memories, tables, a start function.
    pub(super) more: &'a str,
    /// Pages of its memory.
    pub(super) pages: u32,
}

/// Where the manifest lies: seven pairs of address and length.
const MANIFEST: &str = "(i32.const 1024)";
/// An answer of 40 bytes that is all zeros but for its text: `ok(pass("fine"))`.
const PASS: &str = "(i32.store (i32.const 2064) (i32.const 16)) (i32.store (i32.const 2068) (i32.const 4)) (i32.const 2048)";
/// `ok`
const SOUND: &str = "(i32.const 2560)";
/// Gives out memory from 64 KiB on and never takes it back.
const BUMP: &str = "(global.set $top (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (global.get $top) (global.set $top (i32.add (global.get $top) (local.get 3)))";

impl Default for Raw<'_> {
    fn default() -> Self {
        Self { decide: PASS, describe: MANIFEST, check: SOUND, realloc: BUMP, afterwards: "", more: "", pages: 4 }
    }
}

impl Raw<'_> {
    /// The whole component.
    pub(super) fn component(&self) -> Vec<u8> {
        let Self { decide, describe, check, realloc, afterwards, more, pages } = self;
        let module = format!(
            r#"(module
                (import "paramedic:policy/incident@1.0.0" "now" (func $now (result i64)))
                (import "paramedic:policy/incident@1.0.0" "id" (func $id (param i32)))
                (import "paramedic:policy/docker@1.0.0" "start" (func $start (param i32 i32) (result i32)))
                (import "paramedic:policy/types@1.0.0" "[resource-drop]proposal" (func $drop (param i32)))
                (import "paramedic:policy/log@1.0.0" "log" (func $log (param i32 i32 i32)))
                (import "paramedic:policy/metrics@1.0.0" "query" (func $query (param i32 i32 i32)))
                (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
                (memory (export "memory") {pages})
                (global $top (mut i32) (i32.const 65536))
                (data (i32.const 16) "fine")
                (data (i32.const 32) "raw")
                (data (i32.const 48) "local/web")
                (data (i32.const 1024) "\20\00\00\00\03\00\00\00" "\20\00\00\00\03\00\00\00")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "paramedic:policy/lifecycle@1.0.0#describe") (result i32) {describe})
                (func (export "paramedic:policy/lifecycle@1.0.0#check") (param i32 i32) (result i32) {check})
                (func (export "cabi_post_paramedic:policy/lifecycle@1.0.0#check") (param i32))
                (func (export "paramedic:policy/handler@1.0.0#decide") (result i32) {decide})
                (func (export "cabi_post_paramedic:policy/lifecycle@1.0.0#describe") (param i32))
                (func (export "cabi_post_paramedic:policy/handler@1.0.0#decide") (param i32) {afterwards})
                {more})"#
        );
        transplant(&component("guests"), &wat::parse_str(&module).unwrap())
    }
}

/// Puts `module` into the place of the component's largest core module.
fn transplant(component: &[u8], module: &[u8]) -> Vec<u8> {
    const CORE_MODULE: u8 = 1;
    let sections = sections(component);
    let largest = sections.iter().filter(|s| s.kind == CORE_MODULE).max_by_key(|s| s.end - s.content).unwrap();
    let mut length = Vec::new();
    let mut rest = module.len();
    while rest > 0x7f {
        length.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    length.push(rest as u8);
    [&component[..largest.start], &[CORE_MODULE], &length, module, &component[largest.end..]].concat()
}

/// One of the outermost sections of a component.
pub(super) struct Section {
    pub(super) kind: u8,
    pub(super) start: usize,
    pub(super) content: usize,
    pub(super) end: usize,
}

/// All outermost sections.
pub(super) fn sections(component: &[u8]) -> Vec<Section> {
    let mut found = Vec::new();
    let mut at = 8;
    while at < component.len() {
        let (start, kind) = (at, component[at]);
        let (mut length, mut shift) = (0, 0);
        loop {
            at += 1;
            length |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        let content = at + 1;
        at = content + length;
        found.push(Section { kind, start, content, end: at });
    }
    found
}
