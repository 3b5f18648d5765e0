//! The one place where an alert becomes an incident: whatever door it came through, at most one is open per key.
//!
//! A message is only a hint. What is new in it is appended before the door may answer; what is already on disk needs nothing.
//! Known incidents are remembered in memory to keep the common case cheap; the journal alone decides (two openers collide on
//! the expected entry number). Absent on purpose: judging whether an alert matters.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::alert::{Alert, IncidentId, Key, Status, Via, own};
use crate::clock::Time;
use crate::incident::{Closing, Event, Incident};
use crate::journal::{Append, Appended, Journal, JournalError};
use crate::telemetry::Counters;

/// After a positively observed recovery, how long other sources may still repeat the old firing: Alertmanager keeps an alert
/// for its `resolve_timeout`, 5 minutes by default, when Prometheus does not tell it more.
const ECHO: Duration = Duration::from_secs(300);

/// Appends of one message that are under way at once; they share commits.
const AT_ONCE: usize = 512;

/// For how long the journal's answer to a probe is repeated.
const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// For how long alerts that could not be made durable make this not ready, if the journal seems well again.
const BROKEN_FOR: Duration = Duration::from_secs(5);

/// Tries to take in one alert before the message is refused; each lost try means that somebody else wrote.
const TRIES: usize = 100;

/// How long a firing alert that Prometheus posted is believed when it is not posted again, unless its own end is later: it is
/// posted every minute (`--rules.alert.resend-delay`).
const POSTED: Duration = Duration::from_secs(300);

/// How soon Prometheus posts again what fires, when it names no end: it names one after four times that long.
const POSTED_AGAIN: Duration = Duration::from_secs(60);

/// Messages may overtake each other: for so long after a firing was said to be over, the very same firing (same `startsAt`) is
/// old news. Alertmanager itself leaves at least `group_interval` (5 minutes by default) between two messages about a group.
const OVERTAKEN: Duration = Duration::from_secs(60);

/// More alerts than this that are being taken in at once are a rush: their senders wait for an answer, so what is only begun
/// lets them pass.
const RUSH: usize = 16;

/// A rush is over when it was so long ago: those who are answered together come again together.
const LULL: Duration = Duration::from_millis(200);

/// For so many firings without an open incident it is remembered that they are over.
const MOST_OVER: usize = 10_000;

/// When a door last said that something fires.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Time,
    /// The end that it named, if it did.
    end: Option<Time>,
    /// It was another server that was told, and this is when this one learnt of it.
    assumed: bool,
}

/// What is known of an open incident.
#[derive(Clone, Debug)]
struct Known {
    id: IncidentId,
    said: BTreeMap<Via, Status>,
    /// What each door last said that it fires.
    told: BTreeMap<Via, Told>,
    /// Its end is being written: wait, then look again.
    closing: bool,
}

