//! Is a recorded history strictly serializable? Decided by the revision that each answer carries.
//!
//! The store claims one order of all writes and numbers it. So nothing has to be searched: the
//! claim is checked. The rules, each a function below:
//!
//! * *one order*: no two acknowledged writes have one revision, and no value is at two;
//! * *real time*: what was sent after another call's answer has no lower revision than that, and a
//!   write has a higher one;
//! * *reads*: a read at revision r sees the newest write of its key at or below r;
//! * *durability*: at the end every acknowledged write is at its revision, on each member, and
//!   every member has the same.
//!
//! A write whose outcome is unknown may be there or not; if anybody saw it, it has its revision
//! from then on.

use std::collections::BTreeMap;

use crate::history::{Asked, Call, Outcome};

/// All revisions of a member at the end: what was written at each.
pub type Chronicle = BTreeMap<i64, (String, String)>;

/// How many violations a report names; the rest is only counted.
const NAMED_MAX: usize = 20;

/// Checks a history against what each member holds at the end. Gives the violations.
///
/// `chronicles` holds, for each member, every revision and what it wrote.
#[must_use]
pub fn check(history: &[Call], chronicles: &[Chronicle]) -> Vec<String> {
    let mut violations = Vec::new();
    violations.extend(same_everywhere(chronicles));
    if let Some(chronicle) = chronicles.first() {
        violations.extend(written_once(chronicle));
        violations.extend(durable(history, chronicle));
        violations.extend(reads(history, chronicle));
    }
    violations.extend(real_time(history));
    let more = violations.len().saturating_sub(NAMED_MAX);
    violations.truncate(NAMED_MAX);
    if more > 0 {
        violations.push(format!("and {more} more"));
    }
    violations
}

/// All members hold the same revisions.
fn same_everywhere(chronicles: &[Chronicle]) -> Vec<String> {
    let differs = |pair: &[Chronicle]| {
        let revisions = pair[0].keys().chain(pair[1].keys());
        let mut revisions =
            revisions.filter(|revision| pair[0].get(revision) != pair[1].get(revision));
        revisions.next().copied()
    };
    let pairs = chronicles.windows(2).enumerate();
    let differing = pairs.filter_map(|(at, pair)| differs(pair).map(|revision| (at, revision)));
    differing
        .map(|(at, revision)| {
            let (one, other) = (&chronicles[at], &chronicles[at + 1]);
            let (one, other) = (one.get(&revision), other.get(&revision));
            format!("members {} and {} differ at {revision}: {one:?}, {other:?}", at + 1, at + 2)
        })
        .collect()
}

/// No write happened twice: each value is at one revision.
fn written_once(chronicle: &Chronicle) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut violations = Vec::new();
    for (revision, written) in chronicle {
        if let Some(before) = seen.insert(written, revision) {
            violations.push(format!("{written:?} was written at {before} and again at {revision}"));
        }
    }
    violations
}

/// Every acknowledged write is at its revision.
fn durable(history: &[Call], chronicle: &Chronicle) -> Vec<String> {
    let mut violations = Vec::new();
    for call in history {
        let (Asked::Put { key, value }, Outcome::Written { revision }) =
            (&call.asked, &call.outcome)
        else {
            continue;
        };
        let there = chronicle.get(revision);
        if there.is_none_or(|(k, v)| k != key || v != value) {
            let lost = format!("{key}={value} was acknowledged at {revision}");
            violations.push(format!("{lost}, where there is {there:?}"));
        }
    }
    violations
}

/// A read sees the newest write of its key at or below its revision.
fn reads(history: &[Call], chronicle: &Chronicle) -> Vec<String> {
    let mut by_key: BTreeMap<&str, BTreeMap<i64, &str>> = BTreeMap::new();
    for (revision, (key, value)) in chronicle {
        by_key.entry(key).or_default().insert(*revision, value);
    }
    let mut violations = Vec::new();
    for call in history {
        let (Asked::Get { key }, Outcome::Seen { revision, found }) = (&call.asked, &call.outcome)
        else {
            continue;
        };
        let writes = by_key.get(key.as_str());
        let newest = writes.and_then(|writes| writes.range(..=*revision).next_back());
        let newest = newest.map(|(at, value)| ((*value).to_owned(), *at));
        if *found != newest {
            let saw = format!("a read of {key} at {revision} saw {found:?}");
            violations.push(format!("{saw}, but the newest write is {newest:?}"));
        }
    }
    violations
}

