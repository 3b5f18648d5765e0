mod bindings;
mod guest;
mod load;
pub mod plugin;
pub mod question;
pub mod sandbox;
mod wasi;
