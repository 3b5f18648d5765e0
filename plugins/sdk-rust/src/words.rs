//! The contract's open sets of words, as enums that keep a word they do not know.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$case_doc])* $case,)*
            /// A word that this version of the SDK does not know.
            Other(String),
        }

        impl $type {
            /// The contract's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$case => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $type {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$case,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl From<String> for $type {
            fn from(word: String) -> Self {
                word.as_str().into()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// A kind of action.
    Kind {
        /// Stop (if running) and start a container.
        DockerRestart = "docker.restart",
        /// Start a container that is not running.
        DockerStart = "docker.start",
        /// Stop a container.
        DockerStop = "docker.stop",
        /// Freeze all processes of a container.
        DockerPause = "docker.pause",
        /// Let a paused container go on.
        DockerUnpause = "docker.unpause",
        /// Send a signal to a container.
        DockerKill = "docker.kill",
        /// Run a playbook.
        AnsiblePlaybook = "ansible.playbook",
        /// Create a silence in Alertmanager.
        Silence = "alertmanager.silence",
        /// End silences of one's own.
        ExpireSilence = "alertmanager.expire",
        /// Send a text to a channel.
        Notify = "notify.send",
    }
}

words! {
    /// A kind of lookup, as `policy!` declares it.
    Lookup {
        /// [`containers::find`](crate::lookup::containers::find) and [`containers::inspect`](crate::lookup::containers::inspect).
        Containers = "containers",
        /// [`containers::log_tail`](crate::lookup::containers::log_tail).
        LogTail = "containers.log-tail",
        /// [`metrics::query`](crate::lookup::metrics::query).
        Metrics = "metrics",
        /// [`history::of_target`](crate::lookup::history::of_target).
        History = "history",
    }
}

words! {
    /// What a container's health check says.
    Health {
        /// It is well.
        Healthy = "healthy",
        /// It is not.
        Unhealthy = "unhealthy",
        /// It cannot be told yet.
        Starting = "starting",
        /// It has no health check.
        None = "none",
    }
}

words! {
    /// Why the question is asked.
    Trigger {
        /// The alert fires.
        Alert = "alert",
        /// An attempt ended and the alert still fires, or it could not be told.
        NotHealed = "not-healed",
        /// What [`crate::Decision::wait`] asked for is over.
        WaitOver = "wait-over",
        /// What was decided was held back, and is not any more.
        HoldOver = "hold-over",
        /// Paramedic was restarted in the middle of an attempt.
        Interrupted = "interrupted",
        /// A person said no to what was wanted.
        Denied = "denied",
        /// A person asks.
        Retry = "retry",
    }
}

words! {
    /// How one action of an earlier attempt ended.
    Outcome {
        /// It did what it should. That is not yet healed: see [`Verification`].
        Succeeded = "succeeded",
        /// It did not.
        Failed = "failed",
        /// Its deadline passed; it may have had an effect.
        TimedOut = "timed-out",
        /// Paramedic was stopped meanwhile; it may have had an effect.
        Interrupted = "interrupted",
        /// It was not allowed and never begun.
        Refused = "refused",
        /// It was allowed and never begun.
        Cancelled = "cancelled",
    }
}

impl Outcome {
    /// True when it was really begun, however it ended. A word that is not known counts as begun, so that a ladder climbs
    /// rather than repeats.
    pub fn was_begun(&self) -> bool {
        !matches!(self, Self::Refused | Self::Cancelled)
    }
}

words! {
    /// What looking again after an attempt said.
    Verification {
        /// It is better.
        Healed = "healed",
        /// It is not.
        NotHealed = "not-healed",
        /// It could not be told.
        Unclear = "unclear",
        /// Nothing was done, so nobody looked.
        None = "none",
    }
}

words! {
    /// What a container was doing when the question was asked.
    State {
        /// It runs; that says nothing about its health.
        Running = "running",
        /// It ended.
        Exited = "exited",
        /// Somebody paused it.
        Paused = "paused",
        /// The engine is restarting it.
        Restarting = "restarting",
        /// It was never started.
        Created = "created",
        /// The engine could not remove it completely.
        Dead = "dead",
        /// There is no such container.
        Missing = "missing",
        /// The engine could not be asked.
        Unknown = "unknown",
    }
}

impl State {
    /// True when it is certain that the container exists and does not run.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Exited | Self::Created | Self::Dead)
    }
}

words! {
    /// Whether the alert fires.
    Status {
        /// It does.
        Firing = "firing",
        /// It did.
        Resolved = "resolved",
    }
}

words! {
    /// Family of the source that raised the alert.
    Source {
        /// Prometheus or Alertmanager.
        Prometheus = "prometheus",
        /// The Docker engine.
        Docker = "docker",
        /// Grafana.
        Grafana = "grafana",
        /// Anything else.
        Generic = "generic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_survives_the_way_in_and_out() {
        for word in ["docker.restart", "docker.kill", "alertmanager.expire", "ansible.playbook", "k8s.delete-pod"] {
            assert_eq!(Kind::from(word).as_str(), word);
        }
        assert_eq!(Kind::from("k8s.delete-pod"), Kind::Other("k8s.delete-pod".to_owned()));
        assert_eq!(Outcome::from("timed-out"), Outcome::TimedOut);
    }

    #[test]
    fn only_what_was_never_begun_does_not_count() {
        for word in ["succeeded", "failed", "timed-out", "interrupted", "something-new"] {
            assert!(Outcome::from(word).was_begun(), "{word}");
        }
        assert!(!Outcome::Refused.was_begun());
        assert!(!Outcome::Cancelled.was_begun());
    }
}
