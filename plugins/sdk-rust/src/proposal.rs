//! What a policy can want: proposals, as plain data until the very end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::bindings::paramedic::policy::types::Proposal as Handle;
use crate::bindings::paramedic::policy::{alertmanager, ansible, docker, notify};
use crate::words::Kind;

/// Something that could be done to one target. Making one does nothing.
///
/// It carries the function that hands it to Paramedic, so that a component imports only the proposals its policy can make:
/// a policy that never calls [`Proposal::playbook`] cannot express a playbook.
#[derive(Clone)]
pub struct Proposal {
    wanted: Wanted,
    hand_over: fn(&Wanted) -> Handle,
}

/// What a proposal says. Each kind uses what it has a use for.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    kind: Kind,
    target: String,
    /// The playbook, the signal, the channel, the silence's id.
    name: Option<String>,
    grace_seconds: Option<u32>,
    host: Option<String>,
    variables: Vec<(String, Value)>,
    tags: Vec<String>,
    check: bool,
    matchers: Vec<Matcher>,
    duration: Duration,
    /// The comment, the text.
    text: String,
}

/// For containers. A target is a name such as `local/web`.
impl Proposal {
    /// Stop (if running) and start a container.
    pub fn restart(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerRestart, target.into(), |w| docker::restart(&w.target, w.grace_seconds))
    }

    /// Start a container that is not running.
    pub fn start(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerStart, target.into(), |w| docker::start(&w.target))
    }

    /// Stop a container.
    pub fn stop(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerStop, target.into(), |w| docker::stop(&w.target, w.grace_seconds))
    }

    /// Freeze all processes of a container.
    pub fn pause(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerPause, target.into(), |w| docker::pause(&w.target))
    }

    /// Let a paused container go on.
    pub fn unpause(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerUnpause, target.into(), |w| docker::unpause(&w.target))
    }

    /// Send a [`signal`](Self::signal) to the first process of a container; without one it is `SIGKILL`.
    pub fn kill(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerKill, target.into(), |w| docker::kill(&w.target, w.name.as_deref()))
    }

    /// How many seconds the container may take to stop before it is killed; not given: the container's own setting. Means nothing
    /// to kinds that do not stop anything.
    pub fn grace(mut self, seconds: u32) -> Self {
        self.wanted.grace_seconds = Some(seconds);
        self
    }

    /// Which signal, such as `SIGHUP`. Means nothing but to [`Proposal::kill`]; each signal has a grant of its own.
    pub fn signal(mut self, signal: impl Into<String>) -> Self {
        self.wanted.name = Some(signal.into());
        self
    }
}

/// For Ansible.
impl Proposal {
    /// Run a playbook of the operator's playbook folder; say which target it is [`about`](About::about).
    pub fn playbook(name: impl Into<String>) -> About {
        let mut run = Self::new(Kind::AnsiblePlaybook, String::new(), |w| {
            // In the order of their names, each once: of several values the last.
            let variables: BTreeMap<_, _> = w.variables.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
            let variables = variables.into_iter().collect();
            let tags = w.tags.clone();
            let options = ansible::RunOptions { host: w.host.clone(), variables, tags, check: w.check, extra: Vec::new() };
            ansible::playbook(w.name.as_deref().unwrap_or_default(), &w.target, &options)
        });
        run.wanted.name = Some(name.into());
        About(run)
    }

    /// The inventory host a playbook is limited to; not given: the one configured for the target it is about.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.wanted.host = Some(host.into());
        self
    }

    /// One variable for a playbook. Strings reach it as data that Ansible never evaluates.
    pub fn var(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.wanted.variables.push((name.into(), value.into()));
        self
    }

    /// Several variables for a playbook.
    pub fn vars(mut self, variables: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.wanted.variables.extend(variables);
        self
    }

    /// Only the playbook's tasks with that tag, or with another one that was given. Tags have to be granted.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.wanted.tags.push(tag.into());
        self
    }

    /// Only the playbook's tasks with one of these tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.wanted.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Only say what the playbook would change (`--check`); nothing is changed.
    pub fn check(mut self) -> Self {
        self.wanted.check = true;
        self
    }
}