/// Takes alerts in. One for the whole server.
#[derive(Debug)]
pub struct Intake {
    journal: Journal,
    drop: Vec<String>,
    known: Mutex<HashMap<Key, Known>>,
    /// Which firings (by their start) were lately said to be over, and when.
    over: Mutex<HashMap<Key, (Time, Time)>>,
    nudge: UnboundedSender<IncidentId>,
    rush: Rush,
    /// Why the last alerts could not be made durable, if they could not, and when that was.
    broken: Mutex<Option<(Instant, String)>>,
    /// Alerts that were heard and, if need be, made durable, by door; whether or not anything was new in them.
    pub heard: Counters,
    /// Alerts that could not be made durable, by door: their senders come again.
    pub not_kept: Counters,
    /// What the journal last said when it was asked whether it can be written.
    probed: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Intake {
    /// `drop` names the labels that do not count for identity; `nudge` is told of every incident about which something was written.
    pub fn new(journal: Journal, drop: Vec<String>, nudge: UnboundedSender<IncidentId>) -> Self {
        let (known, over, rush, broken, probed, heard, not_kept) = Default::default();
        Self { journal, drop, known, over, nudge, rush, broken, heard, not_kept, probed }
    }

    /// Makes what is new in these alerts durable. Returning `Ok` is the acknowledgement.
    ///
    /// # Errors
    /// When something could not be made durable: the sender has to come again.
    pub async fn hear(&self, via: Via, alerts: Vec<Alert>) -> Result<(), JournalError> {
        // Replicas may differ in what they say of one alert: firing wins, and each key is written once.
        let mut by_key: HashMap<Key, Alert> = HashMap::new();
        // What Paramedic itself told Alertmanager comes back through every door; it is never an incident.
        for alert in alerts.into_iter().filter(|alert| !own::is_own(&alert.labels)) {
            let key = Key::of(alert.family, &alert.labels, &self.drop);
            if alert.status == Status::Firing {
                by_key.insert(key, alert);
            } else {
                by_key.entry(key).or_insert(alert);
            }
        }
        let _rush = self.rush.enter(by_key.len());
        let heard = by_key.into_iter().map(|(key, alert)| self.hear_one(via, key, alert));
        // One that cannot be written does not keep the others from being tried.
        let heard: Vec<Result<(), JournalError>> = stream::iter(heard).buffer_unordered(AT_ONCE).collect().await;
        let kept = heard.iter().filter(|heard| heard.is_ok()).count();
        for (counters, alerts) in [(&self.heard, kept), (&self.not_kept, heard.len() - kept)] {
            let door = vec![("door", via.word().to_owned())];
            counters.get_or_create(&door).inc_by(u64::try_from(alerts).unwrap_or(0));
        }
        let heard: Result<(), JournalError> = heard.into_iter().collect();
        let broken = heard.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
        heard
    }

    /// Can alerts be made durable? The journal is tried, at most once a second however often this is asked; and for some
    /// seconds what went wrong with alerts counts too, since a small write may succeed where theirs does not.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub async fn ready(&self) -> Result<(), String> {
        // Whoever asks meanwhile waits for the same answer.
        let mut probed = self.probed.lock().await;
        let answer = match &*probed {
            Some((at, answer)) if at.elapsed() < PROBE_AGAIN => answer.clone(),
            _ => {
                let answer = self.journal.ready().await.map_err(|error| error.to_string());
                *probed = Some((Instant::now(), answer.clone()));
                answer
            }
        };
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match broken {
            Some((at, why)) if answer.is_ok() && at.elapsed() < BROKEN_FOR => Err(why),
            _ => answer,
        }
    }

    /// Waits until the last rush of alerts is a moment ago, and not longer than this.
    pub async fn calm(&self, at_most: Duration) {
        let begun = Instant::now();
        while self.rush.is_on() && begun.elapsed() < at_most {
            tokio::time::sleep(LULL).await;
        }
    }

