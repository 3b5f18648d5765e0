//! A plugin whose schema of its settings is no JSON Schema.

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "../../wit", pub_export_macro: true });
}

use bindings::exports::paramedic::policy::{handler, lifecycle};

struct Guest;

impl handler::Guest for Guest {
    fn decide() -> Result<handler::Decision, String> {
        Ok(handler::Decision::Pass("not mine".to_owned()))
    }
}

impl lifecycle::Guest for Guest {
    fn check(_settings: String) -> Result<(), String> {
        Ok(())
    }
    fn describe() -> lifecycle::Manifest {
        lifecycle::Manifest {
            name: "broken-schema".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Describes its settings wrongly".to_owned(),
            actions: Vec::new(),
            lookups: Vec::new(),
            settings_schema: r#"{"type": 5}"#.to_owned(),
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
