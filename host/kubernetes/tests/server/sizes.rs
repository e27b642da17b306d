//! What many objects cost.
