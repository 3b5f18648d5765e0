//! A plugin of a contract that does not exist yet.

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package paramedic:policy@2.0.0;
            interface handler { decide: func(incident: string) -> string; }
            world policy { export handler; }
        ",
        pub_export_macro: true,
    });
}

struct Guest;

impl bindings::exports::paramedic::policy::handler::Guest for Guest {
    fn decide(incident: String) -> String {
        incident
    }
}

// An export is an `unsafe(export_name)` function.
#[allow(unsafe_code)]
mod exports {
    use super::{Guest, bindings};
    bindings::export!(Guest with_types_in bindings);
}
