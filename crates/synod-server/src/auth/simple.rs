//! Tokens signed with the secret that the log gave all members when auth was enabled.
//!
//! ```text
//! token   := payload '.' mac
//! payload := "s1." revision '.' expiry '.' name       hexadecimal; expiry in milliseconds
//! mac     := keyed BLAKE3 of the payload, hexadecimal
//! ```
//!
//! As in etcd a token lives on while it is used: each member remembers when it last saw one.
//! Another member knows only what the token says, and there a token that is old by then must be
//! earned again, as in etcd.

use std::time::Duration;

use parking_lot::Mutex;
use synod_kv::{Identity, TokenSecret};

use super::WallTime;
use super::recent::Recent;

/// Signs and reads simple tokens.
#[derive(Debug)]
pub(crate) struct SimpleTokens {
    ttl: Duration,
    /// Until when tokens that were used live on, by their signature.
    used: Mutex<Recent<[u8; 32], WallTime>>,
}

const PREFIX: &str = "s1.";
/// Tokens whose use is remembered: about 5 MB.
const USED_MAX: usize = 32 << 10;
/// Clocks of members may differ by so much, or by half of a token's life if that is shorter: who
/// asks for tokens that live for seconds means it.
const SKEW: Duration = Duration::from_secs(30);

impl SimpleTokens {
    /// As in etcd, no time means the default.
    pub(super) fn new(ttl: Duration) -> Self {
        let ttl = if ttl.is_zero() { DEFAULT_TTL } else { ttl };
        Self { ttl, used: Mutex::new(Recent::new(USED_MAX)) }
    }

    pub(super) fn issue(
        &self,
        secret: &TokenSecret,
        name: &str,
        revision: u64,
        now: WallTime,
    ) -> String {
        let expiry = now.plus(self.ttl).as_millis();
        let name: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        let payload = format!("{PREFIX}{revision:x}.{expiry:x}.{name}");
        let mac = sign(secret, &payload).to_hex();
        format!("{payload}.{mac}")
    }

    pub(super) fn read(
        &self,
        secret: &TokenSecret,
        token: &str,
        now: WallTime,
    ) -> Option<Identity> {
        let (payload, mac) = token.rsplit_once('.')?;
        // Equal in constant time.
        let expected = sign(secret, payload);
        if expected != blake3::Hash::from_hex(mac).ok()? {
            return None;
        }
        let mut parts = payload.strip_prefix(PREFIX)?.split('.');
        let revision = u64::from_str_radix(parts.next()?, 16).ok()?;
        let expiry = u64::from_str_radix(parts.next()?, 16).ok()?;
        let name = String::from_utf8(unhex(parts.next()?)?).ok()?;
        self.use_until(*expected.as_bytes(), WallTime::of_millis(expiry), now)?;
        Some(Identity { name, issued: Some(revision) })
    }

    /// Notes that a token is used, unless its time is over.
    fn use_until(&self, mac: [u8; 32], expiry: WallTime, now: WallTime) -> Option<()> {
        let mut used = self.used.lock();
        let known = used.get(mac);
        let written = expiry.plus(SKEW.min(self.ttl / 2));
        let end = known.map_or(written, |until| until.max(written));
        if now >= end {
            return None;
        }
        let until = now.plus(self.ttl);
        // A busy token is written down a few times in its life, not at each use.
        let stale = known.is_none_or(|known| known.plus(self.ttl / 16) < until);
        if stale {
            used.put(mac, until);
        }
        Some(())
    }
}

fn sign(secret: &TokenSecret, payload: &str) -> blake3::Hash {
    blake3::keyed_hash(&secret.0, payload.as_bytes())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>()
        .filter(|bytes| bytes.len() * 2 == text.len())
}

const DEFAULT_TTL: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: TokenSecret = TokenSecret([7; 32]);

    fn at(seconds: u64) -> WallTime {
        WallTime::of_millis(1_000_000_000 + seconds * 1000)
    }

    #[test]
    fn every_member_reads_what_one_has_issued() {
        let [one, other] = [300, 300].map(|ttl| SimpleTokens::new(Duration::from_secs(ttl)));
        for name in ["root", "größe", "", "a.b"] {
            let token = one.issue(&SECRET, name, 12, at(0));
            let identity = Identity { name: name.to_owned(), issued: Some(12) };
            assert_eq!(other.read(&SECRET, &token, at(1)), Some(identity));
        }
    }

    #[test]
    fn a_changed_or_foreign_token_is_nobodys() {
        let tokens = SimpleTokens::new(Duration::from_secs(300));
        let token = tokens.issue(&SECRET, "ann", 12, at(0));
        assert_eq!(tokens.read(&TokenSecret([8; 32]), &token, at(0)), None);
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert_eq!(tokens.read(&SECRET, &changed, at(0)), None, "byte {place}");
            assert_eq!(tokens.read(&SECRET, &token[..place], at(0)), None, "{place} bytes");
        }
        for noise in ["", ".", "s1...", "s1.0.0..00", "pKSSGGgNblPRLRfv.11", "ü.ü"] {
            assert_eq!(tokens.read(&SECRET, noise, at(0)), None);
        }
    }

    #[test]
    fn a_token_lives_while_it_is_used() {
        let tokens = SimpleTokens::new(Duration::from_secs(300));
        let used = tokens.issue(&SECRET, "ann", 1, at(0));
        for minute in 1..60 {
            assert!(tokens.read(&SECRET, &used, at(minute * 60)).is_some(), "{minute}");
        }
        let unused = tokens.issue(&SECRET, "ann", 2, at(0));
        assert_eq!(tokens.read(&SECRET, &unused, at(331)), None);
        // The last use is in minute 59, noted at the latest a sixteenth of the time later.
        assert_eq!(tokens.read(&SECRET, &used, at(59 * 60 + 330)), None);
    }

    #[test]
    fn a_token_of_seconds_ends_within_seconds() {
        // Thirty seconds for clocks that differ let a token of two seconds live for half a minute.
        let tokens = SimpleTokens::new(Duration::from_secs(2));
        let token = tokens.issue(&SECRET, "ann", 1, at(0));
        assert_eq!(tokens.read(&SECRET, &token, at(4)), None);
    }
}
