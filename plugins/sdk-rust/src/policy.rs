//! The macro that makes a plugin of a function.

/// Makes a plugin of a function from incident to decision.
///
/// `decide` is a `fn(&Incident, &Settings) -> A` where `A` is a [`Decision`](crate::Decision) or a `Result` of one. `settings` is a type
/// that derives `serde::Deserialize` and `schemars::JsonSchema` ([`NoSettings`](crate::NoSettings) if there are none). `actions` are all kinds of
/// action the policy may ever propose: what is not named here is refused even if the operator granted it. `lookups`, which may be left out, is what
/// it may ever look at with [`lookup`](crate::lookup), for which the same goes. `check`, which may be left out, is a
/// `fn(&Settings) -> Result<(), E>`: it is asked when a policy is loaded, for what a schema cannot say. The version is that of the crate.
///
/// Exports exist only in a build for `wasm32`; elsewhere the types are checked and nothing else.
#[macro_export]
macro_rules! policy {
    (
        name: $name:expr,
        description: $description:expr,
        actions: [$($kind:expr),* $(,)?],
        $(lookups: [$($lookup:expr),* $(,)?],)?
        settings: $settings:ty,
        $(check: $check:expr,)?
        decide: $decide:expr $(,)?
    ) => {
        // The exports of a component are `unsafe(export_name)` functions; nothing an author writes is inside.
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::bindings::exports::paramedic::policy::{handler, lifecycle};

            struct Plugin;

            impl handler::Guest for Plugin {
                fn decide() -> ::core::result::Result<handler::Decision, ::std::string::String> {
                    $crate::private::decide::<$settings, _>($decide)
                }
            }

            impl lifecycle::Guest for Plugin {
                fn describe() -> lifecycle::Manifest {
                    $crate::private::describe::<$settings>(
                        $name,
                        ::core::env!("CARGO_PKG_VERSION"),
                        $description,
                        &[$($kind),*],
                        &[$($($lookup),*)?],
                    )
                }

                fn check(settings: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                    let _settings = $crate::parse_settings::<$settings>(&settings)?;
                    $(return $crate::private::check(&_settings, $check);)?
                    #[allow(unreachable_code)]
                    ::core::result::Result::Ok(())
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::export!(Plugin with_types_in $crate::bindings);
        };
    };
}
