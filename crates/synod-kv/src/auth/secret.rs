//! Bytes that nobody is to read in a log line.

use std::fmt;

use bytes::Bytes;

/// A hash of a password: bcrypt's text. Made and checked at the edge; opaque here.
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash(pub Bytes);

/// What members sign tokens with. Drawn at random at the edge when auth is enabled.
#[derive(Clone, Eq, PartialEq)]
pub struct TokenSecret(pub [u8; 32]);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}
