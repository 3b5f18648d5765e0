//! What a plugin looks at while it decides: declared, granted, bounded, and recorded.
//!
//! The answers come from whoever implements [`Lookups`]: the world, or what was written down of it. Every question, also a refused one, is
//! kept with its answer, so that the decision can be repeated. Time that is spent waiting for answers is not the plugin's own.

pub mod live;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};

use super::guest::{Guest, Overstep};
use crate::clock::print_duration;
use crate::incident::lookup::{Found, Looked, Lookup, LookupError};

/// Lookups of one decision that are answered and recorded; further ones are refused.
pub const MOST_LOOKUPS: usize = 32;
/// Bytes of all answers of one decision, as they are written down.
pub const MOST_BYTES: usize = 256 << 10;
/// Bytes of one question.
const MOST_QUESTION_BYTES: usize = 8 << 10;
/// Labels of one question.
const MOST_LABELS: usize = 32;

/// Whoever answers lookups, for one policy and one question: grants were given to it, and the time of the question.
pub trait Lookups: std::fmt::Debug + Send + Sync {
    /// Answers one lookup. It may take long: whoever asks ends it.
    fn look<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Found, LookupError>>;
}

/// Where nothing can be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Blind;

impl Lookups for Blind {
    fn look<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Found, LookupError>> {
        let text = format!("nothing can be looked at here, so `{}` has no answer", lookup.word());
        std::future::ready(Err(LookupError::AccessDenied(text))).boxed()
    }
}

/// What one sandbox has looked at so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// In the order of the questions.
    pub(super) looked: Vec<Looked>,
    /// Time that was spent waiting for answers.
    pub(super) waited: Duration,
    /// True while it waits for one.
    pub(super) waiting: bool,
    bytes: usize,
}

impl Guest {
    /// Looks once, and keeps question and answer. An error here ends the call; what the plugin may hear is in the answer.
    pub(super) async fn look(&mut self, lookup: Lookup) -> wasmtime::Result<Result<Found, LookupError>> {
        let Some(brief) = &self.brief else {
            return Err(Overstep("`describe` must not look at anything".to_owned()).into());
        };
        if self.record().looked.len() >= MOST_LOOKUPS {
            return Ok(Err(LookupError::LimitExceeded(format!("{MOST_LOOKUPS} lookups are answered for one decision"))));
        }
        if let Err(refused) = self.admit(&lookup) {
            return Ok(self.refuse(lookup, refused));
        }
        let answers = brief.lookups.clone();
        let began = Instant::now();
        let left = {
            let mut record = self.record();
            record.waiting = true;
            self.limits.lookups.saturating_sub(record.waited)
        };
        let answer = match self.slow.get().cloned() {
            None => tokio::time::timeout(left, answers.look(&lookup)).await,
            // Connections belong to the runtime on which they were made.
            Some(home) => {
                let asked = lookup.clone();
                let looking = Kept(home.spawn(async move { answers.look(&asked).await }));
                tokio::time::timeout(left, looking).await
            }
        };
        let answer = answer.unwrap_or_else(|_| {
            Err(LookupError::Unavailable(format!(
                "no answer within {}, the policy's `limits.lookups`",
                print_duration(self.limits.lookups)
            )))
        });
        let took = began.elapsed();
        self.deadline += took;
        let mut record = self.record();
        record.waited += took;
        record.waiting = false;
        Ok(record.keep(lookup, answer, took))
    }

    /// What it has looked at so far.
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is asked. The plugin wrote the question, so what is kept of it is bounded.
    fn refuse(&mut self, lookup: Lookup, refused: LookupError) -> Result<Found, LookupError> {
        self.record().looked.push(Looked { lookup: bounded(lookup), answer: Err(refused.clone()), micros: 0 });
        Err(refused)
    }

    fn admit(&self, lookup: &Lookup) -> Result<(), LookupError> {
        if let Lookup::Containers { labels, .. } = lookup
            && labels.len() > MOST_LABELS
        {
            let text = format!("a question with {} labels; {MOST_LABELS} are allowed", labels.len());
            return Err(LookupError::LimitExceeded(text));
        }
        if size(lookup) > MOST_QUESTION_BYTES {
            let text = format!("a question of {} bytes; {MOST_QUESTION_BYTES} are allowed", size(lookup));
            return Err(LookupError::LimitExceeded(text));
        }
        if !self.declared.iter().any(|word| *word == lookup.word()) {
            let text = format!("the plugin does not declare `{}` among its `lookups` in `describe`", lookup.word());
            return Err(LookupError::AccessDenied(text));
        }
        Ok(())
    }
}

