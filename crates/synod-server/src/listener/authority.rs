//! `:authority` as etcd's older clients send it, put right before HTTP/2 is read.
//!
//! Go's client of etcd up to 3.4 says where it connects to as it was told, scheme and all
//! (`http://10.0.0.1:2379`), when it asks one member: `etcdctl endpoint status --cluster` does.
//! Others say the path of a unix socket. etcd looks at it nowhere; the library that reads HTTP/2
//! here resets the stream, and can be told nothing else. So the frames before it are looked at, and
//! a name that it would refuse is made shorter:
//!
//! ```text
//!   | length | HEADERS | … | :method POST | :authority http://10.0.0.1:2379 | …
//!   | length - 7 | HEADERS | … | :method POST | :authority 10.0.0.1:2379 | …
//! ```
//!
//! Invariant: an entry never grows. Both sides keep a table of what they have said (RFC 7541 §2.3),
//! which loses its oldest entries when it is full; with smaller ones ours keeps more than the
//! client's, and what the client refers to is there under the same number.
//!
//! A connection whose first request names the server well is not looked at again.

use httlib_huffman::{DecoderSpeed, decode};
use hyper::http::uri::Authority;

/// Looks through what a client sends after the preface.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    /// So many bytes belong to a frame that is let through.
    passing: usize,
    /// The beginning of a frame: its head, and of HEADERS the rest too.
    held: Vec<u8>,
    has_corrected: bool,
    is_done: bool,
}

impl Authorities {
    /// Takes what came, and adds to `out` what may be read on.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.is_done {
                return out.extend_from_slice(bytes);
            }
            if self.passing > 0 {
                let (passed, rest) = bytes.split_at(self.passing.min(bytes.len()));
                out.extend_from_slice(passed);
                self.passing -= passed.len();
                bytes = rest;
                continue;
            }
            let wanted = HEAD + self.payload().unwrap_or(0);
            let (part, rest) = bytes.split_at((wanted - self.held.len()).min(bytes.len()));
            self.held.extend_from_slice(part);
            bytes = rest;
            if self.held.len() == wanted {
                self.look(out);
            }
        }
    }

    /// What is held at the end of a connection, which ended within a frame.
    pub(super) fn rest(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// Whether nothing need be looked at any more.
    pub(super) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// The length of the frame whose head is held.
    fn payload(&self) -> Option<usize> {
        let length: [u8; 3] = self.held.get(..HEAD)?.first_chunk().copied()?;
        Some(length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// A head is held, or all of a frame with headers.
    fn look(&mut self, out: &mut Vec<u8>) {
        let payload = self.payload().unwrap_or(0);
        if self.held.len() == HEAD {
            let is_request = self.held[3] == HEADERS && (1..=PAYLOAD_MAX).contains(&payload);
            if !is_request {
                self.passing = payload;
                out.append(&mut self.held);
            }
            return;
        }
        match corrected(&self.held) {
            Some(frame) => {
                out.extend_from_slice(&frame);
                self.held.clear();
                self.has_corrected = true;
            }
            None => {
                out.append(&mut self.held);
                self.is_done = !self.has_corrected;
            }
        }
    }
}

/// A frame with headers and a better name in it; none if there is nothing to correct.
fn corrected(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at_checked(HEAD)?;
    let found = authority_of(frame)?;
    let better = better(&found.value)?;
    let (before, after) = (&payload[..found.begin], &payload[found.end..]);
    let length = before.len() + 1 + better.len() + after.len();
    if length > PAYLOAD_MAX {
        return None;
    }
    // What is longer than seven bits tell is no name.
    let named = u8::try_from(better.len()).ok().filter(|&length| length < 0x7f)?;
    let length = u32::try_from(length).ok()?.to_be_bytes();
    let parts = [&length[1..], &head[3..], before, &[named], better.as_bytes(), after];
    Some(parts.concat())
}

/// The name in a frame with headers; it stands there in the payload.
fn authority_of(frame: &[u8]) -> Option<Found> {
    let (head, payload) = frame.split_at_checked(HEAD)?;
    let (is_padded, has_priority) = (head[4] & PADDED != 0, head[4] & PRIORITY != 0);
    let padding = if is_padded { usize::from(*payload.first()?) } else { 0 };
    let begin = usize::from(is_padded) + if has_priority { 5 } else { 0 };
    let block = payload.get(begin..payload.len().checked_sub(padding)?)?;
    let found = authority(block)?;
    Some(Found { begin: begin + found.begin, end: begin + found.end, ..found })
}

/// A name that can be read, no longer than this one; none if this one can.
fn better(value: &[u8]) -> Option<String> {
    const NAME: &str = "localhost";
    let is_name = |name: &[u8]| Authority::try_from(name).is_ok();
    if value.is_empty() || is_name(value) {
        return None;
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    let behind = text.split_once("://").map(|(_, behind)| behind);
    let host = behind.and_then(|behind| behind.split('/').next());
    let host = host.filter(|host| is_name(host.as_bytes()));
    Some(host.unwrap_or_else(|| &NAME[..NAME.len().min(value.len())]).to_owned())
}

/// A name in headers, and where it stands.
struct Found {
    begin: usize,
    end: usize,
    value: Vec<u8>,
}

/// The first `:authority` that is spelt out in a block of headers (RFC 7541 §6).
fn authority(block: &[u8]) -> Option<Found> {
    const INDEX: usize = 1;
    let mut at = 0;
    while at < block.len() {
        let (bits, is_spelt_out) = match block[at] {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let index = integer(&block[at..], bits)?;
        at += index.length;
        if !is_spelt_out {
            continue;
        }
        let mut is_authority = index.value == INDEX;
        if index.value == 0 {
            let name = string(&block[at..])?;
            at += name.length;
            is_authority = name.text()? == b":authority";
        }
        let value = string(&block[at..])?;
        let begin = at;
        at += value.length;
        if is_authority {
            return Some(Found { begin, end: at, value: value.text()? });
        }
    }
    None
}

/// Something read from the beginning of a block, and how long it was there.
struct Read<T> {
    value: T,
    length: usize,
}

/// RFC 7541 §5.1.
fn integer(bytes: &[u8], bits: u32) -> Option<Read<usize>> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(*bytes.first()?) & most;
    if value < most {
        return Some(Read { value, length: 1 });
    }
    // Three more bytes say more than any frame holds.
    for (at, byte) in bytes.iter().enumerate().skip(1).take(3) {
        value += usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some(Read { value, length: at + 1 });
        }
    }
    None
}

/// Bytes of a string, and whether they are Huffman's code.
struct Spelt<'a> {
    bytes: &'a [u8],
    is_coded: bool,
}

/// RFC 7541 §5.2.
fn string(bytes: &[u8]) -> Option<Read<Spelt<'_>>> {
    let length = integer(bytes, 7)?;
    let end = length.length + length.value;
    let spelt = Spelt { bytes: bytes.get(length.length..end)?, is_coded: bytes[0] & 0x80 != 0 };
    Some(Read { value: spelt, length: end })
}

