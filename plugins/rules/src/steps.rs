//! Actions as they are written, and the proposals that they become.

use paramedic_policy::{Incident, Kind, Matcher, Proposal};

use crate::scene::Scene;
use crate::settings::{Playbook, Rule, Silence, Step};

impl Step {
    /// The kind of action, and what exactly, where the history tells: a playbook, a signal, a channel.
    fn what(&self) -> (Kind, Option<&str>) {
        match self {
            Self::Restart(_) => (Kind::DockerRestart, None),
            Self::Start(_) => (Kind::DockerStart, None),
            Self::Stop(_) => (Kind::DockerStop, None),
            Self::Pause(_) => (Kind::DockerPause, None),
            Self::Unpause(_) => (Kind::DockerUnpause, None),
            Self::Kill(kill) => (Kind::DockerKill, Some(&kill.0.signal)),
            Self::Playbook(run) => (Kind::AnsiblePlaybook, Some(&run.0.name)),
            Self::Silence(_) => (Kind::Silence, None),
            Self::ExpireSilences(_) => (Kind::ExpireSilence, None),
            Self::Notify(send) => (Kind::Notify, Some(&send.channel)),
        }
    }

    /// The target as it is written, if it is.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Restart(s) | Self::Stop(s) => s.0.target.as_deref(),
            Self::Start(s) | Self::Pause(s) | Self::Unpause(s) | Self::ExpireSilences(s) => s.0.target.as_deref(),
            Self::Kill(s) => s.0.target.as_deref(),
            Self::Playbook(s) => s.0.target.as_deref(),
            Self::Silence(s) => s.0.target.as_deref(),
            Self::Notify(s) => s.target.as_deref(),
        }
    }

    /// The proposal, its texts filled in.
    pub fn propose(&self, scene: &Scene<'_>, reason: &str) -> Result<Proposal, String> {
        let target = whose(self, scene)?;
        Ok(match self {
            Self::Restart(s) => with_grace(Proposal::restart(target), s.0.grace_seconds),
            Self::Stop(s) => with_grace(Proposal::stop(target), s.0.grace_seconds),
            Self::Start(_) => Proposal::start(target),
            Self::Pause(_) => Proposal::pause(target),
            Self::Unpause(_) => Proposal::unpause(target),
            Self::Kill(s) => Proposal::kill(target).signal(&s.0.signal),
            Self::Playbook(s) => playbook(&s.0, target, scene)?,
            Self::Silence(s) => silence(&s.0, target, scene, reason)?,
            Self::ExpireSilences(_) => Proposal::expire_silences(target),
            Self::Notify(s) => {
                let text = s.text.as_deref().map_or_else(|| Ok(reason.to_owned()), |text| scene.tell(text))?;
                Proposal::notify(&s.channel, text).about(target)
            }
        })
    }
}

fn whose(step: &Step, scene: &Scene<'_>) -> Result<String, String> {
    step.target().map_or_else(|| Ok(scene.the_target()?.name.clone()), |target| scene.fill(target))
}

fn with_grace(proposal: Proposal, seconds: Option<u32>) -> Proposal {
    match seconds {
        Some(seconds) => proposal.grace(seconds),
        None => proposal,
    }
}

fn playbook(run: &Playbook, target: String, scene: &Scene<'_>) -> Result<Proposal, String> {
    let mut proposal = Proposal::playbook(&run.name).about(target).tags(&run.tags);
    if let Some(host) = &run.host {
        proposal = proposal.host(scene.fill(host)?);
    }
    if run.check {
        proposal = proposal.check();
    }
    for (name, value) in &run.variables {
        let value = scene.fill_json(value).map_err(|why| format!("variable `{name}`: {why}"))?;
        proposal = proposal.var(name, value);
    }
    Ok(proposal)
}

fn silence(silence: &Silence, target: String, scene: &Scene<'_>, reason: &str) -> Result<Proposal, String> {
    let written = silence.matchers.iter().map(|matcher| scene.fill_quoted(matcher)?.parse::<Matcher>());
    let mut matchers: Vec<Matcher> = written.collect::<Result<_, String>>()?;
    if matchers.is_empty() {
        let labels = scene.incident.alert.labels.iter();
        matchers = labels.map(|(name, value)| Matcher::is(name, value)).collect();
    }
    let comment = silence.comment.as_deref().map_or_else(|| Ok(reason.to_owned()), |comment| scene.tell(comment))?;
    Ok(Proposal::silence(matchers, silence.length.0).about(target).comment(comment))
}

/// In how many attempts of this incident that action was begun, whichever rule wanted it.
pub fn done(incident: &Incident, step: &Step, proposal: &Proposal) -> usize {
    let (kind, detail) = step.what();
    let same = |attempt: &&paramedic_policy::Attempt| {
        attempt.actions.iter().any(|action| {
            action.kind == kind
                && action.target == proposal.target()
                && action.outcome.was_begun()
                && detail.is_none_or(|detail| action.detail.is_empty() || action.detail == detail)
        })
    };
    incident.attempts.iter().filter(same).count()
}

/// The reason of an act: the rule's own, or what is known and what follows.
pub fn reason(scene: &Scene<'_>, rule: &Rule, steps: &[Step]) -> Result<String, String> {
    if let Some(reason) = &rule.head.reason {
        return scene.tell(reason);
    }
    let incident = scene.incident;
    let why = match incident.begun().next() {
        None => format!("{} fires", incident.name()),
        Some(_) => format!("{} still fires after {}", incident.name(), incident.what_was_tried()),
    };
    let what = match &rule.head.name {
        Some(name) => name.clone(),
        None => steps.iter().map(|step| say(step, scene)).collect::<Result<Vec<_>, _>>()?.join(", then "),
    };
    Ok(format!("{why}: {what}"))
}

fn say(step: &Step, scene: &Scene<'_>) -> Result<String, String> {
    let target = whose(step, scene)?;
    Ok(match step {
        Step::Restart(_) => format!("restart {target}"),
        Step::Start(_) => format!("start {target}"),
        Step::Stop(_) => format!("stop {target}"),
        Step::Pause(_) => format!("pause {target}"),
        Step::Unpause(_) => format!("unpause {target}"),
        Step::Kill(kill) => format!("send {} to {target}", kill.0.signal),
        Step::Playbook(run) if run.0.check => format!("try {} about {target} without changing anything", run.0.name),
        Step::Playbook(run) => format!("run {} about {target}", run.0.name),
        Step::Silence(_) => format!("silence it for {target}"),
        Step::ExpireSilences(_) => format!("end the silences about {target}"),
        Step::Notify(send) => format!("tell {}", send.channel),
    })
}
