//! Answers made comparable: what must differ between two clusters becomes a name.
//!
//! Ids, ports and positions of the log differ by nature; each thing that is replaced stands here
//! with its reason, and nothing else is. Revisions, counts, texts and the order of fields stay.

use crate::etcdctl::Answer;

/// What is known of a cluster's own numbers: each text, and the name that replaces it.
#[derive(Clone, Debug, Default)]
pub struct Names {
    texts: Vec<(String, String)>,
}

/// Fields whose value is not compared, as they stand in JSON and in `-w fields`, and why.
pub const OPAQUE: &[(&str, &str)] = &[
    ("\"raft_term\":", "the round of the ballot; how many elections there were is chance"),
    ("\"raftTerm\":", "the same in a status"),
    ("\"RaftTerm\" : ", "the same as a field"),
    ("\"raftIndex\":", "the position in the log depends on batching and elections"),
    ("\"RaftIndex\" : ", "the same as a field"),
    ("\"raftAppliedIndex\":", "the same, of what is applied"),
    ("\"RaftAppliedIndex\" : ", "the same as a field"),
    ("\"dbSize\":", "another engine takes other space"),
    ("\"DBSize\" : ", "the same as a field"),
    ("\"dbSizeInUse\":", "another engine takes other space"),
    ("\"leader\":", "which member leads is chance"),
    ("\"Leader\" : ", "the same as a field"),
    ("\"version\":\"", "in a status: Synod tells the etcd version whose API it has"),
    ("\"Version\" : \"", "the same as a field"),
    ("\"took\":\"", "a time"),
    ("\"Took\" : ", "a time"),
    (" took = ", "a time"),
    ("\"ts\":\"", "a time"),
    ("\"ts\":", "the same as a number"),
    ("endpoint://client-", "a random name that the client gives itself"),
    ("\"attempt\":", "how often the client tried again is timing"),
];

/// What is not asked, because etcd 3.4 is known to be wrong about it, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "txn: put, then get at a future or compacted revision",
        "etcd 3.4 refuses it and yet keeps the put (fixed in later releases); here a transaction \
         happens as a whole or not at all",
    ),
    (
        "txn: delete from a key on (range_end \\0) beside a put of one of these keys",
        "etcd does not see that they overlap and accepts it; here it is a duplicate key",
    ),
    (
        "txn: which of several faults is named",
        "etcd looks for malformed operations first, everywhere; here each level is judged whole",
    ),
    ("txn: lease(KEY) = N", "etcdctl 3.4 panics before it sends anything"),
];

/// Columns of `endpoint status` that are not compared, from 0, and why.
const STATUS_COLUMNS: &[(usize, &str)] = &[
    (2, "version: Synod tells the etcd version whose API it has"),
    (3, "size: another engine takes other space"),
    (4, "which member leads is chance"),
    (6, "round"),
    (7, "position in the log"),
    (8, "position in the log"),
];

impl Names {
    /// Replaces `text`, wherever it stands, by `name`.
    pub fn add(&mut self, text: impl Into<String>, name: impl Into<String>) {
        self.texts.push((text.into(), name.into()));
        // A port may be the beginning of a longer number, so longer texts go first.
        self.texts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }

    /// The answer without this cluster's own numbers.
    #[must_use]
    pub fn apply(&self, answer: &Answer, any_order: bool) -> Answer {
        let normal = |text: &str| {
            let text = opaque(&self.replace(text));
            let text = text.lines().map(status_line).collect::<Vec<_>>().join("\n");
            if any_order { sorted(&text) } else { text }
        };
        Answer { stdout: normal(&answer.stdout), stderr: normal(&answer.stderr), code: answer.code }
    }

