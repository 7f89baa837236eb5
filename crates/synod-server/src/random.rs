//! Numbers that nobody else has drawn, from the system.

use std::io;

/// A random number above 0.
///
/// # Errors
/// If the system has none to give.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u64::from_le_bytes(bytes).max(1))
}
