//! The operator's webhooks as channels through which a policy may say something.
//!
//! One message, sent once: what a policy says is an action like others, with its intent and its outcome in the journal, so it is neither
//! queued nor repeated as the other messages are. Absent on purpose: Alertmanager as a channel; it is told alerts, and has no place for
//! a text.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};

use super::message::Message;
use super::send::{SendError, Teller};
use super::settings::Settings;
use super::teller;
use crate::action::{Ending, Outcome};
use crate::execute::{Said, Voice};
use crate::telemetry::clean;

/// All channels, by their names.
#[derive(Debug)]
pub struct Channels(BTreeMap<String, Teller>);

impl Channels {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn of(settings: &Settings) -> anyhow::Result<Self> {
        let channel = |hook: &super::Hook| {
            Ok((hook.name.as_str().to_owned(), teller(hook.url.url().clone(), hook.bearer_token_file.as_deref())?))
        };
        settings.webhooks.iter().map(channel).collect::<anyhow::Result<_>>().map(Self)
    }
}

impl Voice for Channels {
    fn say<'a>(&'a self, said: Said<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let channel = clean(said.channel, 80);
            let Some(teller) = self.0.get(said.channel) else {
                return outcome(
                    Ending::Failed,
                    format!("there is no channel {channel}: add it under notify.webhooks; nothing was done"),
                );
            };
            let message = Message::said(said);
            match teller.tell(message.body(), Some(&message.id)).await {
                Ok(_) => outcome(Ending::Succeeded, format!("{channel} was told")),
                Err(error @ SendError::Answered { .. }) => outcome(Ending::Failed, format!("{channel} was not told: {error}")),
                Err(error) => outcome(Ending::TimedOut, format!("{channel} was not told, as far as can be told: {error}")),
            }
        }
        .boxed()
    }
}

fn outcome(ending: Ending, message: String) -> Outcome {
    Outcome { ending, message: clean(&message, 4_000), touched: false, output: Vec::new() }
}
