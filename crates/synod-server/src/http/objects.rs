//! One JSON object after the other, out of a body that comes in pieces.

use bytes::{Bytes, BytesMut};

/// Finds where objects end. Whether they are good JSON is for others to say.
///
/// What is no object ends with its line, and so does a string: both are for others to refuse, and
/// who sent them should not wait for it.
#[derive(Debug)]
pub(super) struct Objects {
    waiting: BytesMut,
    /// How much of it was looked at.
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    bytes_max: usize,
}

/// An object is longer than it may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooLong {
    pub(super) bytes_max: usize,
}

impl Objects {
    /// Of at most so many bytes each.
    pub(super) fn new(bytes_max: usize) -> Self {
        let waiting = BytesMut::new();
        Self { waiting, seen: 0, depth: 0, in_string: false, escaped: false, bytes_max }
    }

    /// Takes a piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.waiting.extend_from_slice(piece);
    }

    /// Bytes that wait.
    pub(super) fn held(&self) -> usize {
        self.waiting.len()
    }

    /// The next object, if it is here in full.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        while let Some(byte) = self.waiting.get(self.seen) {
            self.seen += 1;
            let byte = *byte;
            if self.ends(byte) {
                (self.depth, self.in_string, self.escaped) = (0, false, false);
                let object = self.waiting.split_to(self.seen).freeze();
                self.seen = 0;
                return Ok(Some(object));
            }
        }
        if self.waiting.len() > self.bytes_max {
            return Err(TooLong { bytes_max: self.bytes_max });
        }
        Ok(None)
    }

    /// What is left when nothing more comes, unless it is nothing.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        let rest = self.waiting.split().freeze();
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }

    /// Whether an object ends with this byte, or what is none.
    fn ends(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                b'\n' => return true,
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'\n' if self.depth == 0 => {
                return !self.waiting[..self.seen].trim_ascii().is_empty();
            }
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_out_whatever_the_pieces() {
        let stream = r#"{"a":"}{\"\\"} {"b":[{},{"c":1}]}
            {}"#;
        for size in [1, 4, 100] {
            let (mut objects, mut found) = (Objects::new(100), Vec::new());
            for piece in stream.as_bytes().chunks(size) {
                objects.push(piece);
                while let Some(object) = objects.next().unwrap() {
                    found.push(String::from_utf8(object.to_vec()).unwrap().trim().to_owned());
                }
            }
            assert_eq!(found, [r#"{"a":"}{\"\\"}"#, r#"{"b":[{},{"c":1}]}"#, "{}"]);
            assert_eq!(objects.rest(), None);
        }
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let mut objects = Objects::new(10);
        objects.push(br#"{"a":""#);
        assert_eq!(objects.next(), Ok(None));
        objects.push(b"12345");
        assert_eq!(objects.next(), Err(TooLong { bytes_max: 10 }));
    }

    #[test]
    fn a_rest_that_is_no_object_is_told() {
        let mut objects = Objects::new(10);
        objects.push(b"{} \n x");
        assert!(objects.next().unwrap().is_some());
        assert_eq!(objects.next(), Ok(None));
        assert_eq!(objects.rest().unwrap().trim_ascii(), b"x");
    }

    #[test]
    fn what_is_no_object_is_not_waited_for_beyond_its_line() {
        for line in ["hello\n", "1\n", "{\"key\": \"a\n"] {
            let mut objects = Objects::new(100);
            objects.push(b" \n\n{\n}");
            assert_eq!(objects.next().unwrap().unwrap().trim_ascii(), b"{\n}", "{line:?}");
            objects.push(line.as_bytes());
            objects.push(b"{}");
            assert_eq!(objects.next().unwrap().unwrap(), line.as_bytes(), "{line:?}");
            assert_eq!(objects.next().unwrap().unwrap(), b"{}"[..], "{line:?}");
        }
    }
}
