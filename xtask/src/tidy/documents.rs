//! Documents that must agree: two READMEs, links and their targets, dependencies and their reasons.

use std::path::Path;

use super::{Complaint, File};

/// Checks all Markdown of the tree; `exists` tells whether a path from the root is there.
pub(crate) fn check(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = twins(files);
    complaints.extend(undocumented_dependencies(files));
    complaints.extend(missing_tests(files));
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        complaints.extend(dead_links(file, &exists));
    }
    complaints
}

fn find<'a>(files: &'a [File], path: &str) -> Option<&'a File> {
    files.iter().find(|file| file.path == path)
}

/// The English and the Chinese README have the same headings and the same code.
fn twins(files: &[File]) -> Vec<Complaint> {
    const ENGLISH: &str = "README.md";
    const CHINESE: &str = "README.zh-CN.md";
    let (Some(english), Some(chinese)) = (find(files, ENGLISH), find(files, CHINESE)) else {
        return vec![Complaint::new(
            ENGLISH,
            0,
            format!("{ENGLISH} and {CHINESE} belong together"),
        )];
    };
    let (english, chinese) = (Outline::new(&english.content), Outline::new(&chinese.content));
    let mut complaints = Vec::new();
    if english.levels != chinese.levels {
        let text = format!(
            "headings of levels {:?}, but {ENGLISH} has {:?}: translate the change too",
            chinese.levels, english.levels
        );
        complaints.push(Complaint::new(CHINESE, 0, text));
    }
    if english.blocks != chinese.blocks {
        let differs = |at: &usize| english.blocks.get(*at) != chinese.blocks.get(*at);
        let at = (0..english.blocks.len().max(chinese.blocks.len())).find(differs);
        let number = at.map_or(0, |at| at + 1);
        let text = format!("code block {number} differs from {ENGLISH}'s: they are to be the same");
        complaints.push(Complaint::new(CHINESE, 0, text));
    }
    complaints
}

/// The levels of a document's headings and the text of its code blocks, both in order.
#[derive(Debug, Default, Eq, PartialEq)]
struct Outline {
    levels: Vec<usize>,
    blocks: Vec<String>,
}

impl Outline {
    fn new(content: &str) -> Self {
        let mut outline = Self::default();
        let mut inside = false;
        for line in content.lines() {
            let fence = line.trim_start().starts_with("```");
            if fence && !inside {
                outline.blocks.push(String::new());
            } else if let Some(block) = outline.blocks.last_mut().filter(|_| inside && !fence) {
                block.push_str(line);
                block.push('\n');
            } else if line.starts_with('#') {
                outline.levels.push(line.chars().take_while(|&c| c == '#').count());
            }
            inside ^= fence;
        }
        outline
    }
}

/// Tests that hold us to a published weakness are there.
fn missing_tests(files: &[File]) -> Vec<Complaint> {
    const LIST: &str = "docs/vulnerabilities.md";
    let Some(list) = find(files, LIST) else { return Vec::new() };
    let rust = || files.iter().filter(|file| file.path.ends_with(".rs"));
    let mut complaints = Vec::new();
    for (line, at) in list.content.lines().zip(1..) {
        // Every other piece is between two marks; names of tests have many words.
        let named = line.split('`').skip(1).step_by(2);
        for name in named.filter(|name| name.matches('_').count() > 2) {
            let function = format!("fn {name}(");
            if !rust().any(|file| file.content.contains(&function)) {
                complaints.push(Complaint::new(LIST, at, format!("there is no test {name}")));
            }
        }
    }
    complaints
}

/// Links to files of the repository lead to something.
fn dead_links(file: &File, exists: &impl Fn(&str) -> bool) -> Vec<Complaint> {
    let folder = Path::new(&file.path).parent().unwrap_or_else(|| Path::new(""));
    let mut complaints = Vec::new();
    for (at, line) in file.content.lines().enumerate() {
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let local =
                !path.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if local && !exists(&folder.join(path).to_string_lossy()) {
                let text = format!("the link to {target} leads nowhere");
                complaints.push(Complaint::new(&file.path, at + 1, text));
            }
        }
    }
    complaints
}

/// The targets of the inline links of a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Every library of the workspace is argued in the decision record on dependencies.
fn undocumented_dependencies(files: &[File]) -> Vec<Complaint> {
    const RECORD: &str = "docs/decisions/0002-dependencies.md";
    let (Some(manifest), Some(record)) = (find(files, "Cargo.toml"), find(files, RECORD)) else {
        return vec![Complaint::new(RECORD, 0, "is missing: it argues each dependency")];
    };
    let section = manifest.content.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once(" =").map(|(name, _)| name));
    names
        .filter(|name| {
            !name.starts_with("synod-") && !record.content.contains(&format!("`{name}`"))
        })
        .map(|name| Complaint::new(RECORD, 0, format!("does not argue the dependency `{name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> File {
        File { path: path.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn the_readmes_are_twins() {
        let english = "# A\n\n```sh\n# comment\nrun\n```\n\n## B\n";
        let cases = [
            ("# 甲\n\n```sh\n# comment\nrun\n```\n\n## 乙\n", 0),
            ("# 甲\n\n```sh\n# comment\nrun\n```\n", 1),
            ("# 甲\n\n```sh\nwalk\n```\n\n## 乙\n", 1),
            ("# 甲\n", 2),
        ];
        for (chinese, expected) in cases {
            let files = [file("README.md", english), file("README.zh-CN.md", chinese)];
            assert_eq!(twins(&files).len(), expected, "{chinese}");
        }
        assert_eq!(twins(&[file("README.md", english)]).len(), 1);
    }

    #[test]
    fn links_lead_somewhere() {
        let content = "[a](there.md#part) [b](gone.md)\n[c](https://example.com) [d](#here)\n";
        let exists = |path: &str| path == "docs/there.md";
        let complaints = dead_links(&file("docs/a.md", content), &exists);
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].to_string(), "docs/a.md:1: the link to gone.md leads nowhere");
    }

    #[test]
    fn tests_of_weaknesses_are_there() {
        let list = "| CVE-1 | `a_b_c_is_refused` |\n| CVE-2 | `a_b_c_is_gone`, `short` |\n";
        let files =
            [file("docs/vulnerabilities.md", list), file("a.rs", "fn a_b_c_is_refused() {")];
        let complaints = missing_tests(&files);
        assert_eq!(complaints.len(), 1);
        assert_eq!(
            complaints[0].to_string(),
            "docs/vulnerabilities.md:2: there is no test a_b_c_is_gone"
        );
    }

    #[test]
    fn each_dependency_is_argued() {
        let manifest =
            "[workspace.dependencies]\nsynod-kv = 1\nbytes = \"1\"\nred = 2\n\n[lints]\na = 1\n";
        let record = "| `bytes` | one buffer |\n";
        let files =
            [file("Cargo.toml", manifest), file("docs/decisions/0002-dependencies.md", record)];
        let complaints = undocumented_dependencies(&files);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].text.contains("`red`"));
    }
}
