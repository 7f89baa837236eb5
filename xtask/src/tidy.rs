//! The house rules, each a function from a file (or the whole tree) to complaints.
//!
//! A rule that nobody checks is advice; these are checked by `cargo test`. A complaint names the
//! place and what to write instead, because the person who reads it did not know the rule. The
//! rules look at code and comments apart (see [`text::Rust`]), so that a word inside a string is
//! never mistaken for its use.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;

mod documents;
mod floors;
mod idioms;
mod shape;
mod text;
mod words;

/// One broken rule at one place.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Complaint {
    /// The file, from the root of the repository.
    path: String,
    /// The line, from 1; 0 where the file as a whole is meant.
    line: usize,
    /// What is wrong, and what to do instead.
    text: String,
}

impl Complaint {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// A text file of the repository.
#[derive(Debug)]
struct File {
    /// From the root of the repository, with `/`.
    path: String,
    content: String,
}

/// Checks every rule on the repository at `root`.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Complaint>> {
    let files = read_files(root)?;
    let mut complaints = floors::check(&floors::packages(root)?);
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let rust = text::Rust::new(&file.content);
        complaints.extend(shape::check(file));
        complaints.extend(idioms::check(file, &rust));
        complaints.extend(words::check(file, &rust));
    }
    complaints.extend(shape::stale_exceptions(&files));
    complaints.extend(documents::check(&files, |path| root.join(path).exists()));
    Ok(complaints)
}

/// Folders that hold nothing written by hand.
const SKIPPED_FOLDERS: &[&str] = &["target", "synod-dev", "out", "node_modules"];

/// How deep folders may nest; a bound for the walk, far above what is there.
const DEPTH_MAX: usize = 16;

fn read_files(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        anyhow::ensure!(depth <= DEPTH_MAX, "{} is nested too deep", folder.display());
        let listing =
            std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
        for entry in listing {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && is_ours(&entry.file_name().to_string_lossy()) {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                files.extend(read_file(root, entry.path())?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn is_ours(folder: &str) -> bool {
    !folder.starts_with('.') && !SKIPPED_FOLDERS.contains(&folder)
}

/// Reads a file that some rule looks at: Rust, Markdown, manifests.
fn read_file(root: &Path, path: PathBuf) -> anyhow::Result<Option<File>> {
    let wanted =
        path.extension().is_some_and(|kind| kind == "rs" || kind == "md" || kind == "toml");
    if !wanted {
        return Ok(None);
    }
    let content = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {} as UTF-8", path.display()))?;
    let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
    Ok(Some(File { path, content }))
}
