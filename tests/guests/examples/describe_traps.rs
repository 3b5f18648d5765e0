//! A plugin that panics when it is asked who it is.
#![allow(clippy::panic)]

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
        panic!("who am I?")
    }
}

// An export is an `unsafe(export_name)` function.
#[allow(unsafe_code)]
mod exports {
    use super::{Guest, bindings};
    bindings::export!(Guest with_types_in bindings);
}
