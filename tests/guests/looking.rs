// The body of `looks` and of `looks_next`, which say what `NEXT` is: a good plugin that looks at the world, and the version after it.

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "../../wit", pub_export_macro: true });
}

use bindings::exports::paramedic::policy::{handler, lifecycle};
use bindings::paramedic::policy::types::Act;
use bindings::paramedic::policy::{containers, docker, incident, log, metrics};

struct Guest;

impl handler::Guest for Guest {
    fn decide() -> Result<handler::Decision, String> {
        let settings: serde_json::Value = serde_json::from_str(&incident::settings()).map_err(|e| e.to_string())?;
        let above = settings["above"].as_f64().unwrap_or(0.5);
        let samples = metrics::query("sum(errors)").map_err(|e| format!("{e:?}"))?;
        let value = samples.first().map_or(0.0, |sample| sample.value);
        log::log(log::Level::Info, &format!("errors are {value}"));
        if settings["inspect"] == true {
            let found = containers::inspect("local/web").map_err(|e| format!("{e:?}"))?;
            log::log(log::Level::Info, &found.state);
        }
        // The next version waits where the one before looked away.
        if value > above {
            let proposals = vec![docker::restart("local/web", None)];
            return Ok(handler::Decision::Act(Act { reason: format!("{value} errors"), proposals }));
        }
        if NEXT && value > 0.0 {
            return Ok(handler::Decision::Escalate(format!("{value} errors")));
        }
        Ok(handler::Decision::Pass("few errors".to_owned()))
    }
}

impl lifecycle::Guest for Guest {
    fn check(_settings: String) -> Result<(), String> {
        Ok(())
    }
    fn describe() -> lifecycle::Manifest {
        lifecycle::Manifest {
            name: "looks".to_owned(),
            version: if NEXT { "2.0.0" } else { "1.0.0" }.to_owned(),
            description: "Restarts when there are errors".to_owned(),
            actions: vec!["docker.restart".to_owned()],
            lookups: vec!["metrics".to_owned(), "containers".to_owned()],
            settings_schema: r#"{"type": "object"}"#.to_owned(),
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
