//! `paramedic hold`, `paramedic release` and `paramedic holds`
//!
//! Made for scripts as well as for people: `hold` prints the hold's id alone to stdout, and everything else to stderr. Like a halt, a hold
//! is a file in the data folder, so that it works while the server is down, and past one that hangs or is sick; letting go past a server that
//! cannot say how it stands is not needed in a hurry, and is left to whoever removes the file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde_json::{Value, json as value};

use super::desk::{Answer, SOON, SocketArg};
use super::output::{json, line, note, table};
use super::{End, Output};
use crate::clock::{Time, parse_duration, print_duration};
use crate::hold::Holds;
use crate::operate::{Held, LetGo, Listed, Wanted, after_hold, myself, reason};
use crate::telemetry::clean;

/// With a deployment as its script would write it.
const HOLD_EXAMPLES: &str = "\
Examples:
  paramedic hold 'service=\"web\"' --for 30m --reason 'deploy 123'
  paramedic hold 'severity!=\"page\"' --until 2026-11-25T18:00:00+01:00 --reason 'moving racks'

In a script:
    id=$(paramedic hold 'service=\"web\"' --for 30m --reason \"deploy $BUILD\") || exit
    ./deploy; code=$?
    paramedic release \"$id\" --reason \"deploy $BUILD ended with $code\"";

const RELEASE_EXAMPLES: &str = "Examples:
  paramedic release 3f9c1d20 --reason 'deploy 123 is through'
  paramedic release --all --reason 'all is well'";

const HOLDS_EXAMPLES: &str = "Examples:
  paramedic holds
  paramedic holds --all --output json";

/// Hold everything about certain alerts for a while, such as during a deployment; prints the hold's id
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("end").required(true), after_help = HOLD_EXAMPLES)]
pub struct Hold {
    /// Which alerts: matchers on their labels, as in Alertmanager (=, !=, =~, !~); all have to fit
    #[arg(required = true, value_name = "MATCHER")]
    matchers: Vec<String>,
    /// For how long, such as 30m or 2h; at most 7d
    #[arg(long = "for", group = "end", value_name = "TIME", value_parser = parse_duration)]
    length: Option<Duration>,
    /// Until when, such as 2026-11-25T18:00:00+01:00; at most 7d away
    #[arg(long, group = "end", value_name = "MOMENT")]
    until: Option<String>,
    /// Why; the next person reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    socket: SocketArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// End a hold before its time, or all of them
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true), after_help = RELEASE_EXAMPLES)]
pub struct Release {
    /// Its id, or the beginning of it: `paramedic holds` lists them
    #[arg(group = "which")]
    id: Option<String>,
    /// All holds
    #[arg(long, group = "which")]
    all: bool,
    /// Why; the next person reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    socket: SocketArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// List what is held, by whom, why and until when
#[derive(Args, Debug)]
#[command(after_help = HOLDS_EXAMPLES)]
pub struct ListHolds {
    /// Also those that have ended
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    socket: SocketArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Hold {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let until = match (self.length, self.until) {
            (Some(length), _) => Time::now().plus(length).to_string(),
            (None, until) => until.unwrap_or_default(),
        };
        let wanted = Wanted { matchers: self.matchers, until, reason: self.reason };
        // What can never be right is said here, whoever could be reached.
        let hold = wanted.by(&myself()).map_err(anyhow::Error::msg)?;
        let without = match asked(&self.socket, &wanted).await {
            Ok(Answer::Done(told)) => return tell(&told, self.output),
            Ok(Answer::No(why)) => return no(&why),
            Ok(Answer::Sick(why)) => why,
            Err(error) => format!("{error:#}"),
        };
        let data = self.socket.data().context("the data folder is not known: name it with `--data`")?;
        let placed = hold.clone();
        with_files(data, move |holds| holds.place(&placed)).await.with_context(|| without.clone())?;
        let next =
            format!("{}. It was written without a server ({without}); whichever uses this folder obeys it", after_hold(&hold));
        tell(&serde_json::to_value(Held { hold, running: Vec::new(), next })?, self.output)
    }
}

async fn asked(socket: &SocketArg, wanted: &Wanted) -> anyhow::Result<Answer> {
    match socket.desk().await? {
        Some(desk) => desk.post_soon(&["holds"], &serde_json::to_value(wanted)?).await,
        None => Ok(Answer::Sick(format!("none was found at {}", socket.path()?.display()))),
    }
}

fn tell(told: &Value, output: Output) -> anyhow::Result<End> {
    if output == Output::Json {
        json(told)?;
    } else {
        let part = |name: &str| clean(told[name].as_str().unwrap_or("?"), 900);
        line(part("id"));
        note(format!("Held until {} by {}: {}.", part("until"), part("by"), part("next")));
        for running in told["running"].as_array().into_iter().flatten() {
            let part = |name: &str| clean(running[name].as_str().unwrap_or("?"), 300);
            note(format!("  under way, and finished: {} (incident {})", part("action"), part("incident")));
        }
    }
    Ok(End::Fine)
}

impl Release {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let reason = reason(&self.reason).map_err(anyhow::Error::msg)?;
        let path: Vec<&str> = ["holds"].into_iter().chain(self.id.as_deref()).collect();
        let told = match self.socket.desk().await? {
            Some(desk) => match desk.delete(&path, &value!({ "reason": reason })).await? {
                Answer::Done(told) => told,
                Answer::No(why) => return no(&why),
                Answer::Sick(why) => anyhow::bail!("{why}; `paramedic holds` tells how it stands"),
            },
            None => {
                let (by, id) = (myself().to_string(), self.id.clone());
                let released = with_files(self.socket.data()?, move |holds| match id {
                    Some(id) => Ok(vec![holds.release(&id, &by, &reason)?]),
                    None => holds.release_all(&by, &reason),
                });
                serde_json::to_value(LetGo::told(&released.await?))?
            }
        };
        if self.output == Output::Json {
            json(&told)?;
            return Ok(End::Fine);
        }
        for id in told["released"].as_array().into_iter().flatten() {
            line(format!("Released {}", clean(id.as_str().unwrap_or("?"), 300)));
        }
        note(format!("Next: {}.", clean(told["next"].as_str().unwrap_or("?"), 300)));
        Ok(End::Fine)
    }
}

