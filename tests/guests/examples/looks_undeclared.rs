//! A plugin that looks at what its settings say, and declares nothing of it.

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "../../wit", pub_export_macro: true });
}

#[path = "../src/look.rs"]
mod look;

use bindings::exports::paramedic::policy::{handler, lifecycle};
use bindings::paramedic::policy::incident;

struct Guest;

impl handler::Guest for Guest {
    fn decide() -> Result<handler::Decision, String> {
        let settings: serde_json::Value = serde_json::from_str(&incident::settings()).map_err(|e| e.to_string())?;
        look::look(&settings)
    }
}

impl lifecycle::Guest for Guest {
    fn check(_settings: String) -> Result<(), String> {
        Ok(())
    }
    fn describe() -> lifecycle::Manifest {
        lifecycle::Manifest {
            name: "looks-undeclared".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Looks at what its settings say".to_owned(),
            actions: Vec::new(),
            lookups: Vec::new(),
            settings_schema: r#"{"type": "object", "required": ["lookups"]}"#.to_owned(),
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
