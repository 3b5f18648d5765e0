//! A good plugin that looks at the world before it decides: the next version.

/// Which of the two versions this is.
const NEXT: bool = true;

include!("../looking.rs");
