//! The command `synod`.
fn main() {}
