//! `paramedic incident list|show`, and the commands of people, which are in `verdict`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{bold, json, line, note, table};
use super::{DataArg, End, Output, verdict};
use crate::alert::matchers::Matcher;
use crate::api::Summary;
use crate::clock::{Time, print_duration, spell_duration};
use crate::incident::filter::{Filter, State, since};
use crate::incident::timeline::{self, Line};
use crate::incident::{Incident, Phase};
use crate::journal::Reader;
use crate::operate::short;
use crate::telemetry::clean;

/// Incidents whose ids are read at a time.
const PAGE: usize = 200;

const LIST_EXAMPLES: &str = "Examples:
  paramedic incident list --open
  paramedic incident list --state held,escalated --since 1h
  paramedic incident list --match 'alertname=\"ServiceDown\"' --match 'severity=~\"critical|page\"' --all
  paramedic incident list --policy heal-web --state healed --since 7d --all --output json";

const SHOW_EXAMPLES: &str = "Examples:
  paramedic incident show df2240259743fc59-3
  paramedic incident show df22 --output json";

const APPROVE_EXAMPLES: &str = "Examples:
  paramedic incident approve df22 --reason 'shows what waits, and its digest'
  paramedic incident approve df22 --digest c15c57f6a541 --reason 'the release is through'";

const DENY_EXAMPLES: &str = "Examples:
  paramedic incident deny df22 --reason 'the disk is being replaced'";

const RETRY_EXAMPLES: &str = "Examples:
  paramedic incident retry df22 --reason 'the disk is replaced'";

const CANCEL_EXAMPLES: &str = "Examples:
  paramedic incident cancel df22 --reason 'it runs on the wrong host'";

const CLOSE_EXAMPLES: &str = "Examples:
  paramedic incident close df22 --reason 'I am on it'";

/// List incidents, tell the story of one, or say what shall become of it
#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// List incidents, the newest first
    List(List),
    /// Tell the story of one incident: what was said, by whom, what was allowed, done and seen
    Show(Show),
    /// Say yes to what a policy in mode `approve` wants to do
    #[command(after_help = APPROVE_EXAMPLES)]
    Approve(verdict::Approve),
    /// Say no to it: nothing is done, and the policy is asked again
    #[command(after_help = DENY_EXAMPLES)]
    Deny(verdict::Verdict),
    /// Ask the policy again, also about what is escalated, held, or had long been firing when it was first seen
    #[command(after_help = RETRY_EXAMPLES)]
    Retry(verdict::Verdict),
    /// End what is running for it; it escalates, and is not tried again before `retry`
    #[command(after_help = CANCEL_EXAMPLES)]
    Cancel(verdict::Verdict),
    /// Close it: this firing is left to people
    #[command(after_help = CLOSE_EXAMPLES)]
    Close(verdict::Verdict),
}

