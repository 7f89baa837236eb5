//! A line of the log at most once a second, whoever may cause it how often.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When a line was written last, and how many were not since.
#[derive(Debug, Default)]
pub(crate) struct Sparingly(Mutex<(Option<Instant>, u64)>);

impl Sparingly {
    /// Tells it, with how many others were left untold; or counts it as one of them.
    pub(crate) fn tell(&self, line: impl FnOnce(u64)) {
        let mut state = self.0.lock();
        if state.0.is_some_and(|last| last.elapsed() < PAUSE) {
            state.1 += 1;
            return;
        }
        let others = state.1;
        *state = (Some(Instant::now()), 0);
        drop(state);
        line(others);
    }
}

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_of_many() {
        let (sparingly, mut told) = (Sparingly::default(), Vec::new());
        for _ in 0..1000 {
            sparingly.tell(|others| told.push(others));
        }
        sparingly.0.lock().0 = Instant::now().checked_sub(PAUSE);
        sparingly.tell(|others| told.push(others));
        assert_eq!((told[0], told.iter().sum::<u64>() + told.len() as u64), (0, 1001));
    }
}
