//! What leaves the house to call people: to Alertmanager, whose routes find the right one, and to webhooks.
//!
//! Alertmanager is told how things stand (`keeper`): what is being healed, so that its page can wait; who is called, asked, or held; and
//! that Paramedic lives. A webhook is told what happened (`webhook`), each entry of the journal once at least and in order. Neither can hold
//! up healing: both only read the journal. Absent on purpose: pagers, chats and mail of our own; message templates; receivers of answers
//! (a person speaks at the operator's socket).

mod board;
mod case;
pub mod channels;
mod cursor;
mod keeper;
mod message;
mod notice;
mod send;
mod settings;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::clock::Time;
use crate::journal::Journal;
use crate::look::alertmanager;
use crate::policy::present::Present;
use crate::telemetry::{Counters, Gauges, Labels, clean};
use board::Board;
use cursor::Cursor;
use keeper::Keeper;
use notice::About;
use send::Teller;
use webhook::Webhook;

pub use message::Kind;
pub use notice::{CALL, WHILE_ALIVE};
pub use settings::{Hook, HookName, HookUrl, Settings, ToAlertmanager};

/// What came of telling, by receiver: `alertmanager`, or a webhook's name. `/metrics` shows it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Alerts and messages that it took.
    pub sent: Counters,
    /// Tries that failed.
    pub failed: Counters,
    /// What it refused as such, and was passed over: nobody was told of it this way.
    pub refused: Counters,
    /// What is known to wait for it.
    pub waiting: Gauges,
}

/// The part of one receiver in it.
#[derive(Debug)]
struct Tally {
    told: Told,
    who: Labels,
}

impl Tally {
    fn of(told: &Told, receiver: &str) -> Self {
        let tally = Self { told: told.clone(), who: vec![("receiver", receiver.to_owned())] };
        // There from the beginning: what was never counted cannot be watched.
        for counters in [&tally.told.sent, &tally.told.failed, &tally.told.refused] {
            drop(counters.get_or_create(&tally.who));
        }
        tally.waiting(0);
        tally
    }
    fn sent(&self, count: usize) {
        self.told.sent.get_or_create(&self.who).inc_by(count as u64);
    }
    fn failed(&self) {
        self.told.failed.get_or_create(&self.who).inc();
    }
    fn refused(&self) {
        self.told.refused.get_or_create(&self.who).inc();
    }
    fn waiting(&self, count: usize) {
        self.told.waiting.get_or_create(&self.who).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Trouble that lasts is said when it begins, and once an hour.
#[derive(Debug, Default)]
struct LookAgain {
    said: Option<Instant>,
}

impl LookAgain {
    const EVERY: Duration = Duration::from_secs(3_600);

    /// There is trouble; `true` when it is time to say so.
    fn begins(&mut self) -> bool {
        let due = self.said.is_none_or(|said| said.elapsed() >= Self::EVERY);
        if due {
            self.said = Some(Instant::now());
        }
        due
    }

    /// There is none; `true` when there was.
    fn over(&mut self) -> bool {
        self.said.take().is_some()
    }
}

/// Everybody who is told.
#[derive(Debug)]
pub struct Notify {
    board: Arc<Board>,
    keeper: Option<Keeper>,
    webhooks: Vec<Webhook>,
    told: Told,
}

impl Notify {
    /// Makes sure of where each webhook goes on, before anything is written that it has to be told of. `whom` says whom each policy wants called.
    ///
    /// # Errors
    /// When the journal cannot be read, or the position of a webhook not be remembered.
    pub async fn open(
        settings: &Settings,
        manager: Option<&alertmanager::Settings>,
        data: &Path,
        journal: &Journal,
        whom: Present<BTreeMap<String, String>>,
    ) -> anyhow::Result<Self> {
        let (board, told) = (Arc::new(Board::new(journal.clone())), Told::default());
        let to = settings.alertmanager.clone().unwrap_or_default();
        let keeper = match manager.filter(|_| to.on) {
            None => None,
            Some(manager) => {
                let url = manager.url.path(&["api", "v2", "alerts"]);
                let about = About { settings: to, whom: whom.clone(), since: Time::now(), host: host() };
                Some(Keeper {
                    who: format!("Alertmanager at {}", manager.url),
                    teller: teller(url, manager.bearer_token_file.as_deref())?,
                    about,
                    board: Arc::clone(&board),
                    journal: journal.clone(),
                    tally: Tally::of(&told, "alertmanager"),
                })
            }
        };
        let mut webhooks = Vec::new();
        for hook in &settings.webhooks {
            let file = cursor::path(data, hook.name.as_str());
            webhooks.push(Webhook {
                from: begin(&file, hook, journal).await?,
                teller: teller(hook.url.url().clone(), hook.bearer_token_file.as_deref())?,
                hook: hook.clone(),
                file,
                journal: journal.clone(),
                board: Arc::clone(&board),
                whom: whom.clone(),
                tally: Tally::of(&told, hook.name.as_str()),
            });
        }
        if keeper.is_none() && webhooks.is_empty() {
            tracing::warn!(
                "Nobody is called when an incident escalates, beside the log: configure `alertmanager`, or `notify.webhooks`"
            );
        }
        Ok(Self { board, keeper, webhooks, told })
    }

    /// Tells until it is dropped.
    pub async fn run(&self) {
        if self.keeper.is_none() && self.webhooks.is_empty() {
            return std::future::pending().await;
        }
        let keeper = async {
            if let Some(keeper) = &self.keeper {
                keeper.run().await;
            }
        };
        tokio::join!(self.board.run(), keeper, join_all(self.webhooks.iter().map(Webhook::run)));
    }

    /// What came of it so far.
    pub fn told(&self) -> &Told {
        &self.told
    }
}

fn teller(url: reqwest::Url, token_file: Option<&Path>) -> anyhow::Result<Teller> {
    Teller::new(url, token_file.map(Path::to_owned)).map_err(|error| anyhow::anyhow!("{error}"))
}

/// Where a webhook goes on: behind what it was told, or at the journal's end when it is new. Nobody wants to be told of history.
async fn begin(file: &Path, hook: &Hook, journal: &Journal) -> anyhow::Result<Cursor> {
    let (head, name) = (journal.head().await?, hook.name.as_str());
    let at_the_end = Cursor { pos: head, ..Cursor::default() };
    let cursor = match cursor::load(file) {
        Ok(Some(cursor)) if cursor.pos <= head => return Ok(cursor),
        Ok(Some(cursor)) => {
            tracing::error!(
                name,
                told = cursor.pos,
                head,
                "The journal is older than what this webhook was told: it goes on at the journal's end"
            );
            at_the_end
        }
        Ok(None) => at_the_end,
        // Nothing is passed over because of a file that somebody else's rights, or a sick disk, keep from being read.
        Err(error) if error.kind() != std::io::ErrorKind::Other => {
            let hint = format!(
                "how far the webhook {name} was told cannot be read in {}: mend its rights, or remove it",
                file.display()
            );
            return Err(anyhow::Error::new(error).context(hint));
        }
        Err(error) => {
            tracing::error!(name, file = %file.display(), %error, "How far this webhook was told cannot be read: it goes on at the journal's end");
            at_the_end
        }
    };
    cursor::save(file, &cursor).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(cursor)
}

/// This machine's name, for telling two Paramedics apart.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    clean(name.trim(), 100)
}
