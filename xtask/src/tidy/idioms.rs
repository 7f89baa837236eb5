//! Idioms that do not belong in the house, each with what to write instead.

use super::text::Rust;
use super::{Complaint, File};

/// Where an idiom is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Code of any kind.
    Code,
    /// Code of tests: files in a `tests` folder, and what follows `#[cfg(test)]`.
    TestCode,
    /// Code and comments.
    Everywhere,
}

struct Idiom {
    pattern: &'static str,
    place: Place,
    instead: &'static str,
}

const IDIOMS: &[Idiom] = &[
    Idiom { pattern: "todo!", place: Place::Code, instead: "finish it, or leave the case out" },
    Idiom {
        pattern: "unimplemented!",
        place: Place::Code,
        instead: "answer with an error that says what is not there",
    },
    Idiom { pattern: "dbg!", place: Place::Code, instead: "use tracing, or an event of the core" },
    Idiom {
        pattern: "#[ignore",
        place: Place::Code,
        instead: "make the test fast, or move it to .ci/run",
    },
    Idiom {
        pattern: "#[should_panic",
        place: Place::Code,
        instead: "return an error and compare it, or catch the panic and look at its text",
    },
    Idiom {
        pattern: "thread::sleep",
        place: Place::TestCode,
        instead: "wait for the thing itself: a channel, a condition with a deadline, virtual time",
    },
    Idiom {
        pattern: "#[allow(",
        place: Place::Code,
        instead: "write #[expect(…, reason = \"…\")], which complains when it is no longer needed",
    },
    Idiom {
        pattern: "FIXME",
        place: Place::Everywhere,
        instead: "fix it, or write a test that says what is wrong",
    },
    Idiom {
        pattern: "XXX",
        place: Place::Everywhere,
        instead: "fix it, or write a test that says what is wrong",
    },
    Idiom {
        pattern: "TODO",
        place: Place::Everywhere,
        instead: "do it, or put it into the issue list where others can see it",
    },
];

/// Files in which an idiom is allowed, each with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Checks one Rust file.
pub(crate) fn check(file: &File, rust: &Rust) -> Vec<Complaint> {
    IDIOMS.iter().flat_map(|idiom| check_idiom(file, rust, idiom)).collect()
}

fn check_idiom(file: &File, rust: &Rust, idiom: &Idiom) -> Vec<Complaint> {
    let excepted =
        |(path, pattern, _): &(&str, &str, &str)| *path == file.path && *pattern == idiom.pattern;
    if EXCEPTIONS.iter().any(excepted) {
        return Vec::new();
    }
    let tests_begin = if is_test_file(&file.path) { 0 } else { rust.tests_begin() };
    let begin = if idiom.place == Place::TestCode { tests_begin } else { 0 };
    let in_code = |at: usize| stands_in(&rust.code[at], idiom.pattern);
    let in_comment = |at: usize| {
        idiom.place == Place::Everywhere && stands_in(&rust.comments[at], idiom.pattern)
    };
    let lines = (begin..rust.code.len()).filter(|&at| in_code(at) || in_comment(at));
    let text = format!("{}: {}", idiom.pattern, idiom.instead);
    lines.map(|at| Complaint::new(&file.path, at + 1, text.clone())).collect()
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Whether `pattern` stands in `line` and is not a part of a longer word.
fn stands_in(line: &str, pattern: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(pattern).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + pattern.len()..].chars().next();
        let starts = !before.is_some_and(is_word) || !pattern.starts_with(is_word);
        let ends = !after.is_some_and(is_word) || !pattern.ends_with(is_word);
        starts && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, content: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), content: content.to_owned() };
        check(&file, &Rust::new(content)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_idiom_is_found_in_code() {
        for idiom in IDIOMS {
            let content = format!("#[cfg(test)]\nlet a = {}\n", idiom.pattern);
            assert_eq!(complaints("a.rs", &content).len(), 1, "{}", idiom.pattern);
        }
    }

    #[test]
    fn words_in_strings_and_longer_words_are_no_idioms() {
        let content = "f(\"todo!\"); my_todo!(); // dbg! is fine in prose\nlet FIXMENOT = 1;\n";
        assert!(complaints("a.rs", content).is_empty());
        assert_eq!(complaints("a.rs", "// FIXME: later\n").len(), 1);
    }

    #[test]
    fn sleeping_is_wrong_in_tests_only() {
        let sleep = "std::thread::sleep(d);\n";
        assert!(complaints("crates/a/src/a.rs", sleep).is_empty());
        assert_eq!(complaints("crates/a/tests/a.rs", sleep).len(), 1);
        assert_eq!(complaints("crates/a/src/a/tests.rs", sleep).len(), 1);
        assert_eq!(complaints("crates/a/src/a.rs", &format!("#[cfg(test)]\n{sleep}")).len(), 1);
    }

    #[test]
    fn every_exception_has_a_reason() {
        assert!(EXCEPTIONS.iter().all(|(_, _, reason)| !reason.is_empty()));
    }
}