impl ListHolds {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let told = match self.socket.desk().await? {
            Some(desk) => match desk.get(if self.all { &["holds", "all"] } else { &["holds"] }).await? {
                Answer::Done(told) => told,
                Answer::No(why) => return no(&why),
                Answer::Sick(why) => anyhow::bail!("{why}"),
            },
            None => {
                let all = self.all;
                serde_json::to_value(with_files(self.socket.data()?, move |holds| Listed::of(holds, all)).await?)?
            }
        };
        if self.output == Output::Json {
            json(&told)?;
            return Ok(End::Fine);
        }
        print(&told);
        Ok(End::Fine)
    }
}

fn print(told: &Value) {
    let list = |name: &str| told[name].as_array().cloned().unwrap_or_default();
    for broken in list("broken") {
        note(format!("{}: correct it or remove it", clean(broken.as_str().unwrap_or("?"), 600)));
    }
    let (holds, ended) = (list("holds"), list("ended"));
    if holds.is_empty() && ended.is_empty() {
        return note(if list("broken").is_empty() { "Nothing is held." } else { "No other hold stands." });
    }
    let rows: Vec<Vec<String>> = holds.iter().chain(&ended).map(row).collect();
    table(&["ID", "ENDS", "MATCHERS", "BY", "REASON"], &rows);
}

fn row(hold: &Value) -> Vec<String> {
    let part = |name: &str, most: usize| clean(hold[name].as_str().unwrap_or("-"), most);
    let until = hold["until"].as_str().and_then(Time::parse).unwrap_or_default();
    let left = until.since(Time::now());
    let ends = match hold["ended"]["by"].as_str() {
        Some(by) => format!("released by {}", clean(by, 40)),
        None if left.is_zero() => "over".to_owned(),
        None => format!("in {}", print_duration(left)),
    };
    let matchers: Vec<String> =
        hold["matchers"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|m| clean(m, 80)).collect();
    vec![part("id", 20), ends, matchers.join(" "), part("by", 40), part("reason", 80)]
}

/// Does this with the files themselves.
async fn with_files<T: Send + 'static>(
    data: PathBuf,
    work: impl FnOnce(&Holds) -> std::io::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let holds = Holds::of(&data);
    let done = tokio::time::timeout(SOON, tokio::task::spawn_blocking(move || work(&holds))).await;
    let done = done.with_context(|| format!("the disk of {} does not answer", data.display()))??;
    done.map_err(|error| match error.raw_os_error() {
        // In our own words already.
        None => anyhow::anyhow!("{error}"),
        Some(_) => anyhow::anyhow!(
            "{} cannot be read or changed: {error}: may this user do so, and is `data` right?",
            data.join(crate::hold::FOLDER).display()
        ),
    })
}

fn no(why: &str) -> anyhow::Result<End> {
    note(format!("no: {why}"));
    Ok(End::Findings)
}
