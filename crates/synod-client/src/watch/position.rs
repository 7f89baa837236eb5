//! Up to where a watch has told. Knows no connection: responses in, updates out.

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::mvccpb::Event;
use synod_etcd::{EtcdError, Refusal};
use tonic::Code;

use super::Update;
use crate::error::Error;

/// Up to where a watch has told.
#[derive(Debug)]
pub(super) struct Position {
    /// All events below this revision were told; 0 until it is known where the watch begins.
    next: i64,
    /// Events of a response that is not whole yet.
    parts: Vec<Event>,
}

/// What a response was.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// Nothing to tell.
    Nothing,
    /// To be told.
    Update(Update),
    /// The end.
    Over(Error),
}

impl Position {
    /// At the beginning; a revision of 0 is now.
    pub(super) const fn at(start_revision: i64) -> Self {
        Self { next: start_revision, parts: Vec::new() }
    }

    /// Where to resume.
    pub(super) const fn next(&self) -> i64 {
        self.next
    }

    pub(super) fn take(&mut self, response: pb::WatchResponse) -> Taken {
        if response.compact_revision > 0 {
            return Taken::Over(Error::Compacted { revision: response.compact_revision });
        }
        if let Some(refusal) = refusal(&response) {
            return Taken::Over(Error::Refused(refusal));
        }
        let revision = response.header.map_or(0, |header| header.revision);
        if response.created {
            // Parts of a stream that broke come again, from their beginning.
            self.parts.clear();
            if self.next == 0 {
                self.next = revision + 1;
            }
            return Taken::Nothing;
        }
        if response.fragment {
            self.parts.extend(response.events);
            return Taken::Nothing;
        }
        let mut events = std::mem::take(&mut self.parts);
        events.extend(response.events);
        if events.is_empty() {
            self.next = self.next.max(revision + 1);
            return Taken::Update(Update { revision, events });
        }
        events.retain(|event| revision_of(event) >= self.next);
        let Some(last) = events.last() else { return Taken::Nothing };
        self.next = revision_of(last) + 1;
        Taken::Update(Update { revision, events })
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// Why the server ended the watch, if it did, but for a compaction. It says it as Go prints errors:
/// `rpc error: code = PermissionDenied desc = etcdserver: permission denied`.
pub(super) fn refusal(response: &pb::WatchResponse) -> Option<Refusal> {
    if !response.canceled || response.compact_revision > 0 {
        return None;
    }
    let reason = response.cancel_reason.as_str();
    let text = reason.split_once(" desc = ").map_or(reason, |(_, text)| text);
    Some(match EtcdError::from_text(text) {
        Some(error) => Refusal::new(error),
        None if text.is_empty() => Refusal::new(EtcdError::WatchCanceled),
        None => Refusal::own(Code::Cancelled, text),
    })
}

#[cfg(test)]
mod tests {
    use synod_etcd::proto::mvccpb::KeyValue;

    use super::*;

    fn response(revision: i64, events: &[i64]) -> pb::WatchResponse {
        let event = |revision: &i64| Event {
            kv: Some(KeyValue { mod_revision: *revision, ..Default::default() }),
            ..Default::default()
        };
        pb::WatchResponse {
            header: Some(pb::ResponseHeader { revision, ..Default::default() }),
            events: events.iter().map(event).collect(),
            ..Default::default()
        }
    }

    fn created(revision: i64) -> pb::WatchResponse {
        pb::WatchResponse { created: true, ..response(revision, &[]) }
    }

    /// The revisions told.
    fn told(taken: Taken) -> Vec<i64> {
        match taken {
            Taken::Update(update) => update.events.iter().map(revision_of).collect(),
            Taken::Nothing => Vec::new(),
            Taken::Over(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_watch_from_now_begins_behind_the_revision_that_created_it() {
        let mut position = Position::at(0);
        assert_eq!(position.take(created(7)), Taken::Nothing);
        assert_eq!(position.next(), 8);
        assert_eq!(told(position.take(response(9, &[8, 9]))), [8, 9]);
        assert_eq!(position.next(), 10);
        // The next member is behind: it creates the watch at an older revision.
        position.take(created(5));
        assert_eq!(position.next(), 10);
    }

    #[test]
    fn what_was_told_is_dropped() {
        let mut position = Position::at(5);
        position.take(created(9));
        assert_eq!(told(position.take(response(9, &[5, 6, 6]))), [5, 6, 6]);
        assert_eq!(told(position.take(response(9, &[6, 6, 7]))), [7]);
        assert_eq!(position.take(response(9, &[7])), Taken::Nothing);
    }

    #[test]
    fn progress_moves_the_point_to_resume_and_never_back() {
        let mut position = Position::at(5);
        position.take(created(9));
        position.take(response(20, &[]));
        assert_eq!(position.next(), 21);
        position.take(response(3, &[]));
        assert_eq!(position.next(), 21);
    }

    #[test]
    fn parts_are_told_together_and_forgotten_with_their_stream() {
        let part = |events: &[i64]| pb::WatchResponse { fragment: true, ..response(9, events) };
        let mut position = Position::at(5);
        assert_eq!(position.take(part(&[5, 6])), Taken::Nothing);
        assert_eq!(position.next(), 5);
        position.take(created(9));
        position.take(part(&[5, 6]));
        assert_eq!(told(position.take(response(9, &[6, 7]))), [5, 6, 6, 7]);
    }

    #[test]
    fn the_end_has_a_reason() {
        let mut gone = response(9, &[]);
        (gone.canceled, gone.compact_revision) = (true, 4);
        assert_eq!(Position::at(1).take(gone), Taken::Over(Error::Compacted { revision: 4 }));
        let mut denied = created(9);
        denied.canceled = true;
        denied.cancel_reason =
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied".into();
        let expected = Error::Refused(EtcdError::PermissionDenied.into());
        assert_eq!(Position::at(1).take(denied), Taken::Over(expected));
    }
}
