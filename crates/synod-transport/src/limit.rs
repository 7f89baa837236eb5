//! Log lines that a misbehaving stranger cannot multiply.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets the first line about each subject through, and then one per interval.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last: Mutex<BTreeMap<String, Instant>>,
}

/// One line about the same subject in this time.
const INTERVAL: Duration = Duration::from_secs(30);
/// When there are more subjects than this, the oldest is forgotten.
const SUBJECTS_MAX: usize = 64;

impl LogLimit {
    /// Whether a line about this subject may be written now.
    pub(crate) fn allows(&self, subject: &str, now: Instant) -> bool {
        let mut last = self.last.lock();
        if last.get(subject).is_some_and(|at| now.duration_since(*at) < INTERVAL) {
            return false;
        }
        if last.len() >= SUBJECTS_MAX && !last.contains_key(subject) {
            let oldest = last.iter().min_by_key(|(_, at)| **at).map(|(subject, _)| subject.clone());
            last.remove(&oldest.expect("it is not empty"));
        }
        last.insert(subject.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_subject_and_interval() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        assert!(limit.allows("a", start));
        assert!(!limit.allows("a", start + INTERVAL / 2));
        assert!(limit.allows("b", start + INTERVAL / 2));
        assert!(limit.allows("a", start + INTERVAL));
    }

    #[test]
    fn many_subjects_do_not_grow_it() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        for subject in 0..1000 {
            assert!(limit.allows(&subject.to_string(), start + Duration::from_millis(subject)));
        }
        assert_eq!(limit.last.lock().len(), SUBJECTS_MAX);
    }
}