impl Read<Spelt<'_>> {
    fn text(&self) -> Option<Vec<u8>> {
        if !self.value.is_coded {
            return Some(self.value.bytes.to_vec());
        }
        let mut text = Vec::new();
        decode(self.value.bytes, &mut text, DecoderSpeed::FourBits).ok()?;
        Some(text)
    }
}

/// Length, kind, flags and stream of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The largest frame that we allow; what is larger ends the connection.
const PAYLOAD_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A request whose name is spelt out, in Huffman's code or not.
    fn request(name: &str, is_coded: bool) -> Vec<u8> {
        let mut coded = Vec::new();
        httlib_huffman::encode(name.as_bytes(), &mut coded).unwrap();
        let (mark, text) = if is_coded { (0x80, coded) } else { (0, name.as_bytes().to_vec()) };
        let length = u8::try_from(text.len()).unwrap();
        [&[0x83, 0x86, 0x41, mark | length], &text[..], &[0x84]].concat()
    }

    /// What comes out when it goes in by so many bytes at a time.
    fn read(bytes: &[u8], step: usize) -> (Vec<u8>, bool) {
        let (mut authorities, mut out) = (Authorities::default(), Vec::new());
        bytes.chunks(step).for_each(|chunk| authorities.take(chunk, &mut out));
        let is_done = authorities.is_done();
        authorities.rest(&mut out);
        (out, is_done)
    }

    #[test]
    fn a_name_with_a_scheme_loses_it_on_every_request_of_a_connection() {
        let settings = frame(4, 0, &[]);
        for is_coded in [false, true] {
            let bad = frame(1, 4, &request("http://10.0.0.1:2379", is_coded));
            let data = frame(0, 1, b"\0\0\0\0\0");
            let good = frame(1, 4, &request("10.0.0.1:2379", false));
            let sent = [&settings[..], &bad, &data, &bad, &data].concat();
            let wanted = [&settings[..], &good, &data, &good, &data].concat();
            for step in [1, 7, 1000] {
                assert_eq!(read(&sent, step), (wanted.clone(), false), "{is_coded} {step}");
            }
        }
    }

    #[test]
    fn names_that_can_be_read_stay_and_the_rest_is_not_looked_at() {
        for name in ["10.0.0.1:2379", "etcd.example:2379", "[::1]:2379", "m1"] {
            let good = frame(1, 4, &request(name, true));
            let bad = frame(1, 4, &request("http://later", true));
            let sent = [good, bad].concat();
            assert_eq!(read(&sent, 11), (sent, true), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_becomes_one_that_is_no_longer() {
        let of = |name: &str| better(name.as_bytes());
        assert_eq!(of("https://m1.example:2379/path").unwrap(), "m1.example:2379");
        assert_eq!(of("unix:///tmp/etcd.sock").unwrap(), "localhost");
        assert_eq!(of("%2Ftmp%2Fetcd.sock").unwrap(), "localhost");
        assert_eq!(of("/a/b").unwrap(), "loca");
        assert_eq!(of("http://").unwrap(), "localho");
    }

    #[test]
    fn padding_and_priority_stay_where_they_are() {
        let around = |name: &str| {
            let block = request(name, false);
            let payload = [&[3, 0, 0, 0, 0, 16], &block[..], &[0, 0, 0]].concat();
            frame(1, PADDED | PRIORITY | 4, &payload)
        };
        assert_eq!(corrected(&around("http://m1")).unwrap(), around("m1"));
    }

    proptest! {
        #[test]
        fn whatever_comes_goes_on_and_a_correction_never_makes_a_name_longer(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            flags in any::<u8>(),
            step in 1usize..50,
        ) {
            let first = frame(1, flags, &payload);
            if let Some(better) = corrected(&first) {
                let (was, is) = (authority_of(&first).unwrap(), authority_of(&better).unwrap());
                prop_assert!(is.value.len() <= was.value.len());
                prop_assert_eq!(&better[HEAD..][..is.begin], &first[HEAD..][..was.begin]);
                prop_assert_eq!(&better[HEAD..][is.end..], &first[HEAD..][was.end..]);
            }
            let sent = [first, payload].concat();
            let (out, _) = read(&sent, step);
            let (whole, _) = read(&sent, sent.len());
            prop_assert_eq!(&out, &whole);
        }
    }
}
