//! The real Docker engine of this machine, and containers of our own on it.
//!
//! What a test does to a container goes through the `docker` command, so that nothing is checked with the code that is under test. The
//! image holds one static program (`fixtures/patient.rs`) and is made here when it is missing: no registry is needed.
//! Without an engine these tests fail, they never skip: `stack/setup.sh engine` starts one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use paramedic::action::Target;
use paramedic::look::docker::{Engines, Settings};

/// The number goes up when `fixtures/patient.rs` changes.
pub const IMAGE: &str = "paramedic-test:5";

/// Runs `docker` with these arguments; its output, or a panic with its error.
pub fn docker(args: &[&str]) -> String {
    let run = Command::new("docker").args(args).stdin(Stdio::null()).output().expect("the docker command is there");
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "docker {}: {error} (is the engine running? stack/setup.sh engine starts it)", args.join(" "));
    String::from_utf8_lossy(&run.stdout).trim().to_owned()
}

/// Makes the test image if it is not there.
pub fn image() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        if docker(&["images", "--quiet", IMAGE]).is_empty() {
            let folder = tempfile::tempdir().unwrap();
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/patient.rs");
            let built = Command::new("rustc")
                .args(["--edition=2024", "-O", "-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-o"])
                .arg(folder.path().join("patient"))
                .arg(source)
                .status();
            assert!(built.unwrap().success(), "rustc could not build fixtures/patient.rs");
            let archive = folder.path().join("rootfs.tar");
            let packed = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(folder.path()).arg("patient").status();
            assert!(packed.unwrap().success(), "tar could not pack the test image");
            docker(&["import", "--change", r#"ENTRYPOINT ["/patient"]"#, archive.to_str().unwrap(), IMAGE]);
        }
    });
}

/// A container of a test's own; removed when dropped.
pub struct Patient {
    /// Its name, like no other's.
    pub name: String,
    /// Its full id.
    pub id: String,
}

impl Patient {
    /// Runs a new container: `options` of `docker run`, then what the program in it shall do.
    pub fn run(options: &[&str], program: &[&str]) -> Self {
        Self::make(&["run", "--detach"], options, program)
    }

    /// Creates one without starting it.
    pub fn create(options: &[&str], program: &[&str]) -> Self {
        Self::make(&["create"], options, program)
    }

    fn make(verb: &[&str], options: &[&str], program: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        image();
        let name = format!("paramedic-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Held before the container exists, so that a failing `run` leaves nothing behind either.
        let mut patient = Self { name, id: String::new() };
        patient.id = docker(&[verb, &["--name", &patient.name, "--network", "none"], options, &[IMAGE], program].concat());
        patient
    }

    /// Another container under the same name, as a deployment makes it.
    pub fn recreate(&mut self, program: &[&str]) {
        docker(&["rm", "--force", &self.id]);
        self.id = docker(&[&["run", "--detach", "--name", &self.name, "--network", "none", IMAGE], program].concat());
    }

    /// Its target on the host `local`.
    pub fn target(&self) -> Target {
        format!("local/{}", self.name).parse().unwrap()
    }

    /// What `docker inspect` says, by a Go template.
    pub fn inspect(&self, template: &str) -> String {
        docker(&["inspect", "--format", template, &self.id])
    }

    /// Waits until it is in this state.
    pub fn wait_until(&self, state: &str) {
        let begun = Instant::now();
        while self.inspect("{{.State.Status}}") != state {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} did not get {state} in 30 s", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills its first process from outside, unseen by the engine, as the kernel or a fault would.
    pub fn murder(&self) {
        let pid = self.inspect("{{.State.Pid}}").parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        // Not through `docker`, which panics: that would hide why the test failed.
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
    }
}

/// Paramedic's view of this machine's engine, under the name `local`.
pub fn engines() -> Engines {
    Engines::connect(&Settings::default()).unwrap()
}
