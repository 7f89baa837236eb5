//! One word per concept: words of neighbouring protocols are not used for ours.
//!
//! The list is the right-hand column of `docs/glossary.md`, as far as a word has no second,
//! innocent meaning in Rust (`index`, `entry` and `view` of a slice do). Identifiers are looked
//! at, split into their words: `commit_index` and `CommitIndex` both hold `commit`.

use super::text::Rust;
use super::{Complaint, File};

/// A word, and the one to use in its place.
struct Word {
    say: &'static str,
    not: &'static str,
}

const WORDS: &[Word] = &[
    Word { not: "term", say: "ballot, or round for its number" },
    Word { not: "epoch", say: "ballot" },
    Word { not: "lsn", say: "slot" },
    Word { not: "opnum", say: "slot" },
    Word { not: "node", say: "replica" },
    Word { not: "pid", say: "replica id" },
    Word { not: "commit", say: "chosen (by the cluster) or applied (here)" },
    Word { not: "committed", say: "chosen (by the cluster) or applied (here)" },
    Word { not: "executed", say: "applied" },
    Word { not: "primary", say: "leader" },
    Word { not: "master", say: "leader" },
    Word { not: "coordinator", say: "leader" },
    Word { not: "revision", say: "slot; revisions belong to the store" },
    Word { not: "raft", say: "paxos" },
];

/// Where the words of the protocol rule.
const CORE: &str = "crates/synod-paxos/src/";

/// Checks one Rust file.
pub(crate) fn check(file: &File, rust: &Rust) -> Vec<Complaint> {
    if !file.path.starts_with(CORE) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (at, line) in rust.code.iter().enumerate() {
        for identifier in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let words = split(identifier);
            let wrong = WORDS.iter().find(|word| words.iter().any(|found| found == word.not));
            if let Some(word) = wrong {
                let text = format!("{identifier}: not {}; say {}", word.not, word.say);
                complaints.push(Complaint::new(&file.path, at + 1, text));
            }
        }
    }
    complaints
}

/// The words of an identifier in snake or camel case, in lower case.
fn split(identifier: &str) -> Vec<String> {
    let chars: Vec<char> = identifier.chars().collect();
    let mut words = vec![String::new()];
    for (at, &c) in chars.iter().enumerate() {
        let after_small = at > 0 && !chars[at - 1].is_uppercase();
        let before_small = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        if c == '_' || (c.is_uppercase() && (after_small || before_small)) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c != '_') {
            word.extend(c.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, content: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), content: content.to_owned() };
        check(&file, &Rust::new(content)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_word_is_found_in_snake_and_camel_case() {
        for word in WORDS {
            let (first, rest) = word.not.split_at(1);
            let camel = format!("struct A{}{rest}B;", first.to_uppercase());
            let snake = format!("let a_{}_b = 1;", word.not);
            for code in [camel, snake] {
                assert_eq!(complaints("crates/synod-paxos/src/a.rs", &code).len(), 1, "{code}");
                assert!(complaints("crates/synod-kv/src/a.rs", &code).is_empty(), "{code}");
            }
        }
    }

    #[test]
    fn longer_words_and_prose_are_left_alone() {
        let content = "let terminal = determine(); // etcd's term\n\"commit\";\n";
        assert!(complaints("crates/synod-paxos/src/a.rs", content).is_empty());
    }
}
