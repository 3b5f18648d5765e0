//! A plugin that misbehaves as the policy's settings say: `{"do": "spin"}`. The README lists what it can do.
//!
//! It uses the generated bindings as they are, since no SDK would let an author do most of this.

mod answers;
mod harm;
mod looks;

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "../../wit", pub_export_macro: true });
}

use bindings::exports::paramedic::policy::{handler, lifecycle};
use bindings::paramedic::policy::incident;
use bindings::paramedic::policy::types::Decision;

struct Guest;

impl handler::Guest for Guest {
    fn decide() -> Result<Decision, String> {
        let settings: serde_json::Value = serde_json::from_str(&incident::settings()).map_err(|e| e.to_string())?;
        let todo = settings["do"].as_str().ok_or("settings need `do`; see the README of tests/guests")?;
        let (verb, rest) = todo.split_once(':').unwrap_or((todo, ""));
        match answers::answer(verb, rest).or_else(|| looks::look(verb, rest).map(Ok)).or_else(|| harm::harm(verb, rest)) {
            Some(answer) => answer,
            None => Err(format!("no guest knows how to `{verb}`; see the README of tests/guests")),
        }
    }
}

impl lifecycle::Guest for Guest {
    fn check(settings: String) -> Result<(), String> {
        if settings.contains("refused:check") { Err("`do` is what nobody should do".to_owned()) } else { Ok(()) }
    }
    fn describe() -> lifecycle::Manifest {
        lifecycle::Manifest {
            name: "guests".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Misbehaves as its settings say".to_owned(),
            // Not `docker.stop`, which `undeclared` proposes.
            actions: vec!["docker.restart".to_owned(), "docker.start".to_owned(), "ansible.playbook".to_owned()],
            lookups: ["containers", "containers.log-tail", "metrics", "history"].map(str::to_owned).to_vec(),
            settings_schema: r#"{"type": "object", "required": ["do"], "properties": {"do": {"type": "string"}}}"#.to_owned(),
            extra: Vec::new(),
        }
    }
}

// An export is an `unsafe(export_name)` function.
#[allow(unsafe_code)]
mod exports {
    use super::{Guest, bindings};
    bindings::export!(Guest with_types_in bindings);
}
