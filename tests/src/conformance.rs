//! One suite for the SDKs of all languages: a plugin in each (`tests/conformance/`) does what its settings say, and one table of cases
//! says what has to come of it. Expected is the same for all; where a language differs, the case says so, and each has its own.
//!
//! Absent on purpose: what each language's own tests show without a sandbox (`make test-sdks`).

mod answers;
mod failures;
mod looking;
mod telling;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use paramedic::alert::{Alert, Family, Status};
use paramedic::clock::Time;
use paramedic::decide::lookup::Recorded;
use paramedic::decide::sandbox::{Brief, Limits, Plugin, Ruling};
use paramedic::incident::lookup::{Found, Lookup, LookupError};
use paramedic::incident::{Decision, TargetView, Trigger};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::components::component;
use crate::sandbox::sandbox;

/// What is looked up, and what comes back.
type Answered = (Lookup, Result<Found, LookupError>);

/// One question to all plugins, and what has to come of it.
struct Case {
    name: String,
    brief: Brief,
    lookups: Vec<Answered>,
    expected: Expected,
}

/// The same for all languages, or one for each.
enum Expected {
    Same(Outcome),
    Each(fn(Language) -> Outcome),
}

/// A decision, or what the failure says; and what was logged.
struct Outcome {
    decision: Result<Decision, Says>,
    log: Vec<(&'static str, Says)>,
}

impl Outcome {
    fn of(decision: Decision) -> Self {
        Self { decision: Ok(decision), log: Vec::new() }
    }

    fn failure(says: Says) -> Self {
        Self { decision: Err(says), log: Vec::new() }
    }

    fn log(mut self, level: &'static str, says: Says) -> Self {
        self.log.push((level, says));
        self
    }
}

/// A text, or something that it contains.
#[derive(Debug)]
enum Says {
    This(String),
    With(&'static str),
}

impl Says {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::This(all) => text == all,
            Self::With(part) => text.contains(part),
        }
    }
}

impl From<&str> for Says {
    fn from(text: &str) -> Self {
        Self::This(text.to_owned())
    }
}

/// The languages with an SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
    Js,
}

const ALL: [Language; 3] = [Language::Rust, Language::Python, Language::Js];

impl Language {
    /// Its plugin, compiled once.
    async fn plugin(self) -> &'static Arc<Plugin> {
        static PLUGINS: [OnceCell<Arc<Plugin>>; 3] = [OnceCell::const_new(), OnceCell::const_new(), OnceCell::const_new()];
        let load = || async {
            let bytes = if self == Self::Rust { component("conformance-rust") } else { self.built() };
            sandbox().load(&format!("conformance-{self:?}"), &bytes).await.unwrap()
        };
        PLUGINS[self as usize].get_or_init(load).await
    }

    /// What `make conformance` built, if it is no older than its sources.
    fn built(self) -> Vec<u8> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (word, sdk) = if self == Self::Python {
            ("python", &["plugins/sdk-python", "plugins/sdk-python/paramedic_policy"][..])
        } else {
            ("js", &["plugins/sdk-js"][..])
        };
        let file = root.join(format!("target/conformance/conformance-{word}.wasm"));
        let built = modified(&file).unwrap_or_else(|| panic!("{} is not there: make conformance", file.display()));
        let own = format!("tests/conformance/{word}/src");
        for folder in [&own, "wit"].iter().chain(sdk) {
            let newer = sources(&root.join(folder)).into_iter().find(|source| modified(source) > Some(built));
            assert_eq!(newer, None, "{} is older than this source: make conformance", file.display());
        }
        std::fs::read(file).unwrap()
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|data| data.modified()).ok()
}

/// What goes into a plugin, of all that lies in a folder; the Makefile builds it again for the same files.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| ["py", "js", "mjs", "wit"].iter().any(|known| e == *known))).collect()
}

