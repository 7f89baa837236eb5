//! The shape of a source file: it says first what it is, its lines are short, it has one subject.

use super::{Complaint, File};

/// The widest line, in characters; `rustfmt.toml` says the same for code it can break.
const WIDTH_MAX: usize = 100;

/// The longest file, in lines with its tests.
const LINES_MAX: usize = 900;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Checks one Rust file.
pub(crate) fn check(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !file.content.starts_with("//!") {
        let text = "begins without `//!`: say in the first line what this file is";
        complaints.push(Complaint::new(&file.path, 1, text));
    }
    for (at, line) in file.content.lines().enumerate() {
        let width = line.chars().count();
        if width > WIDTH_MAX && !is_link(line) {
            let text = format!("{width} characters wide, at most {WIDTH_MAX}: break the line");
            complaints.push(Complaint::new(&file.path, at + 1, text));
        }
    }
    let lines = file.content.lines().count();
    if lines > LINES_MAX && !is_exception(&file.path) {
        let text = format!(
            "{lines} lines, at most {LINES_MAX}: cut it by subject, or say why in LONG_FILES"
        );
        complaints.push(Complaint::new(&file.path, 0, text));
    }
    complaints
}

/// Complains about exceptions whose file is gone or short again.
pub(crate) fn stale_exceptions(files: &[File]) -> Vec<Complaint> {
    let is_stale = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.is_none_or(|file| file.content.lines().count() <= LINES_MAX)
    };
    let stale = LONG_FILES.iter().filter(|(path, _)| is_stale(path));
    stale
        .map(|(path, _)| Complaint::new(path, 0, "needs no entry in LONG_FILES any more"))
        .collect()
}

fn is_exception(path: &str) -> bool {
    LONG_FILES.iter().any(|(exception, _)| *exception == path)
}

/// A link cannot be broken, so a comment that is one long link may be wide.
fn is_link(line: &str) -> bool {
    let words = line.trim_start_matches(['/', '!', ' ']);
    words.contains("://") && !words.trim().contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(content: &str) -> Vec<String> {
        let file = File { path: "a.rs".to_owned(), content: content.to_owned() };
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert!(complaints("//! A file.\n").is_empty());
        assert_eq!(complaints("use a;\n").len(), 1);
        assert_eq!(complaints("").len(), 1);
    }

    #[test]
    fn lines_are_short_unless_they_are_links() {
        let fits = format!("//! {}\n", "é".repeat(96));
        assert!(complaints(&fits).is_empty(), "width counts characters");
        let wide = format!("//! A file.\n// {}\n", "x".repeat(98));
        assert!(complaints(&wide)[0].starts_with("a.rs:2: 101 characters wide"));
        let link = format!("//! A file.\n// https://example.com/{}\n", "x".repeat(98));
        assert!(complaints(&link).is_empty());
    }

    #[test]
    fn a_file_has_one_subject() {
        let long = format!("//! A file.\n{}", "\n".repeat(LINES_MAX));
        assert!(complaints(&long)[0].contains("901 lines"));
        assert!(complaints(&long[1..]).iter().any(|text| text.contains("begins without")));
    }

    #[test]
    fn every_exception_has_a_reason() {
        assert!(LONG_FILES.iter().all(|(_, reason)| !reason.is_empty()));
    }
}