/// For Alertmanager and for telling people.
impl Proposal {
    /// Silence what all these matchers fit, from now on and for that long; say which target it is [`about`](About::about). It tells
    /// people less: the alert still fires.
    pub fn silence(matchers: impl IntoIterator<Item = Matcher>, duration: Duration) -> About {
        let mut silence = Self::new(Kind::Silence, String::new(), |w| {
            let matchers: Vec<_> = w.matchers.iter().map(Matcher::hand_over).collect();
            let millis = u64::try_from(w.duration.as_millis()).unwrap_or(u64::MAX);
            alertmanager::silence(&w.target, &matchers, millis, &w.text)
        });
        silence.wanted.matchers = matchers.into_iter().collect();
        silence.wanted.duration = duration;
        About(silence)
    }

    /// Why it is silenced, for whoever finds the silence. Means nothing to other kinds.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.wanted.text = comment.into();
        self
    }

    /// End every silence that this policy made about that target. Those of others are never ended.
    pub fn expire_silences(target: impl Into<String>) -> Self {
        Self::new(Kind::ExpireSilence, target.into(), |w| alertmanager::expire(&w.target, w.name.as_deref()))
    }

    /// End one silence that this policy made about that target.
    pub fn expire_silence(target: impl Into<String>, id: impl Into<String>) -> Self {
        let mut expire = Self::expire_silences(target);
        expire.wanted.name = Some(id.into());
        expire
    }

    /// Send a text of at most 2000 characters to a channel, one of the names under `notify` in the operator's configuration; say
    /// which target it is [`about`](About::about).
    pub fn notify(channel: impl Into<String>, text: impl Into<String>) -> About {
        let mut send =
            Self::new(Kind::Notify, String::new(), |w| notify::send(&w.target, w.name.as_deref().unwrap_or_default(), &w.text));
        send.wanted.name = Some(channel.into());
        send.wanted.text = text.into();
        About(send)
    }
}

/// For those who look at a proposal, tests for instance.
impl Proposal {
    /// The kind of action.
    pub fn kind(&self) -> &Kind {
        &self.wanted.kind
    }

    /// The target's name; for a playbook the one it is about.
    pub fn target(&self) -> &str {
        &self.wanted.target
    }

    fn new(kind: Kind, target: String, hand_over: fn(&Wanted) -> Handle) -> Self {
        let wanted = Wanted {
            kind,
            target,
            name: None,
            grace_seconds: None,
            host: None,
            variables: Vec::new(),
            tags: Vec::new(),
            check: false,
            matchers: Vec::new(),
            duration: Duration::ZERO,
            text: String::new(),
        };
        Self { wanted, hand_over }
    }

    pub(crate) fn hand_over(&self) -> Handle {
        (self.hand_over)(&self.wanted)
    }
}

// The kind determines the function, and the addresses of functions cannot be compared.
impl PartialEq for Proposal {
    fn eq(&self, other: &Self) -> bool {
        self.wanted == other.wanted
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted.fmt(f)
    }
}

/// A proposal that still has to say which target it is about.
#[derive(Clone, Debug)]
pub struct About(Proposal);

impl About {
    /// The target it is meant to help, such as `local/web`: what is done shares that target's lock and brakes.
    pub fn about(self, target: impl Into<String>) -> Proposal {
        let Self(mut proposal) = self;
        proposal.wanted.target = target.into();
        proposal
    }
}

/// One matcher of a silence, as Alertmanager means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    name: String,
    op: &'static str,
    value: String,
}

impl Matcher {
    fn new(name: impl Into<String>, op: &'static str, value: impl Into<String>) -> Self {
        Self { name: name.into(), op, value: value.into() }
    }

