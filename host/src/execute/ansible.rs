//! stub
use crate::action::{Action, Ending, Outcome};
use crate::clock::Time;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Settings { pub profiles: BTreeMap<String, Profile>, pub playbooks: PathBuf }
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Profile { pub inventory: PathBuf }
pub fn playbook_path(_s: &Settings, _n: &str) -> Result<PathBuf, String> { Err(String::new()) }
pub fn unconfigured() -> Outcome { Outcome { ending: Ending::Failed, message: String::new(), output: vec![] } }
pub async fn carry(_s: &Settings, _r: &Path, _id: &str, _a: &Action) -> Outcome { unconfigured() }
pub async fn find_out(_s: &Settings, _r: &Path, _id: &str, _at: Time) -> Outcome { unconfigured() }
