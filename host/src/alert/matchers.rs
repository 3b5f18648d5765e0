//! placeholder
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub struct Matchers(Vec<String>);
