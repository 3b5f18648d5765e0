//! A component of somebody else's: sound, and no policy.

#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package somebody:else@1.0.0;
            world adder { export add: func(a: u32, b: u32) -> u32; }
        ",
        pub_export_macro: true,
    });
}

struct Guest;

impl bindings::Guest for Guest {
    fn add(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }
}

// An export is an `unsafe(export_name)` function.
#[allow(unsafe_code)]
mod exports {
    use super::{Guest, bindings};
    bindings::export!(Guest with_types_in bindings);
}