    /// The label is this: `name="value"`.
    pub fn is(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, "=", value)
    }

    /// The label is anything else: `name!="value"`.
    pub fn is_not(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, "!=", value)
    }

    /// All of the label fits this regular expression: `name=~"value"`.
    pub fn like(name: impl Into<String>, regex: impl Into<String>) -> Self {
        Self::new(name, "=~", regex)
    }

    /// The label does not fit this regular expression: `name!~"value"`.
    pub fn unlike(name: impl Into<String>, regex: impl Into<String>) -> Self {
        Self::new(name, "!~", regex)
    }

    fn hand_over(&self) -> alertmanager::Matcher {
        alertmanager::Matcher { name: self.name.clone(), op: self.op.to_owned(), value: self.value.clone() }
    }
}

/// As it is written: `alertname="WebDown"`, `job!~"a|b"`.
impl std::str::FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no matcher: write name=\"value\", with =, !=, =~ or !~", text.escape_debug());
        let at = text.find(['=', '!']).ok_or_else(wrong)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let op = ["!=", "=~", "!~", "="].into_iter().find(|op| rest.starts_with(op)).ok_or_else(wrong)?;
        let value: String = serde_json::from_str(rest[op.len()..].trim()).map_err(|_| wrong())?;
        if name.is_empty() { Err(wrong()) } else { Ok(Self { name: name.to_owned(), op, value }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "local/web";

    #[test]
    fn proposals_are_equal_when_they_mean_the_same() {
        assert_eq!(Proposal::restart(WEB).grace(10), Proposal::restart(WEB).grace(10));
        assert_ne!(Proposal::restart(WEB), Proposal::start(WEB));
        assert_ne!(Proposal::restart(WEB), Proposal::restart(WEB).grace(10));
        assert_ne!(Proposal::kill(WEB), Proposal::kill(WEB).signal("SIGHUP"));
        assert_ne!(Proposal::expire_silences(WEB), Proposal::expire_silence(WEB, "5f2c"));
        let repair = || Proposal::playbook("repair.yml").about(WEB);
        assert_ne!(repair(), repair().var("retries", 3));
        assert_ne!(repair(), repair().host("localhost"));
        assert_ne!(repair(), repair().check());
        assert_ne!(repair(), repair().tag("clean"));
        assert_eq!(repair().tag("clean").tag("logs"), repair().tags(["clean", "logs"]));
        assert_ne!(repair(), Proposal::playbook("other.yml").about(WEB));
    }

    #[test]
    fn what_is_about_a_target_names_it() {
        let hour = Duration::from_secs(3600);
        let silence = Proposal::silence([Matcher::is("alertname", "WebDown")], hour).about(WEB).comment("being repaired");
        let kinds = [
            (silence, Kind::Silence),
            (Proposal::notify("oncall", "web is slow").about(WEB), Kind::Notify),
            (Proposal::playbook("repair.yml").about(WEB), Kind::AnsiblePlaybook),
        ];
        for (proposal, kind) in kinds {
            assert_eq!((proposal.target(), proposal.kind()), (WEB, &kind));
        }
    }

    #[test]
    fn matchers_are_read_as_they_are_written() {
        assert_eq!("alertname=\"Web \\\"Down\\\"\"".parse(), Ok(Matcher::is("alertname", "Web \"Down\"")));
        assert_eq!("job != \"a\"".parse(), Ok(Matcher::is_not("job", "a")));
        assert_eq!("job=~\"a|b\"".parse(), Ok(Matcher::like("job", "a|b")));
        assert_eq!("job!~\"a=b\"".parse(), Ok(Matcher::unlike("job", "a=b")));
        for wrong in ["", "job", "job=", "job=a", "=\"a\"", "job!\"a\"", "job=\"a\" b"] {
            assert!(wrong.parse::<Matcher>().is_err_and(|e| e.contains("write name=")), "{wrong}");
        }
    }
}
