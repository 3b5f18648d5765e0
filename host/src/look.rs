//! The eyes: what Paramedic can read of the world. Nothing in this room can change anything.
pub mod alertmanager;
pub mod docker;
pub mod inventory;
pub mod prometheus;
