//! Tells one webhook: each message at least once, in the order of the journal, none forgotten.
//!
//! The journal is the outbox: the worker reads on from a durable position, tells, and moves the position. A receiver that is down is
//! tried until it is up; healing never waits for it. A message that the receiver refuses as such is tried a few times, then
//! logged, counted and passed over, so that it cannot keep the next ones back for ever. Absent on purpose: a queue in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::board::{AGAIN, Board, Group, PAGE, TICK};
use super::case::Story;
use super::cursor::{self, Cursor};
use super::message::{self, Kind, Message};
use super::send::Teller;
use super::settings::Hook;
use super::{LookAgain, Tally};
use crate::clock::Time;
use crate::incident::{Event, Rule};
use crate::journal::{Entry, Journal, JournalError};
use crate::policy::present::Present;

/// How often holds by one rule under one policy are told.
const HOLDING_EVERY: Duration = Duration::from_secs(3_600);
/// For so long others of its kind are waited for, so that the first message knows how many there are.
const GATHER: Duration = Duration::from_secs(10);
/// A message that is refused so often is passed over.
const REFUSED: u32 = 6;
/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// What is none of its business is not remembered at once: it can be read again.
const REMEMBER: Duration = Duration::from_secs(60);

/// Tells one webhook.
#[derive(Debug)]
pub struct Webhook {
    /// As configured.
    pub hook: Hook,
    /// The way to it.
    pub teller: Teller,
    /// The file that remembers how far it was told.
    pub file: PathBuf,
    /// Where it begins.
    pub from: Cursor,
    /// The outbox.
    pub journal: Journal,
    /// How things stand, for counting.
    pub board: Arc<Board>,
    /// Whom each policy wants called.
    pub whom: Present<BTreeMap<String, String>>,
    /// What came of it.
    pub tally: Tally,
}

impl Webhook {
    /// Tells until it is dropped.
    pub async fn run(&self) {
        let (mut cursor, mut remembered, mut trouble) = (self.from.clone(), Instant::now(), LookAgain::default());
        let mut saved = cursor.pos;
        loop {
            match self.some(&mut cursor).await {
                Ok(moved) => {
                    trouble.over();
                    if !moved {
                        tokio::time::sleep(TICK).await;
                    }
                }
                Err(JournalError::Compacted { first }) => {
                    let (name, from) = (self.hook.name.as_str(), cursor.pos + 1);
                    tracing::error!(
                        name,
                        from,
                        until = first - 1,
                        "Entries were removed for their age before this webhook could be told of them"
                    );
                    cursor.pos = first - 1;
                    self.remember(&cursor).await;
                }
                Err(error) => {
                    if trouble.begins() {
                        tracing::error!(name = self.hook.name.as_str(), %error, "What a webhook is to be told cannot be read; trying again");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
            if cursor.pos != saved && remembered.elapsed() > REMEMBER {
                self.remember(&cursor).await;
                (saved, remembered) = (cursor.pos, Instant::now());
            }
        }
    }

    /// The next entries; `false` when there are none.
    async fn some(&self, cursor: &mut Cursor) -> Result<bool, JournalError> {
        let entries = self.journal.tail(cursor.pos, PAGE).await?;
        self.tally.waiting(entries.iter().filter(|entry| message::kind(&entry.event).is_some()).count());
        for entry in &entries {
            if let Some(message) = self.message(cursor, entry).await? {
                self.tell(&message).await;
                cursor.pos = entry.pos;
                self.remember(cursor).await;
            }
            cursor.pos = entry.pos;
        }
        self.tally.waiting(0);
        Ok(!entries.is_empty())
    }

    /// What it is to be told of this entry.
    async fn message(&self, cursor: &mut Cursor, entry: &Entry) -> Result<Option<Message>, JournalError> {
        let Some(kind) = message::kind(&entry.event) else { return Ok(None) };
        let wants = |kind: &Kind| self.hook.send.contains(kind);
        if kind != Kind::Over && !wants(&kind) {
            return Ok(None);
        }
        // As it stood then: the same words, however late and however often they are told.
        let until = usize::try_from(entry.seq).unwrap_or(usize::MAX);
        let entries = self.journal.read(&entry.incident, 0, until).await?;
        let Some(story) = Story::read(&entry.incident, &entries) else { return Ok(None) };
        let kind = match &entry.event {
            Event::Closed { how, .. } => message::of_an_end(*how, story.told, &self.hook.send),
            Event::Held { rule, message, .. } => return Ok(self.group(cursor, entry, &story, *rule, message).await),
            _ => Some(kind),
        };
        Ok(kind.map(|kind| Message::about(kind, entry, &story, &self.whom.now())))
    }

    /// All that are held by one rule under one policy are one message an hour.
    async fn group(&self, cursor: &mut Cursor, entry: &Entry, story: &Story, rule: Rule, why: &str) -> Option<Message> {
        let policy = story.policy().unwrap_or_default();
        let group = format!("{rule} {policy}");
        if !cursor.is_due(&group, entry.at, HOLDING_EVERY) {
            return None;
        }
        tokio::time::sleep(GATHER.saturating_sub(Time::now().since(entry.at))).await;
        let alone = || Group { count: 1, oldest: entry.incident.clone(), since: entry.at, why: why.to_owned() };
        let held = self.board.groups().remove(&(rule, policy.to_owned())).unwrap_or_else(alone);
        cursor.told(group, entry.at, HOLDING_EVERY);
        Some(Message::group(entry, rule, policy, &held, &self.whom.now()))
    }

    /// Tells it, however long that takes; or gives up on a message that is refused as such.
    async fn tell(&self, message: &Message) {
        let (body, name) = (message.body(), self.hook.name.as_str());
        let (mut pause, mut refused, mut trouble) = (PAUSES.0, 0, LookAgain::default());
        while let Err(error) = self.teller.tell(body.clone(), Some(&message.id)).await {
            self.tally.failed();
            refused += u32::from(error.is_about_the_message());
            if refused >= REFUSED {
                tracing::error!(name, message = message.id, %error, "A webhook refuses a message: it is passed over, and nobody is told of it this way");
                return self.tally.refused();
            }
            if trouble.begins() {
                tracing::warn!(name, host = %self.hook.url, message = message.id, %error, "A webhook cannot be told; trying again until it can");
            }
            tokio::time::sleep(error.after().unwrap_or(pause).max(pause)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        self.tally.sent(1);
        if trouble.over() {
            tracing::info!(name, "The webhook can be told again");
        }
    }

    /// Makes the position durable; without it nothing goes on, since what follows would be told again and again.
    async fn remember(&self, cursor: &Cursor) {
        let mut trouble = LookAgain::default();
        loop {
            let (file, cursor) = (self.file.clone(), cursor.clone());
            let saved = tokio::task::spawn_blocking(move || cursor::save(&file, &cursor)).await;
            match saved.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(()) => return,
                Err(error) => {
                    if trouble.begins() {
                        tracing::error!(file = %self.file.display(), %error, "It cannot be remembered how far a webhook was told; trying again");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}
