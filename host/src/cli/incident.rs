//! `paramedic incident list|show`, and the commands of people, which are in `verdict`.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{bold, json, line, note, table};
use super::{DataArg, End, Output, verdict};
use crate::api::Summary;
use crate::clock::{Time, print_duration};
use crate::incident::timeline::{self, Line};
use crate::incident::{Incident, Phase};
use crate::operate::short;
use crate::telemetry::clean;

/// List incidents, tell the story of one, or say what shall become of it
#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// List incidents, the newest first
    List(List),
    /// Tell the story of one incident: what was said, by whom, what was allowed, done and seen
    Show(Show),
    /// Say yes to what a policy in mode `approve` wants to do
    Approve(verdict::Approve),
    /// Say no to it: nothing is done, and the policy is asked again
    Deny(verdict::Verdict),
    /// Ask the policy again, also about what is escalated, held, or had long been firing when it was first seen
    Retry(verdict::Verdict),
    /// Close it: this firing is left to people
    Close(verdict::Verdict),
}

/// List incidents, the newest first
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    data: DataArg,
    /// Only those that are not over
    #[arg(long)]
    open: bool,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Tell the story of one incident
#[derive(Args, Debug)]
pub struct Show {
    /// Its id, or the beginning of it; a key alone means its latest incident
    id: String,
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
            Self::Close(verdict) => verdict.run("close").await,
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<End> {
        let journal = self.data.journal()?;
        let mut incidents = Vec::new();
        for id in journal.list(self.open, self.limit)? {
            incidents.extend(journal.incident(&id)?);
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
        table(&["ID", "STATE", "ALERT", "TARGET", "POLICY", "ATTEMPTS", "OPENED"], &rows);
        incidents.iter().filter_map(|incident| how_to_answer(incident, now)).for_each(note);
        Ok(End::Fine)
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

fn row(incident: &Incident, now: Time) -> Vec<String> {
    let targets: Vec<String> = incident.targets.iter().map(|view| view.target.to_string()).collect();
    let none_as_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        incident.id.to_string(),
        incident.standing().to_owned(),
        clean(incident.alert.name(), 40),
        none_as_dash(targets.join(",")),
        clean(incident.owner.as_ref().map_or("-", |owner| &owner.policy), 30),
        incident.attempts.len().to_string(),
        format!("{} ago", print_duration(now.since(incident.opened_at))),
    ]
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
        print(&incident, &lines);
        Ok(End::Fine)
    }
}

fn print(incident: &Incident, lines: &[Line]) {
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
        for detail in &entry.details {
            line(format!("              | {detail}"));
        }
    }
    if let Some(how) = how_to_answer(incident, Time::now()) {
        line("");
        line(how);
    }
}
