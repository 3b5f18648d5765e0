//! The policies as they are loaded, for programs and for whoever asks which brakes are in force.

use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::decide::Loaded;
use crate::policy::brakes::{Brakes, PolicyBrakes};
use crate::telemetry::Labels;

/// A policy as it is loaded.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    name: String,
    file: String,
    /// The digest of that file.
    file_sha256: String,
    mode: &'static str,
    plugin: PluginShown,
    #[serde(rename = "match")]
    matchers: Vec<String>,
    grants: Value,
    /// Its brakes; where it leaves one to the global ones, those.
    brakes: Value,
    /// The whole file.
    #[serde(serialize_with = "whole")]
    written: Arc<Value>,
}

#[derive(Clone, Debug, Serialize)]
struct PluginShown {
    file: String,
    sha256: String,
    name: String,
    version: String,
    /// What it may ever propose.
    actions: Vec<&'static str>,
}

impl Shown {
    /// What there is to show of this one.
    pub fn of(file: &Path, written: &Arc<Value>, loaded: &Loaded, global: &Brakes) -> Self {
        let (policy, manifest) = (&loaded.policy, loaded.plugin.manifest());
        Self {
            name: policy.name.clone(),
            file: file.display().to_string(),
            file_sha256: policy.digest.clone(),
            mode: policy.mode.word(),
            plugin: PluginShown {
                file: policy.plugin.file.clone(),
                sha256: loaded.plugin.digest().to_owned(),
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                actions: manifest.actions.iter().map(|kind| kind.word()).collect(),
            },
            matchers: policy.matchers.iter().map(ToString::to_string).collect(),
            grants: written.get("grants").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            brakes: in_force(&policy.brakes, global),
            written: Arc::clone(written),
        }
    }

    /// Its mode.
    pub fn mode(&self) -> &'static str {
        self.mode
    }

    /// Its labels in `/metrics`.
    pub fn labels(&self) -> Labels {
        let (mode, plugin) = (self.mode.to_owned(), self.plugin.file.clone());
        vec![("policy", self.name.clone()), ("mode", mode), ("plugin", plugin), ("sha256", self.plugin.sha256.clone())]
    }
}

fn whole<S: Serializer>(written: &Arc<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    written.serialize(serializer)
}

/// The policy's brakes; where it leaves one to the global ones, those.
fn in_force(own: &PolicyBrakes, global: &Brakes) -> Value {
    let (mut own, global) = (serde_json::to_value(own).unwrap_or_default(), serde_json::to_value(global).unwrap_or_default());
    if let Value::Object(own) = &mut own {
        let left = own.iter_mut().filter(|(_, brake)| brake.is_null());
        left.for_each(|(name, brake)| *brake = global.get(name).cloned().unwrap_or_default());
    }
    own
}
