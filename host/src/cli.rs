//! The operator's commands, one file each. Output goes to stdout, errors to stderr with what to do next.
//!
//! Exit codes: 0 fine, 1 findings or a no, 2 could not run, 78 when the server refuses its configuration.

mod alert;
mod ask;
mod check;
mod desk;
mod halt;
mod hold;
mod incident;
mod journal;
mod observe;
mod output;
mod policy;
mod reload;
mod replay;
mod serve;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::LogFormat;

const EXAMPLES: &str = "Examples:
  paramedic observe --prometheus http://localhost:9090
  paramedic check --online
  paramedic serve --config paramedic.yaml
  paramedic incident list --open
  paramedic halt --reason 'storage is being moved'

Exit codes: 0 fine, 1 findings or a no, 2 could not run, 78 a configuration that the server refuses.";

const HALT_EXAMPLES: &str = "Examples:
  paramedic halt --reason 'storage is being moved'
  paramedic halt --data /var/lib/paramedic --reason 'the server does not answer'";

const RESUME_EXAMPLES: &str = "Examples:
  paramedic resume --reason 'storage is moved'";

/// The first responder of an infrastructure: alerts in, sandboxed policies decide, only what you granted is done, and it looks
/// whether that helped. It changes nothing until a policy says `enforce`, or `approve` and a person says yes, and a grant names the target.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How logs are written to stderr
    #[arg(long, global = true, value_name = "text|json", default_value_t, env = "PARAMEDIC_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged, such as `info` or `paramedic=debug,warn`
    #[arg(long, global = true, default_value = "info", env = "PARAMEDIC_LOG")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: take alerts in, decide, act within the grants, verify
    Serve(serve::Serve),
    /// Look at a Prometheus and an Alertmanager and say what Paramedic would do; needs no configuration and changes nothing
    Observe(observe::Observe),
    /// Check the configuration, the policies and the plugins; exit code 1 when something is wrong
    Check(check::Check),
    /// Ask what would be done about one alert, and why; does nothing
    Ask(ask::Ask),
    /// List incidents, tell the story of one, or say what shall become of it
    #[command(subcommand)]
    Incident(incident::IncidentCommand),
    /// Halt everything: no action begins until somebody resumes, also after a restart
    #[command(after_help = HALT_EXAMPLES)]
    Halt(halt::Halt),
    /// Let actions begin again
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(halt::Resume),
    /// Have the running server take policies and plugins over as their files are now, and print what has changed
    Reload(reload::ReloadFiles),
    /// Hold everything about certain alerts for a while, such as during a deployment
    ///
    /// Nothing begins about an alert whose labels fit all matchers, until the end comes or somebody releases it; then what was held is asked
    /// again. It works without a running server, survives its restarts, and prints the hold's id, alone on stdout.
    Hold(hold::Hold),
    /// End a hold before its time
    Release(hold::Release),
    /// List what is held, by whom, why and until when
    Holds(hold::ListHolds),
    /// Follow, verify, export, back up or compact the journal
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Repeat past decisions: prove them, or try what another version would have decided; nothing follows from it
    Replay(replay::Replay),
    /// Write, build, test, look into and measure policy plugins
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Send a test alert to a running server
    Alert(alert::SendAlert),
}

/// Where the configuration is; the same for every command that needs it.
#[derive(Args, Clone, Debug)]
struct ConfigArg {
    /// The server's configuration
    #[arg(long, short, default_value = "paramedic.yaml", env = "PARAMEDIC_CONFIG")]
    config: PathBuf,
}