    async fn hear_one(&self, via: Via, key: Key, alert: Alert) -> Result<(), JournalError> {
        if alert.status == Status::Resolved {
            self.note_over(&key, alert.starts_at, Time::now());
        }
        for tries in 0..TRIES {
            if self.is_overtaken(&key, via, &alert) {
                tracing::info!(%key, alert = alert.name(), %via, "It fires, says a late message about a firing that is over: nothing to do");
                return Ok(());
            }
            let known = self.lock().get(&key).cloned();
            let done = match known {
                Some(known) if known.closing => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    false
                }
                Some(known) => self.refresh(&key, &known, via, &alert).await?,
                None => self.open(&key, via, &alert, tries == 0).await?,
            };
            if done {
                return Ok(());
            }
        }
        Err(JournalError::NotDone(format!("the incident of key {key} kept changing while an alert for it was taken in")))
    }

    /// An incident is open: only a door that changes its mind is news. `true` when nothing is left to do.
    async fn refresh(&self, key: &Key, known: &Known, via: Via, alert: &Alert) -> Result<bool, JournalError> {
        if alert.status == Status::Firing
            && let Some(known) = self.lock().get_mut(key)
        {
            known.told.insert(via, Told { at: Time::now(), end: alert.ends_at, assumed: false });
        }
        let before = known.said.get(&via).copied();
        // That a list holds it is written down once: only what was ever listed can be missed there.
        let list = matches!(via, Via::Alertmanager | Via::Prometheus);
        if before == Some(alert.status) || (before.is_none() && alert.status == Status::Firing && !list) {
            return Ok(true);
        }
        let heard = Event::Heard { alert: alert.clone(), via };
        // Goes behind whatever is there; a closed incident takes no more entries, and the next try opens a new one.
        match self.journal.append(Append::new(known.id.clone(), None, vec![heard])).await? {
            Appended::Committed { .. } | Appended::Already { .. } => {
                if let Some(known) = self.lock().get_mut(key) {
                    known.said.insert(via, alert.status);
                }
                let _ = self.nudge.send(known.id.clone());
                Ok(true)
            }
            Appended::Fenced => Err(JournalError::fenced()),
            Appended::Conflict { .. } | Appended::Braked { .. } => {
                self.lock().remove(key);
                Ok(false)
            }
        }
    }

    /// No incident is known to be open. `true` when nothing is left to do.
    ///
    /// With `guess` the key is taken for one without a history, as most are in a storm: then the append alone tells whether that
    /// is so, and nothing has to be read before an answer.
    async fn open(&self, key: &Key, via: Via, alert: &Alert, guess: bool) -> Result<bool, JournalError> {
        let latest = if guess && alert.status == Status::Firing { None } else { self.journal.latest(key).await? };
        if let Some(open) = latest.as_ref().filter(|listed| listed.open) {
            return self.remember(&open.id).await.map(|()| false);
        }
        if alert.status == Status::Resolved {
            return Ok(true);
        }
        if let Some(closed) = &latest
            && self.is_echo(&closed.id, via, alert).await?
        {
            return Ok(true);
        }
        let id = IncidentId { key: key.clone(), n: latest.map_or(1, |listed| listed.id.n + 1) };
        let opened = Event::Opened { alert: alert.clone(), via };
        let told = BTreeMap::from([(via, Told { at: Time::now(), end: alert.ends_at, assumed: false })]);
        match self.journal.append(Append::new(id.clone(), Some(0), vec![opened])).await? {
            Appended::Committed { .. } | Appended::Already { .. } => {
                let known = Known { id: id.clone(), said: BTreeMap::from([(via, Status::Firing)]), told, closing: false };
                self.lock().insert(key.clone(), known);
                let _ = self.nudge.send(id);
                Ok(true)
            }
            Appended::Fenced => Err(JournalError::fenced()),
            Appended::Conflict { .. } | Appended::Braked { .. } => Ok(false),
        }
    }

    /// Remembers that the firing of this start was said to be over.
    fn note_over(&self, key: &Key, start: Time, heard: Time) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if over.len() >= MOST_OVER {
            over.retain(|_, (_, heard)| Time::now().since(*heard) < OVERTAKEN);
        }
        if over.len() < MOST_OVER && over.get(key).is_none_or(|(_, before)| *before <= heard) {
            over.insert(key.clone(), (start, heard));
        }
    }

    /// Is this a message that was overtaken by the one that says that this firing is over? What is listed is never old.
    fn is_overtaken(&self, key: &Key, via: Via, alert: &Alert) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        let pushed = matches!(via, Via::Webhook | Via::Post) && alert.status == Status::Firing;
        pushed && over.is_some_and(|(start, heard)| start == alert.starts_at && Time::now().since(heard) < OVERTAKEN)
    }

    /// Until when it may be believed that this incident fires, by the doors that said so and if nobody repeats it; with the door
    /// that is believed longest. `None` when every door says that it is over.
    pub fn believed(&self, incident: &Incident, webhook: Duration) -> Option<(Via, Time)> {
        self.adopt(incident);
        let told = self.lock().get(&incident.id.key).filter(|known| known.id == incident.id)?.told.clone();
        let doors = incident.heard.iter().filter(|(_, (status, _))| *status == Status::Firing);
        let until = doors.map(|(via, (_, heard))| {
            let told = told.get(via).copied().unwrap_or(Told { at: *heard, end: None, assumed: true });
            match via {
                Via::Post => (*via, told.at.plus(POSTED).max(told.end.unwrap_or(told.at))),
                _ => (*via, told.at.plus(webhook)),
            }
        });
        until.max_by_key(|(_, until)| *until)
    }

    /// Which door keeps saying that this incident fires, and when it last did.
    pub fn told_since(&self, incident: &Incident, since: Time, lately: Duration) -> Option<(Via, Time)> {
        self.adopt(incident);
        let known = self.lock().get(&incident.id.key).filter(|known| known.id == incident.id).cloned()?;
        let fires = |via: &Via| known.said.get(via) != Some(&Status::Resolved);
        // What a webhook told another server says nothing of now; what was posted to it is posted again soon, or not.
        let counts = |via: &Via, told: &Told| fires(via) && !(told.assumed && *via == Via::Webhook);
        let now = Time::now();
        let still =
            known.told.iter().filter(|(via, told)| counts(via, told) && is_kept_up(**via, told.at, told.end, since, lately, now));
        still.map(|(via, told)| (*via, told.at)).max_by_key(|(_, at)| *at)
    }

    /// Is this only the echo of a firing that was positively seen to be over, or one that a person has closed and that goes on? That is
    /// left to that person until it ends. Prometheus' own list is never an echo.
    async fn is_echo(&self, last: &IncidentId, via: Via, alert: &Alert) -> Result<bool, JournalError> {
        let Some(last) = self.journal.incident(last).await? else { return Ok(false) };
        let now = Time::now();
        // A journal whose clock was once ahead proves nothing here.
        let same = last.updated_at <= now && alert.starts_at <= last.updated_at;
        let ended = self
            .over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&last.id.key)
            .is_some_and(|(_, heard)| *heard > last.updated_at);
        let a_persons = same && last.closing() == Some(Closing::Person) && !ended;
        if a_persons || via == Via::Prometheus {
            return Ok(a_persons);
        }
        let old = same && now.since(last.updated_at) < ECHO;
        // Another server may have heard that it is over.
        self.learn_over(&last);
        Ok((old && last.closing() == Some(Closing::Healed)) || self.is_overtaken(&last.id.key, via, alert))
    }

    /// Learns an open incident from the journal.
    async fn remember(&self, id: &IncidentId) -> Result<(), JournalError> {
        if let Some(incident) = self.journal.incident(id).await? {
            self.adopt(&incident);
            // Whoever wrote it may not have lived to say so; a story that knows already is not disturbed.
            let _ = self.nudge.send(id.clone());
        }
        // It may have been closed between reading and adopting.
        if !self.journal.latest(&id.key).await?.is_some_and(|listed| listed.open && listed.id == *id) {
            self.forget(id);
        }
        Ok(())
    }

    fn learn_over(&self, incident: &Incident) {
        let heard = incident.heard.values().filter(|(status, _)| *status == Status::Resolved).map(|(_, heard)| *heard).max();
        if let Some(heard) = heard.filter(|_| incident.alert.status == Status::Resolved) {
            // A journal whose clock was once ahead must not make it over for longer.
            self.note_over(&incident.id.key, incident.alert.starts_at, heard.min(Time::now()));
        }
    }

    /// Forgets an incident that is over.
    pub fn forget(&self, id: &IncidentId) {
        let mut known = self.lock();
        if known.get(&id.key).is_some_and(|known| known.id == *id) {
            known.remove(&id.key);
        }
    }

    /// Learns an open incident that was not known. What was told to a server that is gone counts as told now.
    pub fn adopt(&self, incident: &Incident) {
        if !incident.is_closed() {
            self.learn_over(incident);
            let said = incident.heard.iter().map(|(via, (status, _))| (*via, *status)).collect();
            let firing = incident.heard.iter().filter(|(_, (status, _))| *status == Status::Firing);
            let told = firing.map(|(via, _)| (*via, Told { at: Time::now(), end: None, assumed: true })).collect();
            let known = Known { id: incident.id.clone(), said, told, closing: false };
            self.lock().entry(incident.id.key.clone()).or_insert(known);
        }
    }

    /// Writes the end of an incident. An alert that is heard meanwhile waits and then opens the next one.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn close(&self, append: Append) -> Result<Appended, JournalError> {
        let id = append.incident.clone();
        if let Some(known) = self.lock().get_mut(&id.key) {
            known.closing = true;
        }
        // Whatever becomes of it, also if nobody waits for the answer any more, the journal is asked anew.
        let _forgets = Forgets(self, &id);
        let appended = self.journal.append(append).await;
        if matches!(appended, Ok(Appended::Conflict { .. }) | Err(JournalError::NotDone(_)))
            && let Some(known) = self.lock().get_mut(&id.key)
        {
            known.closing = false;
        }
        appended
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Known>> {
        // Nothing panics while it is held; and the map is only a cache of the journal.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets an incident whose end was, or may have been, written.
struct Forgets<'a>(&'a Intake, &'a IncidentId);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        let Self(intake, id) = self;
        let mut known = intake.lock();
        if known.get(&id.key).is_some_and(|known| known.id == **id && known.closing) {
            known.remove(&id.key);
        }
    }
}

