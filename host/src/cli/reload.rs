//! `paramedic reload`

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json as value};

use super::desk::{Answer, SocketArg};
use super::output::{json, line, note};
use super::{End, Output};

/// A little longer than the server takes at most.
const WITHIN: Duration = Duration::from_secs(130);

const EXAMPLES: &str = "Examples:
  paramedic reload
  paramedic reload --config /etc/paramedic/paramedic.yaml --output json";

/// Have the running server take policies and plugins over as their files are now, and print what has changed
///
/// All of what the folders hold is taken over, or nothing of it: exit code 1 when something is wrong, with everything that is. The server also
/// does this by itself a second after a file has changed. What stands in paramedic.yaml needs a restart.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ReloadFiles {
    #[command(flatten)]
    socket: SocketArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl ReloadFiles {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let Some(desk) = self.socket.desk().await? else {
            let (socket, start) = (self.socket.path()?, self.socket.start());
            anyhow::bail!(
                "no server was found at {}: {start} starts one, which reads the files as they are then",
                socket.display()
            );
        };
        match desk.post_within(&["reload"], &value!({}), WITHIN).await? {
            Answer::Done(told) if self.output == Output::Json => json(&told).map(|()| End::Fine),
            Answer::Done(told) => {
                print(&told);
                Ok(End::Fine)
            }
            Answer::No(why) if self.output == Output::Json => json(&value!({ "error": why })).map(|()| End::Findings),
            Answer::No(why) => {
                note(format!("Nothing was taken over, what was loaded goes on:\n{why}"));
                Ok(End::Findings)
            }
            Answer::Sick(why) => anyhow::bail!("{why}"),
        }
    }
}

fn print(told: &Value) {
    let names = |key: &str| told[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let kinds = [("new", "added"), ("changed", "changed"), ("gone", "removed")];
    for (word, key) in kinds {
        names(key).iter().for_each(|name| line(format!("{word:8} {name}")));
    }
    let same = kinds.iter().all(|(_, key)| names(key).is_empty());
    let policies = told["policies"].as_u64().unwrap_or_default();
    line(format!("{} {policies} policies are loaded.", if same { "Nothing has changed." } else { "Taken over." }));
    if let Some(text) = told["note"].as_str() {
        note(format!("note: {text}"));
    }
}
