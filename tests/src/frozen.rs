//! Plugins that were compiled for a released contract load and decide for ever: `tests/frozen/VERSION` holds them as they were built
//! then, with recorded questions and the decisions that were given.
//!
//! A difference here is never mended by changing what is frozen: plugins of users, which nobody can compile again, would decide
//! otherwise too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use paramedic::alert::Alert;
use paramedic::clock::Time;
use paramedic::decide::lookup::Recorded;
use paramedic::decide::sandbox::{Brief, Limits, Plugin, Sandbox};
use paramedic::incident::lookup::{Looked, PastAttempt};
use paramedic::incident::{TargetView, Trigger};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One recorded question.
#[derive(Deserialize, Serialize)]
struct Question {
    name: String,
    alert: Alert,
    trigger: Trigger,
    #[serde(default)]
    targets: Vec<TargetView>,
    #[serde(default)]
    attempts: Vec<PastAttempt>,
    #[serde(default)]
    settings: Value,
    #[serde(default)]
    lookups: Vec<Looked>,
    /// What was decided, or the error text; given by the test itself when something new is frozen.
    #[serde(default)]
    decided: Value,
}

impl Question {
    fn brief(&self, lookups: Arc<Recorded>) -> Brief {
        Brief {
            id: "0123456789abcdef-7".parse().unwrap(),
            alert: self.alert.clone(),
            first_seen: Time(1_767_225_601_000),
            trigger: self.trigger,
            attempts: self.attempts.clone(),
            targets: self.targets.clone(),
            settings: self.settings.clone(),
            now: Time(1_767_226_000_000),
            lookups,
        }
    }

    async fn ask(&self, plugin: &Plugin) -> Value {
        let answers = self.lookups.iter().map(|looked| (looked.lookup.clone(), looked.answer.clone()));
        let recorded = Arc::new(Recorded::new(answers));
        // An interpreter on a busy machine may take long; here only what it decides matters.
        let limits = Limits { deadline: Duration::from_secs(20), memory: 256 << 20, ..Limits::default() };
        let ruling = plugin.decide(&self.brief(recorded.clone()), &limits).await;
        assert_eq!(recorded.missing(), [], "{}: it asks what was not recorded", self.name);
        match ruling.decision {
            Ok(decision) => serde_json::to_value(decision).unwrap(),
            Err(failure) => Value::String(failure.to_string()),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("frozen")
}

/// Every contract version that was released.
pub(crate) fn versions() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.is_empty(), "nothing is frozen");
    names
}

fn frozen_plugins(version: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join(version)).unwrap().map(|entry| entry.unwrap().path());
    let mut plugins: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "zst")).collect();
    plugins.sort();
    assert!(!plugins.is_empty(), "no plugin of {version} is frozen");
    plugins
}

/// `PARAMEDIC_FREEZE=1` writes down the decisions of questions that have none yet; what has one is never touched.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_plugins_load_and_decide_as_they_always_did() {
    let freezing = std::env::var_os("PARAMEDIC_FREEZE").is_some();
    let sandbox = Sandbox::new(None).unwrap();
    for version in versions() {
        let sums = std::fs::read_to_string(folder().join(&version).join("SHA256SUMS")).unwrap();
        for path in frozen_plugins(&version) {
            let bytes = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(sums.contains(&format!("{digest}  {name}")), "{name} of {version} is not what was frozen");
            let plugin = sandbox.load(&name, &bytes).await.unwrap_or_else(|error| panic!("frozen {version}: {error}"));
            let file = path.with_file_name(name.replace(".wasm", ".questions.json"));
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut questions: Vec<Question> = serde_json::from_str(&text).unwrap();
            assert!(questions.len() >= 3, "{}: too few questions", file.display());
            for question in &mut questions {
                assert_eq!(plugin.check_settings(&question.settings).await, Vec::<String>::new(), "{name}: {}", question.name);
                let decided = question.ask(&plugin).await;
                if freezing && question.decided.is_null() {
                    question.decided = decided;
                    continue;
                }
                assert_eq!(decided, question.decided, "{name} of {version}: {}", question.name);
            }
            if freezing {
                std::fs::write(&file, serde_json::to_string_pretty(&questions).unwrap() + "\n").unwrap();
            }
        }
    }
}
