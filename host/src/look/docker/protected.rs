//! Which containers are never touched, whatever a policy wants and a grant allows.
//!
//! Paramedic itself, since who stops the responder stops the response; and what an orchestrator looks after, since two who
//! repair the same thing fight. Labels can be given by whoever creates a container: they can only protect, never expose.

use std::fs;

use crate::action::{ContainerId, ContainerName};
use crate::alert::Labels;

/// Put on Paramedic's own container when it cannot find itself (host network, unusual runtimes).
const ROLE_LABEL: (&str, &str) = ("io.paramedic.role", "host");

/// Beginnings of labels that an orchestrator puts on its containers.
const ORCHESTRATORS: [(&str, &str); 4] = [
    ("io.kubernetes.", "Kubernetes"),
    ("com.docker.swarm.", "Docker Swarm"),
    ("com.hashicorp.nomad.", "Nomad"),
    ("com.amazonaws.ecs.", "Amazon ECS"),
];

/// What this process knows about the container it runs in.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// Full ids that its own mounts or control groups name.
    ids: Vec<String>,
    /// Its host name, which by default is the beginning of the container's id.
    hostname: String,
}

impl Own {
    /// Looks at this process. Outside of a container nothing is found, and that is right.
    pub(super) fn find() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::from_files(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), &read("/proc/sys/kernel/hostname"))
    }

    fn from_files(mountinfo: &str, cgroup: &str, hostname: &str) -> Self {
        // Engines mount these three from a folder named by the id. Only these: on the machine itself the same
        // table lists other containers' folders.
        let mounted = mountinfo.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(&point).then_some(root)
        });
        let grouped = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        Self { ids: mounted.chain(grouped).filter_map(full_id).collect(), hostname: hostname.trim().to_owned() }
    }

    /// Says why a container must not be touched, if so.
    pub(super) fn why_protected(&self, id: &ContainerId, name: &ContainerName, labels: &Labels) -> Option<String> {
        let (id, name) = (id.as_str(), name.as_str());
        let short = self.hostname.len() >= 12 && self.hostname.bytes().all(|b| b.is_ascii_hexdigit());
        if self.ids.iter().any(|own| own == id) || (short && id.starts_with(&self.hostname)) {
            return Some("it is Paramedic's own container".to_owned());
        }
        if labels.get(ROLE_LABEL.0).is_some_and(|role| role == ROLE_LABEL.1) {
            return Some(format!("it is Paramedic's own container (label {}={})", ROLE_LABEL.0, ROLE_LABEL.1));
        }
        for (beginning, orchestrator) in ORCHESTRATORS {
            if labels.keys().any(|label| label.starts_with(beginning)) {
                return Some(format!("{orchestrator} looks after it (labels {beginning}*)"));
            }
        }
        name.starts_with("k8s_").then(|| "Kubernetes looks after it (name k8s_*)".to_owned())
    }
}

/// The part of a path that is a container's full id, also as `docker-<id>.scope`.
fn full_id(path: &str) -> Option<String> {
    let mut parts = path.split(['/', '-', '.']);
    parts.rfind(|part| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: &str = "51e9f59d6fc6aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "609243413e45bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn why(own: &Own, id: &str, name: &str, labels: &[(&str, &str)]) -> Option<String> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        own.why_protected(&id.parse().unwrap(), &name.parse().unwrap(), &labels)
    }

    #[test]
    fn finds_its_own_container() {
        let docker = format!("589 580 254:0 /var/lib/docker/containers/{A}/hostname /etc/hostname rw - ext4 /dev/root rw\n");
        let podman = format!("70 60 0:22 /containers/overlay-containers/{A}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw\n");
        let systemd = format!("1:name=systemd:/system.slice/docker-{A}.scope\n");
        for own in [
            Own::from_files(&docker, "0::/\n", "renamed\n"),
            Own::from_files(&podman, "", "renamed"),
            Own::from_files("", &systemd, "renamed"),
            Own::from_files("", &format!("4:memory:/docker/{A}\n"), "renamed"),
            Own::from_files("", "0::/", "51e9f59d6fc6\n"),
        ] {
            assert_eq!(why(&own, A, "web", &[]).unwrap(), "it is Paramedic's own container", "{own:?}");
            assert_eq!(why(&own, B, "web", &[]), None, "{own:?}");
        }
    }

    #[test]
    fn other_containers_mounts_on_the_machine_itself_are_not_its_own() {
        let machine = format!("99 22 0:50 / /var/lib/docker/containers/{A}/mounts/shm rw - tmpfs shm rw\n");
        let own = Own::from_files(&machine, "0::/user.slice", "vm");
        assert!(own.ids.is_empty());
        assert_eq!(why(&own, A, "web", &[]), None);
    }

    #[test]
    fn orchestrators_keep_theirs() {
        let own = Own::default();
        assert!(why(&own, A, "web", &[("io.kubernetes.pod.name", "web-1")]).unwrap().contains("Kubernetes"));
        assert!(why(&own, A, "k8s_POD_web-1_default", &[]).unwrap().contains("Kubernetes"));
        assert!(why(&own, A, "web.1.x", &[("com.docker.swarm.service.name", "web")]).unwrap().contains("Swarm"));
        assert!(why(&own, A, "web", &[("com.hashicorp.nomad.alloc_id", "1")]).unwrap().contains("Nomad"));
        assert!(why(&own, A, "paramedic", &[("io.paramedic.role", "host")]).unwrap().contains("Paramedic"));
        assert_eq!(why(&own, A, "web", &[("com.docker.compose.service", "web"), ("io.paramedic.role", "patient")]), None);
    }
}
