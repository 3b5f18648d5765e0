pub mod ansible; pub mod docker;
