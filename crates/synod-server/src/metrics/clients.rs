//! Calls by the version of the interface that clients say they were made for.
//!
//! It says which clients are to be brought up to date. Clients write what they like: what is no
//! version of etcd's third interface shares a row, so that nobody can make the page grow.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;

/// How often who called.
#[derive(Debug)]
pub(crate) struct Clients {
    minors: [Kinds; MINORS],
    unknown: Kinds,
}

/// Calls with one message each way, and streams.
type Kinds = [AtomicU64; KINDS.len()];

impl Default for Clients {
    fn default() -> Self {
        let kinds = || from_fn(|_| AtomicU64::new(0));
        Self { minors: from_fn(|_| kinds()), unknown: kinds() }
    }
}

impl Clients {
    /// A call begins.
    pub(crate) fn count(&self, headers: &HeaderMap, is_stream: bool) {
        let kinds = minor(headers).and_then(|minor| self.minors.get(minor));
        let kinds = kinds.unwrap_or(&self.unknown);
        kinds[usize::from(is_stream)].fetch_add(1, Ordering::Relaxed);
    }

    /// Version, kind and figure of all that have called.
    pub(crate) fn read(&self) -> impl Iterator<Item = (String, &'static str, u64)> {
        let minors = self.minors.iter().enumerate();
        let rows = minors.map(|(minor, kinds)| (format!("3.{minor}"), kinds));
        let rows = rows.chain([("unknown".to_owned(), &self.unknown)]);
        rows.flat_map(|(version, kinds)| {
            let figures = KINDS.iter().zip(kinds);
            figures
                .map(move |(kind, count)| (version.clone(), *kind, count.load(Ordering::Relaxed)))
        })
        .filter(|(_, _, count)| *count > 0)
    }
}

fn minor(headers: &HeaderMap) -> Option<usize> {
    let version = headers.get("client-api-version")?.to_str().ok()?;
    let minor = version.strip_prefix("3.")?;
    // `+5` and `05` are numbers, too.
    let is_plain = minor == "0" || minor.bytes().next().is_some_and(|b| matches!(b, b'1'..=b'9'));
    minor.parse().ok().filter(|_| is_plain)
}

const KINDS: [&str; 2] = ["unary", "stream"];
/// Versions with a row of their own, 3.0 onwards.
const MINORS: usize = 20;

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn what_is_no_version_shares_a_row() {
        let clients = Clients::default();
        clients.count(&HeaderMap::new(), false);
        for version in ["3.6", "3.5", "3.6", "3.99", "3.+6", "3.06", "4.0", "3.6.1", "x", "3."] {
            let mut headers = HeaderMap::new();
            headers.insert("client-api-version", HeaderValue::from_static(version));
            clients.count(&headers, version == "3.5");
        }
        let found: Vec<_> = clients.read().collect();
        let expected = [("3.5", "stream", 1), ("3.6", "unary", 2), ("unknown", "unary", 8)];
        assert_eq!(found, expected.map(|(version, kind, count)| (version.to_owned(), kind, count)));
    }
}
