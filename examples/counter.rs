//! A replicated counter.
fn main() {}
