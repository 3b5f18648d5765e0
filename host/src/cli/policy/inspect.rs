//! `paramedic policy inspect`: who a plugin is, and what it asks for against what a policy file grants.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json as value;

use super::load;
use crate::action::Kind;
use crate::cli::output::{json, line, table};
use crate::cli::{End, Output};
use crate::clock::print_duration;
use crate::config::ConfigError;
use crate::config::yaml::Source;
use crate::decide::plugin::Plugin;
use crate::decide::sandbox::CONTRACT_VERSION;
use crate::policy::Policy;
use crate::telemetry::clean;

const EXAMPLES: &str = "Examples:
  paramedic policy inspect target/plugins/restart-container.wasm
  paramedic policy inspect dist/heal-web.wasm --policy policies/50-heal-web.yaml";

/// Say who a plugin is: what it declares, what it imports, its digest and its settings
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// The plugin's file
    plugin: PathBuf,
    /// A policy's file: what it grants is put beside what the plugin asks for
    #[arg(long)]
    policy: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One thing that a plugin may ask for.
struct Wish {
    what: &'static str,
    declared: bool,
    /// `None` without a policy file.
    granted: Option<bool>,
}

impl Wish {
    fn verdict(&self) -> &'static str {
        match (self.declared, self.granted) {
            (true, Some(true)) => "granted",
            (true, Some(false)) => "not granted: it will be refused",
            (false, Some(true)) => "granted, and never asked for: the grant can go",
            _ => "",
        }
    }
}

impl Inspect {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let begun = Instant::now();
        let plugin = load(&self.plugin).await?;
        let took = begun.elapsed();
        let policy = self.policy.as_deref().map(read).transpose()?;
        let wishes = wishes(&plugin, policy.as_ref());
        match self.output {
            Output::Json => self.json(&plugin, &wishes, policy.is_some(), took)?,
            Output::Text => self.text(&plugin, &wishes, took)?,
        }
        if let (Some(policy), Some(file)) = (&policy, &self.policy) {
            let wrong = plugin.check_settings(&policy.settings).await;
            let (file, plugin, wrong) = (file.display(), self.plugin.display(), wrong.join("; "));
            anyhow::ensure!(
                wrong.is_empty(),
                "{file}: its settings do not fit {plugin}: {wrong}; `paramedic policy inspect {plugin}` shows what they may be"
            );
        }
        let refused = wishes.iter().any(|wish| wish.declared && wish.granted == Some(false));
        Ok(if refused { End::Findings } else { End::Fine })
    }

    fn text(&self, plugin: &Plugin, wishes: &[Wish], took: Duration) -> anyhow::Result<()> {
        let manifest = plugin.manifest();
        let file = self.plugin.file_name().unwrap_or_default().to_string_lossy();
        line(format!("{} {}: {}", manifest.name, manifest.version, manifest.description));
        line(format!("  sha256    {}", plugin.digest()));
        line(format!("  pin it    plugin: {}@sha256:{}", clean(&file, 200), plugin.digest()));
        line(format!("  contract  paramedic:policy@{CONTRACT_VERSION}"));
        line(format!("  size      {} KiB, loaded in {}", plugin.size().div_ceil(1024), print_duration(took)));
        let list = |words: Vec<&str>| if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        line(format!("  may do    {}", list(manifest.actions.iter().map(|kind| kind.word()).collect())));
        line(format!("  looks at  {}", list(manifest.lookups.clone())));
        line("  imports");
        plugin.imports().iter().for_each(|import| line(format!("    {import}")));
        if let Some(schema) = &manifest.settings_schema {
            line("  settings, as JSON Schema");
            line(serde_json::to_string_pretty(schema)?);
        }
        if wishes.iter().any(|wish| wish.granted.is_some()) {
            line("");
            let mark = |declared: bool| if declared { "declared" } else { "-" }.to_owned();
            let rows: Vec<Vec<String>> =
                wishes.iter().map(|wish| vec![wish.what.to_owned(), mark(wish.declared), wish.verdict().to_owned()]).collect();
            table(&["WHAT", "PLUGIN", "POLICY FILE"], &rows);
        }
        Ok(())
    }

    fn json(&self, plugin: &Plugin, wishes: &[Wish], compared: bool, took: Duration) -> anyhow::Result<()> {
        let manifest = plugin.manifest();
        let wishes: Vec<_> =
            wishes.iter().map(|wish| value!({ "what": wish.what, "declared": wish.declared, "granted": wish.granted })).collect();
        json(&value!({
            "name": manifest.name, "version": manifest.version, "description": manifest.description, "sha256": plugin.digest(),
            "contract": CONTRACT_VERSION, "actions": manifest.actions, "lookups": manifest.lookups, "imports": plugin.imports(),
            "settings_schema": manifest.settings_schema, "bytes": plugin.size(), "loaded_in_ms": took.as_millis() as u64,
            "policy": if compared { value!(wishes) } else { value!(null) },
        }))
    }
}

pub(super) fn read(file: &Path) -> anyhow::Result<Policy> {
    let wrong = |problems| anyhow::Error::from(ConfigError::from(problems));
    Source::open(file).and_then(|source| source.read()).map_err(wrong)
}

/// Everything that the plugin declares or the policy grants.
fn wishes(plugin: &Plugin, policy: Option<&Policy>) -> Vec<Wish> {
    let manifest = plugin.manifest();
    let granted = policy.map(|policy| policy.grants.words());
    let words = Kind::ALL.map(Kind::word).into_iter().chain(crate::incident::lookup::Lookup::WORDS);
    let wish = |what: &'static str| Wish {
        what,
        declared: manifest.actions.iter().any(|kind| kind.word() == what) || manifest.lookups.contains(&what),
        granted: granted.as_ref().map(|granted| granted.contains(&what)),
    };
    words.map(wish).filter(|wish| wish.declared || wish.granted == Some(true)).collect()
}