/// What was sent after an answer does not come before it.
fn real_time(history: &[Call]) -> Vec<String> {
    let mut by_sent: Vec<&Call> = history.iter().filter(|call| revision(call).is_some()).collect();
    let mut by_ended = by_sent.clone();
    by_sent.sort_by_key(|call| call.sent);
    by_ended.sort_by_key(|call| call.ended);
    let mut ended = by_ended.into_iter().peekable();
    // The answered call of the highest revision so far.
    let mut highest: Option<&Call> = None;
    let mut violations = Vec::new();
    for call in by_sent {
        while let Some(before) = ended.next_if(|before| before.ended < call.sent) {
            if revision(before) > highest.and_then(revision) {
                highest = Some(before);
            }
        }
        let (Some(before), Some(own)) = (highest, revision(call)) else { continue };
        let Some(earlier) = revision(before) else { continue };
        let is_write = matches!(call.outcome, Outcome::Written { .. });
        if own < earlier || (is_write && own == earlier) {
            violations.push(format!("{call:?} was sent after the answer to {before:?}"));
        }
    }
    violations
}

const fn revision(call: &Call) -> Option<i64> {
    match call.outcome {
        Outcome::Written { revision } | Outcome::Seen { revision, .. } => Some(revision),
        Outcome::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sent: u64, ended: u64, key: &str, value: &str, revision: i64) -> Call {
        let asked = Asked::Put { key: key.to_owned(), value: value.to_owned() };
        Call { sent, ended, asked, outcome: Outcome::Written { revision } }
    }

    fn get(sent: u64, ended: u64, key: &str, revision: i64, found: Option<(&str, i64)>) -> Call {
        let found = found.map(|(value, at)| (value.to_owned(), at));
        let asked = Asked::Get { key: key.to_owned() };
        Call { sent, ended, asked, outcome: Outcome::Seen { revision, found } }
    }

    fn unknown(key: &str, value: &str) -> Call {
        let asked = Asked::Put { key: key.to_owned(), value: value.to_owned() };
        Call { sent: 0, ended: 9, asked, outcome: Outcome::Unknown { error: "lost".to_owned() } }
    }

    fn chronicle(writes: &[(i64, &str, &str)]) -> Chronicle {
        let entry =
            |(at, key, value): &(i64, &str, &str)| (*at, ((*key).to_owned(), (*value).to_owned()));
        writes.iter().map(entry).collect()
    }

    /// A right history: two writes and a read beside them, and an unknown write that was seen.
    fn right() -> (Vec<Call>, Vec<Chronicle>) {
        let history = vec![
            put(0, 10, "a", "1", 2),
            put(5, 30, "a", "2", 4),
            get(11, 20, "a", 3, Some(("1", 2))),
            unknown("b", "3"),
            get(31, 40, "b", 4, Some(("3", 3))),
            get(31, 40, "c", 4, None),
        ];
        let all = chronicle(&[(2, "a", "1"), (3, "b", "3"), (4, "a", "2")]);
        (history, vec![all.clone(), all.clone(), all])
    }

    #[test]
    fn a_right_history_passes() {
        let (history, chronicles) = right();
        assert_eq!(check(&history, &chronicles), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_violation_is_found() {
        let with = |call: Call| {
            let (mut history, chronicles) = right();
            history.push(call);
            check(&history, &chronicles)
        };
        let cases = [
            (with(put(50, 60, "d", "9", 5)), "was acknowledged at 5, where there is None"),
            (with(put(50, 60, "d", "9", 3)), "was acknowledged at 3"),
            (with(get(50, 60, "a", 4, Some(("1", 2)))), "saw Some((\"1\", 2))"),
            (with(get(50, 60, "a", 4, None)), "saw None"),
            (with(get(50, 60, "c", 4, Some(("x", 4)))), "newest write is None"),
            (with(get(41, 60, "a", 3, Some(("1", 2)))), "was sent after the answer"),
        ];
        for (violations, expected) in cases {
            assert!(violations.iter().any(|text| text.contains(expected)), "{violations:#?}");
        }
    }

    #[test]
    fn a_write_is_after_what_was_answered_before_it() {
        let history = [get(0, 10, "b", 3, Some(("3", 3))), put(11, 12, "b", "3", 3)];
        assert_eq!(real_time(&history).len(), 1);
        let beside = [get(0, 10, "b", 3, Some(("3", 3))), put(9, 12, "b", "3", 3)];
        assert_eq!(real_time(&beside).len(), 0);
    }

    #[test]
    fn members_that_differ_are_found() {
        let (history, mut chronicles) = right();
        chronicles[2].remove(&4);
        let violations = check(&history, &chronicles);
        assert!(violations[0].starts_with("members 2 and 3 differ at 4"), "{violations:#?}");
    }

    #[test]
    fn a_write_that_happened_twice_is_found() {
        let twice = chronicle(&[(2, "a", "1"), (3, "a", "1")]);
        let violations = check(&[put(0, 10, "a", "1", 2)], &[twice]);
        assert!(violations[0].contains("and again at 3"), "{violations:#?}");
    }
}