/// How many alerts are being taken in, and when those were last many.
#[derive(Debug, Default)]
struct Rush {
    count: AtomicUsize,
    last: Mutex<Option<Instant>>,
}

/// Counted until it is dropped, also when its sender has gone.
struct Entered<'a>(&'a Rush, usize);

impl Rush {
    fn enter(&self, alerts: usize) -> Entered<'_> {
        if self.count.fetch_add(alerts, Ordering::Relaxed) + alerts > RUSH {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Entered(self, alerts)
    }

    fn is_on(&self) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|last| last.elapsed() < LULL)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let Self(rush, alerts) = self;
        rush.count.fetch_sub(*alerts, Ordering::Relaxed);
    }
}

/// Does a door keep up what it was told then, that something fires?
///
/// Prometheus posts that again and again until it posts that it is over, which it does as soon as it notices: so what it posted last counts,
/// of before the action too, until two repetitions were missed. Alertmanager's webhook comes after a time that is not known: it
/// counts when it came after `since`, for twice as long as being well has to last, so that a repetition falls into any longer time.
fn is_kept_up(via: Via, told: Time, end: Option<Time>, since: Time, lately: Duration, now: Time) -> bool {
    match via {
        Via::Post => {
            let again = end.map_or(POSTED_AGAIN, |end| end.since(told) / 4).min(POSTED);
            now.since(told) < again.saturating_mul(2)
        }
        Via::Webhook => told > since && now.since(told) < lately.saturating_mul(2),
        // Whoever verifies asks those.
        Via::Alertmanager | Via::Prometheus => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_counts_until_its_repetition_is_missed() {
        let (at, stable) = (|seconds: i64| Time(seconds * 1_000), Duration::from_secs(30));
        let posted = |end: Option<Time>, now| is_kept_up(Via::Post, at(100), end, at(110), stable, at(now));
        // Every minute, with an end after four.
        assert!(posted(Some(at(340)), 219) && !posted(Some(at(340)), 220));
        assert!(posted(None, 219) && !posted(None, 220));
        assert!(posted(Some(at(104)), 101) && !posted(Some(at(104)), 102));
        // An end far away is no reason to wait for ever.
        assert!(!posted(Some(at(1_000_000)), 700) && !posted(Some(at(99)), 101));
        let webhook = |since, now| is_kept_up(Via::Webhook, at(100), None, at(since), stable, at(now));
        assert!(!webhook(100, 101) && webhook(99, 101) && webhook(99, 159) && !webhook(99, 160));
    }
}