/// What is asked about if a case does not say otherwise.
fn brief(settings: Value) -> Brief {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let alert = Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels: pairs(&[("alertname", "WebDown"), ("container", "web")]),
        annotations: pairs(&[("summary", "it is {{ down }}")]),
        starts_at: Time(1_767_225_600_000),
        ends_at: None,
        generator_url: "http://prometheus:9090/graph".to_owned(),
        fingerprint: None,
    };
    let web = TargetView {
        target: "local/web".parse().unwrap(),
        inventory_host: Some("web1".parse().unwrap()),
        state: "exited".to_owned(),
    };
    Brief {
        id: "0123456789abcdef-7".parse().unwrap(),
        alert,
        first_seen: Time(1_767_225_601_000),
        trigger: Trigger::Alert,
        attempts: Vec::new(),
        targets: vec![web],
        settings,
        now: Time(1_767_226_000_000),
        lookups: Arc::new(Recorded::default()),
    }
}

/// A script of steps, and then a call for a person: its reason is `told` and what the steps told.
fn script(steps: Value) -> Value {
    json!({"script": steps, "decision": {"answer": "escalate", "reason": "told"}})
}

/// The reason that such a script has to give, as much of it as is kept.
fn told_reason(told: &Value) -> Outcome {
    let reason = paramedic::telemetry::clean(&format!("told {}", told::canonical(told)), 2000);
    Outcome::of(Decision::Escalate { reason })
}

fn cases() -> Vec<Case> {
    [telling::cases(), looking::cases(), answers::cases(), failures::cases()].into_iter().flatten().collect()
}

/// What is wrong with what came of a case.
fn differences(case: &Case, language: Language, ruling: &Ruling) -> Vec<String> {
    let each;
    let expected = match &case.expected {
        Expected::Same(outcome) => outcome,
        Expected::Each(of) => {
            each = of(language);
            &each
        }
    };
    let mut wrong = Vec::new();
    let fits = match (&ruling.decision, &expected.decision) {
        (Ok(decision), Ok(wanted)) => decision == wanted,
        (Err(failure), Err(says)) => says.fits(&failure.to_string()),
        _ => false,
    };
    if !fits {
        wrong.push(format!("expected {:?}\n         came {:?}", expected.decision, ruling.decision));
    }
    let same =
        |(line, (level, says)): (&paramedic::incident::LogLine, &(&str, Says))| line.level == *level && says.fits(&line.message);
    if ruling.log.len() != expected.log.len() || !ruling.log.iter().zip(&expected.log).all(same) {
        wrong.push(format!("expected to be logged {:?}\n         came {:?}", expected.log, ruling.log));
    }
    let looked: Vec<_> = ruling.lookups.iter().map(|looked| (looked.lookup.clone(), looked.answer.clone())).collect();
    // An answer may be a NaN, which equals nothing.
    if format!("{looked:?}") != format!("{:?}", case.lookups) {
        wrong.push(format!("expected to look {:?}\n         came {looked:?}", case.lookups));
    }
    wrong
}

async fn holds(language: Language) {
    let plugin = language.plugin().await;
    // An interpreter on a busy machine may take long; memory is what every policy gets.
    let limits = Limits { deadline: Duration::from_secs(20), ..Limits::default() };
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for mut case in cases() {
        let complaints = plugin.check_settings(&case.brief.settings).await;
        wrong.extend(complaints.into_iter().map(|complaint| format!("{}: its settings are refused: {complaint}", case.name)));
        case.brief.lookups = Arc::new(Recorded::new(case.lookups.clone()));
        let ruling = plugin.decide(&case.brief, &limits).await;
        wrong.extend(differences(&case, language, &ruling).into_iter().map(|difference| format!("{}: {difference}", case.name)));
        asked += 1;
    }
    assert!(asked > 140, "only {asked} cases");
    assert!(wrong.is_empty(), "{language:?}: {} of {asked} cases:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_conforms() {
    holds(Language::Rust).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_conforms() {
    holds(Language::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_conforms() {
    holds(Language::Js).await;
}

/// Only the schema is each SDK's own: it is made of the language's own types. Which settings it refuses is in `failures`.
#[tokio::test(flavor = "multi_thread")]
async fn every_language_describes_itself_alike() {
    let mut manifest = Language::Rust.plugin().await.manifest().clone();
    assert_eq!((manifest.actions.len(), manifest.lookups.len()), (10, 4), "it does not use the whole contract");
    for language in [Language::Python, Language::Js] {
        let other = language.plugin().await.manifest();
        manifest.settings_schema.clone_from(&other.settings_schema);
        assert_eq!(&manifest, other, "{language:?}");
    }
}
