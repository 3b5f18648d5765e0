//! A plugin that wants to know the time from somebody else than Paramedic. It must be refused when it is loaded, by the name of the interface.

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "../../../wit", pub_export_macro: true });
}

use bindings::exports::paramedic::policy::{handler, lifecycle};

struct Guest;

impl handler::Guest for Guest {
    fn decide() -> Result<handler::Decision, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|e| e.to_string())?;
        Ok(handler::Decision::Pass(format!("it is {} s", now.as_secs())))
    }
}

impl lifecycle::Guest for Guest {
    fn check(_settings: String) -> Result<(), String> {
        Ok(())
    }
    fn describe() -> lifecycle::Manifest {
        lifecycle::Manifest {
            name: "guest-clock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Wants a clock".to_owned(),
            actions: Vec::new(),
            lookups: Vec::new(),
            settings_schema: String::new(),
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