impl Record {
    /// Writes it down. An answer for which there is no room is not given either: what is told and what is recorded must be the same.
    /// The question stays as it was: it is by it that a replay finds the answer.
    fn keep(&mut self, lookup: Lookup, answer: Result<Found, LookupError>, took: Duration) -> Result<Found, LookupError> {
        let size = written_size(&answer);
        let (answer, size) = match answer {
            Ok(_) if self.bytes.saturating_add(size) > MOST_BYTES => {
                let text = format!("the answers to one decision's lookups may have {} KiB together", MOST_BYTES >> 10);
                let refused = Err(LookupError::LimitExceeded(text));
                let size = written_size(&refused);
                (refused, size)
            }
            answer => (answer, size),
        };
        // What is counted is what is recorded, so that a repetition counts the same.
        self.bytes = self.bytes.saturating_add(size);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.looked.push(Looked { lookup, answer: answer.clone(), micros });
        answer
    }
}

/// A lookup that is made elsewhere; it ends with whoever waits for it.
struct Kept(tokio::task::JoinHandle<Result<Found, LookupError>>);

impl Future for Kept {
    type Output = Result<Found, LookupError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = Pin::new(&mut self.0).poll(cx);
        done.map(|answer| answer.unwrap_or_else(|_| Err(LookupError::Other("the lookup crashed".to_owned()))))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Bytes of a question, as far as the plugin chose them.
fn size(lookup: &Lookup) -> usize {
    match lookup {
        Lookup::Containers { host, labels } => host.len() + labels.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>(),
        Lookup::Container { target } | Lookup::Log { target, .. } | Lookup::History { target, .. } => target.len(),
        Lookup::Metrics { query } => query.len(),
    }
}

/// Bytes of an answer as it is written down. They are counted, not kept, and no further than matters.
fn written_size(answer: &Result<Found, LookupError>) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            if self.0 > MOST_BYTES { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, answer) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}

/// A question as it is kept when it was refused for its size.
fn bounded(lookup: Lookup) -> Lookup {
    let cut = |text: String| crate::telemetry::clean(&text, 200);
    match lookup {
        Lookup::Containers { host, labels } => {
            let labels = labels.into_iter().take(8).map(|(name, value)| (cut(name), cut(value))).collect();
            Lookup::Containers { host: cut(host), labels }
        }
        Lookup::Container { target } => Lookup::Container { target: cut(target) },
        Lookup::Log { target, lines } => Lookup::Log { target: cut(target), lines },
        Lookup::Metrics { query } => Lookup::Metrics { query: cut(query) },
        Lookup::History { target, within_ms } => Lookup::History { target: cut(target), within_ms },
    }
}

/// Answers from what was written down: of a decision in the journal, or in a case.
///
/// The same question gets its answers in their order, and the last one again when they are used up. What was never asked
/// then is unavailable, and kept in [`Recorded::missing`]: nobody knows what would have been answered.
#[derive(Debug, Default)]
pub struct Recorded {
    answers: HashMap<Lookup, VecDeque<Result<Found, LookupError>>>,
    state: Mutex<(HashMap<Lookup, usize>, Vec<Lookup>)>,
}

impl Recorded {
    /// From question and answer, in the order in which they were asked.
    pub fn new(looked: impl IntoIterator<Item = (Lookup, Result<Found, LookupError>)>) -> Self {
        let mut answers: HashMap<Lookup, VecDeque<_>> = HashMap::new();
        for (lookup, answer) in looked {
            answers.entry(lookup).or_default().push_back(answer);
        }
        Self { answers, state: Mutex::default() }
    }

    /// What was asked and is not recorded.
    pub fn missing(&self) -> Vec<Lookup> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Lookups for Recorded {
    fn look<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Found, LookupError>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A question that was refused for its size is kept shortened.
        let short = bounded(lookup.clone());
        let refused = |answers: &&VecDeque<_>| matches!(answers.front(), Some(Err(LookupError::LimitExceeded(_))));
        let found = self.answers.get(lookup).map(|answers| (lookup, answers));
        let found = found.or_else(|| self.answers.get(&short).filter(refused).map(|answers| (&short, answers)));
        let answer = match found {
            Some((lookup, answers)) => {
                let used = state.0.entry(lookup.clone()).or_default();
                let at = (*used).min(answers.len().saturating_sub(1));
                *used += 1;
                answers.get(at).cloned()
            }
            None => None,
        };
        let answer = answer.unwrap_or_else(|| {
            state.1.push(lookup.clone());
            Err(LookupError::Unavailable("the answer to this was not recorded".to_owned()))
        });
        std::future::ready(answer).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_question_gets_its_answers_in_their_order_and_an_unknown_one_none() {
        let ask = Lookup::Log { target: "local/web".to_owned(), lines: 3 };
        let line = |text: &str| Ok(Found::Log(vec![text.to_owned()]));
        let recorded = Recorded::new([(ask.clone(), line("first")), (ask.clone(), line("second"))]);
        assert_eq!(recorded.look(&ask).await, line("first"));
        assert_eq!(recorded.look(&ask).await, line("second"));
        assert_eq!(recorded.look(&ask).await, line("second"), "the last answer stays");
        let other = Lookup::Container { target: "local/db".to_owned() };
        assert!(matches!(recorded.look(&other).await, Err(LookupError::Unavailable(_))));
        assert_eq!(recorded.missing(), [other]);
    }
}
