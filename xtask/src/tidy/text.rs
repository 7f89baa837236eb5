//! Rust source seen as code and as comments, line by line.
//!
//! Not a parser: it only tells comments, literals and the rest apart, which is what the rules need
//! to be free of false alarms. Characters that belong to the other view become spaces, so that
//! lines and columns stay where they are.

/// A source file, taken apart.
#[derive(Debug)]
pub(crate) struct Rust {
    /// The lines without comments and without what stands in strings.
    pub(crate) code: Vec<String>,
    /// The lines of the comments alone.
    pub(crate) comments: Vec<String>,
}

/// What a stretch of the source is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Rust {
    /// Takes `source` apart.
    pub(crate) fn new(source: &str) -> Self {
        let chars: Vec<char> = source.chars().collect();
        let (mut code, mut comments) = (String::new(), String::new());
        let mut at = 0;
        while at < chars.len() {
            let (kind, length) = stretch(&chars, at);
            for &c in &chars[at..at + length] {
                let blank = if c == '\n' { '\n' } else { ' ' };
                code.push(if kind == Kind::Code { c } else { blank });
                comments.push(if kind == Kind::Comment { c } else { blank });
            }
            at += length;
        }
        Self { code: lines(&code), comments: lines(&comments) }
    }

    /// The line (from 0) where the tests of this file begin; its length if there are none.
    pub(crate) fn tests_begin(&self) -> usize {
        self.code.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(self.code.len())
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The kind and length of what begins at `at`; at least one character long.
fn stretch(chars: &[char], at: usize) -> (Kind, usize) {
    let next = chars.get(at + 1).copied();
    match (chars[at], next) {
        ('/', Some('/')) => (Kind::Comment, line_comment(chars, at)),
        ('/', Some('*')) => (Kind::Comment, block_comment(chars, at)),
        ('"', _) => (Kind::Literal, quoted(chars, at, '"')),
        ('\'', _) => char_or_lifetime(chars, at),
        ('r' | 'b' | 'c', _) if !continues_word(chars, at) => match raw_string(chars, at) {
            Some(length) => (Kind::Literal, length),
            None => (Kind::Code, 1),
        },
        _ => (Kind::Code, 1),
    }
}

fn continues_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_comment(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').unwrap_or(chars.len() - at)
}

/// Block comments nest in Rust.
fn block_comment(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut end = at;
    while end < chars.len() {
        match (chars[end], chars.get(end + 1)) {
            ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
            ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            break;
        }
    }
    end.min(chars.len()) - at
}

/// A literal from its opening `quote` to its closing one, which a backslash can escape.
fn quoted(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len()) - at
}

/// `'a'` and `'\n'` are literals; `'a` is a lifetime, and code.
fn char_or_lifetime(chars: &[char], at: usize) -> (Kind, usize) {
    let escaped = chars.get(at + 1) == Some(&'\\');
    let closed = chars.get(at + 2) == Some(&'\'');
    if escaped || closed { (Kind::Literal, quoted(chars, at, '\'')) } else { (Kind::Code, 1) }
}

/// The length of `r"…"`, `br#"…"#` and their like; `None` if there is none at `at`.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let prefix = if chars[at] == 'r' { 1 } else { 2 };
    if chars.get(at + prefix - 1) != Some(&'r') {
        return None;
    }
    let hashes = chars[at + prefix..].iter().take_while(|&&c| c == '#').count();
    let open = at + prefix + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |end: usize| {
        chars[end] == '"'
            && chars[end + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    let end = (open + 1..chars.len()).find(|&end| closes(end)).unwrap_or(chars.len() - 1);
    Some((end + 1 + hashes).min(chars.len()) - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        let cases = [
            ("let a = 1; // todo", "let a = 1;", "// todo"),
            ("a /* b /* c */ d */ e", "a                   e", "  /* b /* c */ d */"),
            (r#"f("a // b", 'x', '\'', "q\"r") // c"#, "f(        ,    ,     ,       )", "// c"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}", ""),
            (r##"(r#"a " // b"#, br"x", r)"##, "(             ,      , r)", ""),
            ("/// says `x`", "", "/// says `x`"),
        ];
        for (source, code, comments) in cases {
            let rust = Rust::new(source);
            assert_eq!(rust.code.join("\n").trim_end(), code, "code of {source}");
            let seen = rust.comments.join("\n");
            assert_eq!(seen.trim(), comments.trim(), "comments of {source}");
            assert_eq!(seen.chars().count(), source.chars().count(), "columns of {source}");
        }
    }

    #[test]
    fn tests_begin_at_their_attribute() {
        let rust = Rust::new("//! a\nfn a() {}\n#[cfg(test)]\nmod tests {}\n");
        assert_eq!(rust.tests_begin(), 2);
        assert_eq!(Rust::new("fn a() {}\n").tests_begin(), 1);
    }
}