    /// The text with this cluster's own numbers named.
    #[must_use]
    pub fn replace(&self, text: &str) -> String {
        self.texts.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// Hides the values of the opaque fields.
fn opaque(text: &str) -> String {
    OPAQUE.iter().fold(text.to_owned(), |text, (field, _)| {
        let mut pieces = text.split(field);
        let mut result = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(['"', ',', '}', '\n', '/']).unwrap_or(piece.len());
            result.push_str(field);
            // A key's version is a bare number, and is compared; a server's version is text.
            result.push('_');
            result.push_str(&piece[end..]);
        }
        result
    })
}

/// Hides the columns of a line of `endpoint status`; any other line stays.
fn status_line(line: &str) -> String {
    const COLUMNS: usize = 10;
    let columns: Vec<&str> = line.split(", ").collect();
    if columns.len() != COLUMNS {
        return line.to_owned();
    }
    let hidden = |at: usize| STATUS_COLUMNS.iter().any(|(column, _)| *column == at);
    let shown = columns.iter().enumerate().map(|(at, text)| if hidden(at) { "_" } else { *text });
    shown.collect::<Vec<_>>().join(", ")
}

/// The lines, and the objects of JSON lists, in an order of their own: members are listed by their
/// ids, which differ.
fn sorted(text: &str) -> String {
    let split = text.replace("},{", "}\n{").replace("[{", "[\n{").replace("}]", "}\n]");
    let split = split.replace("\n\"ID\" : ", "\n\n\"ID\" : ");
    let mut blocks: Vec<&str> = split.split("\n\n").flat_map(block_lines).collect();
    blocks.sort_unstable();
    blocks.join("\n")
}

/// A block of `-w fields` about one member stays together; other lines are apart.
fn block_lines(block: &str) -> Vec<&str> {
    let block = block.trim_matches('\n');
    if block.starts_with("\"ID\" : ") { vec![block] } else { block.lines().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str, any_order: bool) -> String {
        let mut names = Names::default();
        names.add("127", "M1");
        names.add("1277", "M2");
        names.apply(&Answer { stdout: text.to_owned(), ..Answer::default() }, any_order).stdout
    }

    #[test]
    fn own_numbers_become_names() {
        let cases = [
            (r#"{"member_id":1277,"raft_term":9}"#, r#"{"member_id":M2,"raft_term":_}"#),
            (r#"{"revision":4,"raft_term":9,"x":1}"#, r#"{"revision":4,"raft_term":_,"x":1}"#),
            ("\"Revision\" : 4\n\"RaftTerm\" : 2", "\"Revision\" : 4\n\"RaftTerm\" : _"),
            ("\"Version\" : 3", "\"Version\" : 3"),
            ("\"Version\" : \"3.4.23\"", "\"Version\" : \"_\""),
            (r#"{"version":3,"value":"a"}"#, r#"{"version":3,"value":"a"}"#),
            (r#"{"version":"3.4.23"}"#, r#"{"version":"_"}"#),
            ("e, i, 3.4, 20 kB, true, false, 2, 8, 8, ", "e, i, _, _, _, false, _, _, _, "),
            ("is healthy: took = 1.2ms", "is healthy: took = _"),
        ];
        for (text, expected) in cases {
            assert_eq!(normal(text, false), expected);
        }
    }

    #[test]
    fn members_are_compared_in_any_order() {
        let json = |members: &str| format!(r#"{{"members":[{members}]}}"#);
        let (ab, ba) = (json(r#"{"ID":1},{"ID":2}"#), json(r#"{"ID":2},{"ID":1}"#));
        assert_eq!(normal(&ab, true), normal(&ba, true));
        assert_ne!(normal(&ab, true), normal(&json(r#"{"ID":1},{"ID":3}"#), true));
        let (ab, ba) = (
            "\"ID\" : 1\n\"N\" : a\n\n\"ID\" : 2\n\"N\" : b",
            "\"ID\" : 2\n\"N\" : b\n\n\"ID\" : 1\n\"N\" : a",
        );
        assert_eq!(normal(ab, true), normal(ba, true));
        let crossed = "\"ID\" : 2\n\"N\" : a\n\n\"ID\" : 1\n\"N\" : b";
        assert_ne!(normal(ab, true), normal(crossed, true));
    }
}
