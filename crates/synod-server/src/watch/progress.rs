//! How far a stream has come: told when asked, and now and then to watches that want it.
//!
//! A note of progress says that everything up to its revision was told. It goes the same way as
//! events, behind them, and only if no watch that it speaks for has anything to read.

use std::time::{Duration, Instant};

use synod_kv::{Engine, Revision};

use super::hub::{Hub, NO_WATCH, Place};
use super::outlet::{Answer, AnswerKind, Outgoing};

impl<E: Engine> Hub<E> {
    /// The client asks for the progress of all watches of a stream.
    pub(super) fn ask_progress(&mut self, stream: usize) {
        self.streams[stream].outlet.permits.add_permits(1);
        self.asking.insert(stream);
    }

    /// Answers those who asked and lag no more. Others are answered later; questions that come
    /// meanwhile are answered with them.
    pub(super) fn answer_progress(&mut self) {
        let Some(told) = self.told() else { return self.asking.clear() };
        for stream in std::mem::take(&mut self.asking) {
            let one = &self.streams[stream];
            if one.ids.is_empty() {
                continue;
            }
            if one.lagging > 0 || told < one.start_max {
                self.asking.insert(stream);
                continue;
            }
            self.tell_progress(stream, NO_WATCH, told);
        }
    }

    /// Tells watches that want it and have heard nothing for an interval.
    pub(super) fn note_progress(&mut self, now: Instant) {
        self.set_due(now);
        while let Some((due, stream)) = self.due.first().copied()
            && due <= now
        {
            self.due.remove(&(due, stream));
            let next = now + self.interval(stream);
            self.streams[stream].due = Some(next);
            self.due.insert((next, stream));
            self.note(stream);
        }
    }

    fn note(&mut self, stream: usize) {
        let Some(told) = self.told() else { return };
        let ids: Vec<(i64, usize)> =
            self.streams[stream].ids.iter().map(|(id, watch)| (*id, *watch)).collect();
        for (id, watch) in ids {
            let one = &mut self.watches[watch];
            let was_quiet = std::mem::replace(&mut one.is_quiet, true);
            let is_live = matches!(one.place, Place::Live(_)) && one.start() <= told;
            if !(one.notified && was_quiet && is_live) {
                continue;
            }
            if id == NO_WATCH {
                // A client may choose this id. It speaks for the whole stream all the same.
                self.asking.insert(stream);
            } else {
                self.tell_progress(stream, id, told);
            }
        }
    }

    /// Streams with such watches that have no time yet get one.
    fn set_due(&mut self, now: Instant) {
        for stream in std::mem::take(&mut self.undue) {
            let next = now + self.interval(stream);
            if let Some(one) = self.streams.get_mut(stream)
                && one.notified > 0
                && one.due.is_none()
            {
                one.due = Some(next);
                self.due.insert((next, stream));
            }
        }
    }

    /// Streams that began together are not told together.
    fn interval(&self, stream: usize) -> Duration {
        let interval = self.options.progress_interval;
        let part = u32::try_from(stream).unwrap_or(0) % PARTS;
        interval + interval / 10 * part / PARTS
    }

    /// The revision up to which everything was told to those who are live.
    fn told(&self) -> Option<Revision> {
        self.tail.as_ref().map(|tail| tail.next().previous())
    }

    fn tell_progress(&mut self, stream: usize, watch_id: i64, revision: Revision) {
        let answer = Answer { watch_id, revision, kind: AnswerKind::Progress };
        self.tell(stream, Outgoing::Answer(answer));
    }
}

/// Into how many parts a tenth of the interval is cut.
const PARTS: u32 = 64;