/// Where the journal is.
#[derive(Args, Clone, Debug)]
struct DataArg {
    #[command(flatten)]
    config: ConfigArg,
    /// The data folder; without it, the one named in the configuration
    #[arg(long, env = "PARAMEDIC_DATA")]
    data: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// How a command ended.
enum End {
    Fine,
    Findings,
    BadConfig,
}

impl Cli {
    /// Runs the command and says how it ended.
    pub fn run(self) -> ExitCode {
        if let Err(error) = crate::telemetry::init(self.log_format, &self.log) {
            return output::fail(&error.into());
        }
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return output::fail(&anyhow::Error::from(error).context("the runtime cannot be started")),
        };
        let ended = runtime.block_on(self.command.run());
        // Commands end their own work; what still runs is a read that nobody waits for.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        match ended {
            Ok(End::Fine) => ExitCode::SUCCESS,
            Ok(End::Findings) => ExitCode::from(1),
            Ok(End::BadConfig) => ExitCode::from(78),
            Err(error) => output::fail(&error),
        }
    }
}

impl Command {
    async fn run(self) -> anyhow::Result<End> {
        match self {
            Self::Serve(command) => command.run().await,
            Self::Observe(command) => command.run().await,
            Self::Check(command) => command.run().await,
            Self::Ask(command) => command.run().await,
            Self::Incident(command) => command.run().await,
            Self::Halt(command) => command.run().await,
            Self::Resume(command) => command.run().await,
            Self::Reload(command) => command.run().await,
            Self::Hold(command) => command.run().await,
            Self::Release(command) => command.run().await,
            Self::Holds(command) => command.run().await,
            Self::Journal(command) => command.run().await,
            Self::Replay(command) => command.run().await,
            Self::Policy(command) => command.run().await,
            Self::Alert(command) => command.run().await,
        }
    }
}

impl DataArg {
    /// The journal, for reading.
    fn journal(&self) -> anyhow::Result<crate::journal::Reader> {
        Ok(crate::journal::Reader::open(&self.folder()?)?)
    }

    /// The data folder.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        Ok(match &self.data {
            Some(data) => data.clone(),
            None => crate::config::load(&self.config.config)?.data,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;

    /// Commands that print no data, with the reason.
    const SILENT: [(&str, &str); 4] = [
        ("serve", "what a server says is its log"),
        ("policy new", "what it makes is files"),
        ("policy build", "what it makes is a file, and `policy inspect` tells of it"),
        ("policy dev", "it goes on until somebody ends it"),
    ];

    /// Every command that does something, with its name.
    fn leaves(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
        let below = |sub: &clap::Command| leaves(sub, format!("{name} {}", sub.get_name()).trim());
        match command.get_subcommands().filter(|sub| sub.get_name() != "help").flat_map(below).collect::<Vec<_>>() {
            all if all.is_empty() => vec![(name.to_owned(), command.clone())],
            all => all,
        }
    }

    #[test]
    fn whatever_prints_data_prints_it_for_programs_too() {
        let all = leaves(&Cli::command(), "");
        assert!(all.len() > 15, "only {} commands were found", all.len());
        for (name, command) in all {
            let has = command.get_arguments().any(|argument| argument.get_long() == Some("output"));
            let silent = SILENT.iter().any(|(silent, _)| *silent == name);
            assert_ne!(has, silent, "`paramedic {name}` prints data, so it takes --output json; or it belongs into SILENT");
        }
    }

    #[test]
    fn every_command_shows_examples_and_each_can_be_typed() {
        for (name, command) in leaves(&Cli::command(), "").into_iter().chain([(String::new(), Cli::command())]) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  paramedic ")).map(str::trim).collect();
            assert!(!examples.is_empty(), "`paramedic {name} --help` shows no example: give it an `after_help` with `Examples:`");
            for example in examples {
                assert!(example.len() <= 105, "too long for a terminal: {example}");
                assert!(example.starts_with(format!("paramedic {name}").trim()), "not of `{name}`: {example}");
                let typed = Cli::command().try_get_matches_from(words(example));
                assert!(typed.is_ok(), "{example}: {}", typed.unwrap_err());
            }
        }
    }

    /// The words of a line as a shell sees them, as far as examples need it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted, mut open) = (vec![String::new()], false, false);
        for c in line.chars() {
            match c {
                '\'' => (quoted, open) = (!quoted, true),
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        assert!(!quoted && (open || !line.contains('\'')), "a quote is missing: {line}");
        words
    }
}