/// List incidents, the newest first
#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
pub struct List {
    #[command(flatten)]
    data: DataArg,
    /// Only those that are not over
    #[arg(long)]
    open: bool,
    /// Only in this state, or ended so; several with commas (a word that is none shows which there are)
    #[arg(long, value_delimiter = ',')]
    state: Vec<State>,
    /// Only of this policy; `-` for those that no policy took
    #[arg(long, allow_hyphen_values = true)]
    policy: Vec<String>,
    /// Only alerts whose labels fulfil this, in Alertmanager's syntax; of several, all
    #[arg(long = "match", value_name = "MATCHER", value_parser = Matcher::parse)]
    matchers: Vec<Matcher>,
    /// Only those that were opened since then: 30m, 1h, 2d, or a moment in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// All there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Tell the story of one incident
#[derive(Args, Debug)]
#[command(after_help = SHOW_EXAMPLES)]
pub struct Show {
    /// Its id, or the beginning of it; a key alone means its latest incident
    id: String,
    /// Also show what was kept before actions: the end of the container's log, and what its health check said (JSON always has it)
    #[arg(long)]
    diagnostics: bool,
    #[command(flatten)]
    data: DataArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl IncidentCommand {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        match self {
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Approve(approve) => approve.run().await,
            Self::Deny(verdict) => verdict.run("deny").await,
            Self::Retry(verdict) => verdict.run("retry").await,
            Self::Cancel(verdict) => verdict.run("cancel").await,
            Self::Close(verdict) => verdict.run("close").await,
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<End> {
        let journal = self.data.journal()?;
        let most = if self.all { usize::MAX } else { self.limit };
        let filter =
            Filter { open: self.open, states: self.state, policies: self.policy, matchers: self.matchers, since: self.since };
        let (incidents, more) = find(&journal, &filter, most)?;
        if more && self.output == Output::Text {
            note(format!("Only the newest {most} are shown: --all, a larger --limit, or narrower conditions show others."));
        }
        if self.output == Output::Json {
            json(&incidents.iter().map(Summary::of).collect::<Vec<_>>())?;
            return Ok(End::Fine);
        }
        if incidents.is_empty() {
            note("No incidents.");
            return Ok(End::Fine);
        }
        let now = Time::now();
        let rows: Vec<Vec<String>> = incidents.iter().map(|incident| row(incident, now)).collect();
        table(&["ID", "STATE", "SINCE", "ALERT", "TARGET", "POLICY"], &rows);
        incidents.iter().filter_map(|incident| how_to_answer(incident, now)).for_each(note);
        Ok(End::Fine)
    }
}

/// The newest incidents that fit, at most so many, and whether there may be more.
fn find(journal: &Reader, filter: &Filter, most: usize) -> anyhow::Result<(Vec<Incident>, bool)> {
    let (mut found, mut before) = (Vec::new(), u64::MAX);
    loop {
        let page = journal.page(before, filter.open_only(), PAGE)?;
        let Some(last) = page.last() else { return Ok((found, false)) };
        before = last.pos;
        for opened in page {
            let Some(incident) = journal.incident(&opened.id)? else { continue };
            if filter.is_before(incident.opened_at) {
                return Ok((found, false));
            }
            if filter.fits(&incident) {
                if found.len() == most {
                    return Ok((found, true));
                }
                found.push(incident);
            }
        }
    }
}

/// For an incident that waits for a yes or a no: the command to type.
fn how_to_answer(incident: &Incident, now: Time) -> Option<String> {
    let Phase::Awaiting { digest, until, .. } = &incident.phase else { return None };
    let (id, digest) = (&incident.id, short(digest));
    let left = print_duration(until.since(now));
    Some(format!(
        "waits for a person for another {left}: paramedic incident approve {id} --digest {digest} --reason '...' (or: deny {id} --reason '...')"
    ))
}

/// An ordinary incident fits into 80 columns.
fn row(incident: &Incident, now: Time) -> Vec<String> {
    let targets: Vec<String> = incident.targets.iter().map(|view| view.target.to_string()).collect();
    let none_as_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        incident.id.to_string(),
        incident.standing().to_owned(),
        age(now.since(incident.opened_at)),
        clean(incident.alert.name(), 30),
        none_as_dash(clean(&targets.join(","), 40)),
        clean(incident.owner.as_ref().map_or("-", |owner| &owner.policy), 30),
    ]
}

/// How long ago, in as few letters as tell it: `12s`, `4m`, `2h5m`, `3d4h`.
fn age(length: Duration) -> String {
    let seconds = length.as_secs();
    let unit = match seconds {
        0..60 => 1,
        60..86_400 => 60,
        _ => 3_600,
    };
    spell_duration(Duration::from_secs(seconds / unit * unit))
}

#[derive(Serialize)]
struct Story {
    incident: Summary,
    timeline: Vec<Line>,
}

impl Show {
    fn run(self) -> anyhow::Result<End> {
        let journal = self.data.journal()?;
        let id = journal.find(&self.id)?;
        let Some(incident) = journal.incident(&id)? else { anyhow::bail!("there is no incident {id}") };
        let entries = journal.read(&id, 0, usize::MAX)?;
        let lines = timeline::tell(entries.iter().map(|entry| (entry.at, &entry.event)));
        if self.output == Output::Json {
            json(&Story { incident: Summary::of(&incident), timeline: lines })?;
            return Ok(End::Fine);
        }
        print(&incident, &lines, self.diagnostics);
        Ok(End::Fine)
    }
}

fn print(incident: &Incident, lines: &[Line], diagnostics: bool) {
    let state = incident.standing();
    line(format!("{} {}  {}", bold(&incident.id.to_string()), clean(incident.alert.name(), 120), bold(state)));
    for (name, text) in incident.alert.annotations.iter().take(4) {
        line(format!("  {}: {}", clean(name, 40), clean(text, 300)));
    }
    let took = incident.updated_at.since(incident.opened_at);
    line(format!("  opened {}, last entry {} later", incident.opened_at, print_duration(took)));
    line("");
    for entry in lines {
        let clock = entry.at.get(11..23).unwrap_or(&entry.at);
        line(format!("{clock}  {}", entry.text));
        let folded = entry.kind == "diagnosed" && !diagnostics;
        if folded && !entry.details.is_empty() {
            line("              | --diagnostics shows them");
        }
        for detail in entry.details.iter().filter(|_| !folded) {
            line(format!("              | {detail}"));
        }
        if let Some(made_with) = &entry.made_with {
            line(format!("              | {made_with}"));
        }
    }
    if let Some(how) = how_to_answer(incident, Time::now()) {
        line("");
        line(how);
    }
}
