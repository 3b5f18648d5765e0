//! May people be told this: less of an alert, by a silence, or more, through a channel?
//!
//! Nothing is done to a container, so nobody looks at one. Which silences may be ended is found out here, and their ids go into the
//! intent. Absent on purpose: ending what a person made, or another policy.

use std::time::Duration;

use super::{Claim, Stop};
use crate::action::{Action, Proposal, ProposedMatcher, Target};
use crate::alert::Labels;
use crate::alert::matchers::Matcher;
use crate::clock::print_duration;
use crate::incident::Rule;
use crate::look::Eyes;
use crate::look::alertmanager::Own;
use crate::telemetry::{clean, did_you_mean};

/// Characters of a silence's comment that are kept.
const MOST_COMMENT: usize = 500;
/// Characters of a text to a channel that are kept.
const MOST_TEXT: usize = 2_000;

/// A rule that says no, with its sentence.
type No = (Rule, String);

/// What may be told, resolved.
///
/// # Errors
/// The refusal; or the hold, when Alertmanager cannot be asked.
pub(super) async fn action(eyes: &dyn Eyes, claim: Claim<'_>, about: Target, proposal: &Proposal) -> Result<Action, Stop> {
    let refused = |(rule, message): No| Stop::Refused { proposal: Box::new(proposal.clone()), rule, message };
    match proposal {
        Proposal::Silence { matchers, millis, comment, .. } => {
            silence(claim, matchers, Duration::from_millis(*millis)).map_err(refused)?;
            let (matchers, comment) = (matchers.clone(), clean(comment, MOST_COMMENT));
            Ok(Action::Silence { about, matchers, millis: *millis, comment })
        }
        Proposal::ExpireSilence { id, .. } => {
            if !claim.policy.grants.alertmanager.expire {
                let policy = &claim.policy.name;
                let message = format!(
                    "policy {policy} has no grant to end silences; to allow it to end its own: grants: {{alertmanager: {{expire: true}}}}"
                );
                return Err(refused((Rule::NotGranted, message)));
            }
            let ids = standing(eyes, claim, &about).await?;
            let ids = chosen(ids, claim, &about, id.as_deref()).map_err(refused)?;
            Ok(Action::ExpireSilence { about, ids })
        }
        Proposal::Notify { channel, text, .. } => {
            let text = channel_text(claim, channel, text).map_err(refused)?;
            Ok(Action::Notify { about, channel: channel.clone(), text })
        }
        other => Err(refused((Rule::InvalidProposal, format!("{} tells nobody anything", other.kind())))),
    }
}

fn silence(claim: Claim<'_>, matchers: &[ProposedMatcher], long: Duration) -> Result<(), No> {
    let invalid = |why: String| (Rule::InvalidProposal, format!("this cannot be a silence: {why}"));
    let parse = |m: &ProposedMatcher| Matcher::of(m.name.clone(), &m.op, m.value.clone());
    let wanted = matchers.iter().map(parse).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    if wanted.iter().all(|matcher| matcher.matches(&Labels::new())) {
        return Err(invalid("at least one matcher has to ask for a label that is there".to_owned()));
    }
    if long < Duration::from_secs(1) {
        return Err(invalid("it would last less than a second".to_owned()));
    }
    let policy = &claim.policy.name;
    let grants = &claim.policy.grants.alertmanager.silence;
    let longest = grants.iter().filter(|grant| grant.covers(&wanted)).map(|grant| grant.longest).max();
    match longest {
        Some(longest) if long <= longest => Ok(()),
        Some(longest) => {
            let (long, longest) = (print_duration(long), print_duration(longest));
            let message = format!(
                "a silence of {long} is longer than policy {policy} may make ({longest}); `longest` of the grant would allow it"
            );
            Err((Rule::NotGranted, message))
        }
        None => {
            // In YAML's single quotes.
            let quoted = |m: &ProposedMatcher| format!("'{}'", clean(&m.to_string(), 200).replace('\'', "''"));
            let shown: Vec<String> = matchers.iter().map(quoted).collect();
            let message = format!(
                "policy {policy} has no grant for this silence, of which each matcher has to stand among its own; to allow it: grants: {{alertmanager: {{silence: [{{match: [{}]}}]}}}}",
                shown.join(", ")
            );
            Err((Rule::NotGranted, message))
        }
    }
}

/// The ids of the silences that this policy made about the target, and that have not ended.
async fn standing(eyes: &dyn Eyes, claim: Claim<'_>, about: &Target) -> Result<Vec<String>, Stop> {
    let unknown = |why: String| Stop::held(Rule::Unsure, format!("which silences there are cannot be found out: {why}"));
    let own = match eyes.silences().await {
        Ok(Some(own)) => own,
        Ok(None) => return Err(unknown("there is no Alertmanager to ask: add `alertmanager: URL` to paramedic.yaml".to_owned())),
        Err(error) => return Err(unknown(clean(&error.to_string(), 500))),
    };
    let mark = Own::mark(&claim.policy.name, about);
    Ok(own.into_iter().filter(|own| own.stands && own.comment.starts_with(&mark)).map(|own| own.id).collect())
}

fn chosen(standing: Vec<String>, claim: Claim<'_>, about: &Target, id: Option<&str>) -> Result<Vec<String>, No> {
    match id {
        None => Ok(standing),
        Some(id) if standing.iter().any(|own| own == id) => Ok(vec![id.to_owned()]),
        Some(id) => {
            let message = format!(
                "there is no silence {} that policy {} made about {about} and that stands; those of anybody else are never ended",
                id.escape_debug(),
                claim.policy.name
            );
            Err((Rule::NotGranted, message))
        }
    }
}

fn channel_text(claim: Claim<'_>, channel: &str, text: &str) -> Result<String, No> {
    let granted = &claim.policy.grants.notify;
    if !granted.iter().any(|name| name == channel) {
        // A channel's name is ASCII: whatever only looks like a letter is shown as what it is.
        let (shown, near) = (channel.escape_default(), did_you_mean(channel, granted));
        let policy = &claim.policy.name;
        let message =
            format!("policy {policy} has no grant for the channel {shown}{near}; to allow it: grants: {{notify: [{shown}]}}");
        return Err((Rule::NotGranted, message));
    }
    let text = clean(text.trim(), MOST_TEXT);
    // What was taken out of it leaves a mark, and marks alone say nothing.
    if text.chars().all(|c| c.is_whitespace() || c == char::REPLACEMENT_CHARACTER) {
        return Err((Rule::InvalidProposal, format!("the text for {channel} is empty")));
    }
    Ok(text)
}
