//! What of `etcdctl`'s output is compared: long numbers become names, tables lose their width,
//! protobuf becomes text.

use prost::Message;
use synod_etcd::proto::etcdserverpb::{
    AuthUserListResponse, DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader,
    TxnResponse,
};

/// From this many digits on a number is an id that a cluster chose: a lease's, decimal or hex.
const LONG: usize = 13;

/// Columns of tables that are not compared; [`crate::normal::OPAQUE`] gives the reasons.
const HIDDEN_COLUMNS: &[&str] =
    &["VERSION", "DB SIZE", "IS LEADER", "RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "TOOK"];

/// A command's output as text.
pub fn stdout(words: &[String], bytes: &[u8]) -> String {
    let is_protobuf = words.iter().any(|word| word.ends_with("protobuf"));
    let decoded = if is_protobuf { decoded(words, bytes) } else { None };
    decoded.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned())
}

fn decoded(words: &[String], bytes: &[u8]) -> Option<String> {
    let command: Vec<&str> = words.iter().map(String::as_str).collect();
    match command[..] {
        ["get", ..] => text(bytes, |message: &mut RangeResponse| &mut message.header),
        ["put", ..] => text(bytes, |message: &mut PutResponse| &mut message.header),
        ["del", ..] => text(bytes, |message: &mut DeleteRangeResponse| &mut message.header),
        ["txn", ..] => text(bytes, |message: &mut TxnResponse| &mut message.header),
        // It prints the header alone.
        ["lease", ..] => Some(format!("{:?}", ResponseHeader::decode(bytes).ok()?.revision)),
        ["user", "list", ..] => {
            text(bytes, |message: &mut AuthUserListResponse| &mut message.header)
        }
        _ => None,
    }
}

/// A message of protobuf as text, without what its header says of the cluster.
fn text<M: Message + Default + std::fmt::Debug>(
    bytes: &[u8],
    header: fn(&mut M) -> &mut Option<ResponseHeader>,
) -> Option<String> {
    let mut message = M::decode(bytes).ok()?;
    let header = header(&mut message).as_mut()?;
    (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    Some(format!("{message:#?}"))
}

/// What a command complained, without the warnings of its own library: whether a call was under way
/// when a signal came is chance.
pub fn without_warnings(stderr: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().filter(|line| !line.starts_with("{\"level\":\"warn\""));
    lines.flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

/// The long numbers in the order in which they first stand in the text, each once, without zeros
/// before them.
pub fn long_numbers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for number in text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(long_number) {
        if !found.iter().any(|known| known == number) {
            found.push(number.to_owned());
        }
    }
    found
}

/// Names long numbers by their order.
pub fn long_numbers_named(text: &str) -> String {
    let numbers = long_numbers(text);
    words(text, |word| {
        let number = long_number(word)?;
        let at = numbers.iter().position(|known| known == number)?;
        Some(format!("N{}", at + 1))
    })
}

fn long_number(word: &str) -> Option<&str> {
    let is_number = word.len() >= LONG && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| word.trim_start_matches('0'))
}

/// The text with words replaced, where `replaced` gives something else.
fn words(text: &str, replaced: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        result.push_str(&replaced(word).unwrap_or_else(|| word.to_owned()));
        let next = after.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(after.len());
        result.push_str(&after[..next]);
        rest = &after[next..];
    }
    result
}

/// Numbers of any kind are left out, and words that hold one: times, sizes, hashes, ids.
pub fn without_numbers(text: &str) -> String {
    let hidden =
        words(text, |word| word.bytes().any(|byte| byte.is_ascii_digit()).then(|| "#".to_owned()));
    // Whether a time has a fraction is chance.
    hidden.replace("#.#", "#")
}

/// Whether `check` came to a result; which one is a matter of the machine, and what it then tells
/// depends on the result.
pub fn checks(text: &str) -> String {
    let has_result = text.contains("PASS") || text.contains("FAIL");
    if has_result { "came to a result\n".to_owned() } else { text.to_owned() }
}

/// Tables without their frames, widths and hidden columns; a list of members in one order.
pub fn tables(text: &str) -> String {
    let mut hidden: Vec<usize> = Vec::new();
    let mut result = String::new();
    for line in text.lines().filter(|line| !line.starts_with("+--")) {
        if let Some(members) = line.strip_prefix("ETCD_INITIAL_CLUSTER=") {
            // In the order of ids, which are chance.
            let mut members: Vec<&str> = members.trim_matches('"').split(',').collect();
            members.sort_unstable();
            result.push_str(&format!("ETCD_INITIAL_CLUSTER={}\n", members.join(",")));
            continue;
        }
        let Some(row) = line.strip_prefix('|') else {
            hidden.clear();
            result.push_str(line);
            result.push('\n');
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        if HIDDEN_COLUMNS.iter().any(|column| cells.contains(column)) {
            let is_hidden = |at: &usize| HIDDEN_COLUMNS.contains(&cells[*at]);
            hidden = (0..cells.len()).filter(is_hidden).collect();
        }
        let shown = cells.iter().enumerate();
        let shown = shown.map(|(at, cell)| if hidden.contains(&at) { "_" } else { *cell });
        result.push_str(&shown.collect::<Vec<_>>().join(" | "));
        result.push('\n');
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_named_in_their_order() {
        let text = "lease 694d7c3a1f2b3c4d granted with TTL(60s)\nl/694d7c3a1f2b3c4d 12\n";
        assert_eq!(long_numbers(text), ["694d7c3a1f2b3c4d"]);
        assert_eq!(long_numbers_named(text), "lease N1 granted with TTL(60s)\nl/N1 12\n");
    }

    #[test]
    fn tables_lose_their_frames_and_hidden_columns() {
        let text = "+----+---------+\n| ID | VERSION |\n+----+---------+\n| a  | 3.4     |\nend\n";
        assert_eq!(tables(text), "ID | _\na | _\nend\n");
    }

    #[test]
    fn numbers_and_results_of_checks_are_left_out() {
        assert_eq!(without_numbers("took 1.25s, m1: e1f, 3 kB."), "took #, #: #, # kB.");
        assert_eq!(checks(" 60 / 60 100%FAIL: Throughput too low\n"), "came to a result\n");
        assert_eq!(checks("Error: no leader\n"), "Error: no leader\n");
    }
}
