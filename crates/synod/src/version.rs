//! `synod version`: etcd's version first, for tools that look at the first line, then our own.

use synod_server::ETCD_VERSION;

/// What `synod --version` prints behind the program's name.
pub(crate) const LONG: &str = env!("CARGO_PKG_VERSION");

/// Prints the versions.
pub(crate) fn run() {
    println!("etcd Version: {ETCD_VERSION}");
    println!("Synod Version: {LONG}");
    println!("OS/Arch: {}/{}", std::env::consts::OS, std::env::consts::ARCH);
}
