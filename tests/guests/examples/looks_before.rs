//! A good plugin that looks at the world before it decides.

/// Which of the two versions this is.
const NEXT: bool = false;

include!("../looking.rs");
