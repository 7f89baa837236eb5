//! The last lines of a log: what a member said before it died.

use std::io::{self, Read, Seek, SeekFrom};

/// How many lines.
const LINES: usize = 10;

/// How far back to look for them.
const BYTES_MAX: u64 = 16 * 1024;

/// The last lines, indented.
pub(super) fn last_lines(mut log: impl Read + Seek) -> io::Result<String> {
    let len = log.seek(SeekFrom::End(0))?;
    log.seek(SeekFrom::Start(len.saturating_sub(BYTES_MAX)))?;
    let mut tail = Vec::new();
    log.take(BYTES_MAX).read_to_end(&mut tail)?;
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    Ok(last.iter().map(|line| format!("  | {line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::io::Cursor;

    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        assert_eq!(last_lines(Cursor::new("")).unwrap(), "");
        assert_eq!(last_lines(Cursor::new("a\nb")).unwrap(), "  | a\n  | b\n");
        let mut text = String::new();
        for line in 0..10_000 {
            writeln!(text, "line {line}").unwrap();
        }
        let shown = last_lines(Cursor::new(text)).unwrap();
        assert_eq!(shown.lines().count(), LINES);
        assert!(shown.starts_with("  | line 9990\n"));
    }
}
