//! Catching up by snapshot: for a member that needs slots which nobody has in a log any more.
//!
//! ```text
//!   behind ── CatchUp 5 ────────▶ ahead      its log begins at 900
//!   behind ◀── page 0 of s ────── ahead      a view of its state, which is that of prefix 1000
//!   behind ── FetchPage s, 4096 ▶ ahead      when the first page is put away
//!   behind ◀── page 4096 of s ─── ahead
//!     ...
//!   behind ◀── page N of s ────── ahead      empty: that was all
//!   behind tells its log, installs prefix 1000, and goes on with CatchUp 1000
//! ```
//!
//! The core knows when, from whom and what then; what a state is made of, and where it is put, the
//! world knows. One page is under way at a time, so neither side holds more. A page that is lost is
//! asked for again; a source that is silent is given up, and another begins from its own start.
//! Pages of two snapshots never mix: each names its own, and another name begins anew.
//!
//! Safety: a snapshot stands for the values of a prefix, all of which are chosen. Learning them
//! changes nothing of what this member has promised, nor of what it has accepted above: its vote
//! stays what it was. The prefix brings its barrier along, as a batch above may be void by it.
//!
//! What it has accepted below is another matter: something else may have been chosen there, and it
//! never learns what. So before the state is taken over, the log is told that it is not to be
//! served from below it ([`Record::Skipped`]).

use crate::event::{Event, Ignored, StepDown};
use crate::ids::ReplicaId;
use crate::message::{FetchPage, Message, SnapshotPage};
use crate::mutants::Mutant;
use crate::output::{Output, PageWanted, PersistId, Record};
use crate::prefix::Prefix;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::time::Time;
use crate::value::CommandId;

/// What this member does about snapshots.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub(crate) struct Snapshots {
    fetch: Option<Fetch>,
    /// The log holds more than it should below the first slot, and more than it may below the
    /// second.
    bounds: (Slot, Slot),
    /// What the log says of slots below this one need not be what was chosen.
    skipped: Slot,
}

impl Snapshots {
    /// As the log left it.
    pub(crate) fn recovered(skipped: Slot) -> Self {
        Self { skipped, ..Self::default() }
    }
}

/// A snapshot on its way here.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
struct Fetch {
    source: ReplicaId,
    snapshot: u64,
    /// Where the next page begins.
    offset: u64,
    /// A page is being put away.
    taking: bool,
    /// When the source was heard of, or asked, last.
    heard: Time,
    asked: Time,
}

/// A source that sends nothing for so many election timeouts is given up.
const SILENCE_TIMEOUTS: u32 = 5;

/// For so many election timeouts a member that lags keeps the log from being trimmed below what
/// it will ask for next, unless the log holds twice what it should.
const LAG_TIMEOUTS: u32 = 10;

// The member that is behind.
impl Replica {
    /// Whether a snapshot is on its way. Asks again, or gives up, if it does not come.
    pub(crate) fn is_fetching(&mut self) -> bool {
        let Some(fetch) = &mut self.snapshots.fetch else { return false };
        if fetch.taking {
            return true;
        }
        let patience = self.options.election_timeout * SILENCE_TIMEOUTS;
        if self.now.since(fetch.heard) >= patience {
            self.snapshots.fetch = None;
            return false;
        }
        if self.now.since(fetch.asked) >= self.options.resend_after() {
            fetch.asked = self.now;
            let (source, snapshot, offset) = (fetch.source, fetch.snapshot, fetch.offset);
            let message = Message::FetchPage(FetchPage { snapshot, offset });
            self.outputs.send(source, message);
        }
        true
    }

    pub(crate) fn on_snapshot_page(&mut self, from: ReplicaId, page: SnapshotPage) {
        let ours = self.snapshots.fetch.as_ref().is_some_and(|fetch| fetch.source == from);
        if page.prefix.end <= self.learner.prefix.end {
            if ours && self.snapshots.fetch.as_ref().is_some_and(|fetch| !fetch.taking) {
                self.snapshots.fetch = None;
            }
            return self.ignore(from, "snapshot-page", Ignored::Repeated);
        }
        let expected = match &self.snapshots.fetch {
            None => page.offset == 0,
            Some(fetch) if fetch.taking || !ours => false,
            Some(fetch) if fetch.snapshot == page.snapshot => fetch.offset == page.offset,
            // Its source has let go of the one that was fetched.
            Some(_) => page.offset == 0,
        };
        if !expected {
            return self.ignore(from, "snapshot-page", Ignored::Repeated);
        }
        let (snapshot, offset, now) = (page.snapshot, page.offset, self.now);
        let fetch = Fetch { source: from, snapshot, offset, taking: true, heard: now, asked: now };
        self.snapshots.fetch = Some(fetch);
        self.outputs.push(Output::TakePage(page));
    }

    /// The page was put away: the next one begins here.
    pub fn handle_page_taken(&mut self, now: Time, snapshot: u64, next: u64) {
        self.advance_clock(now);
        let Some(fetch) = &mut self.snapshots.fetch else { return };
        if self.halted || fetch.snapshot != snapshot {
            return;
        }
        (fetch.offset, fetch.taking, fetch.heard, fetch.asked) = (next, false, self.now, self.now);
        let (source, offset) = (fetch.source, fetch.offset);
        self.outputs.send(source, Message::FetchPage(FetchPage { snapshot, offset }));
    }

    /// The pages were no snapshot, or could not be put away: it is not fetched any further.
    pub fn handle_snapshot_failed(&mut self) {
        self.snapshots.fetch = None;
    }

    /// A state of all below `end` has arrived, and is to be taken over. The log is told first: once
    /// this record is durable, the machine may take over the state, and then
    /// [`Replica::handle_installed`] is called. Otherwise a member that stops right after that
    /// would find values in its log that it had accepted and that were never chosen, take them for
    /// chosen, since its state is beyond them, and serve them to others.
    pub fn handle_arrived(&mut self, now: Time, end: Slot) -> PersistId {
        self.advance_clock(now);
        self.snapshots.skipped = self.snapshots.skipped.max(end);
        self.outputs.persist(Record::Skipped(self.snapshots.skipped))
    }

    /// The state machine holds the state of this prefix now, durably, instead of its own, which was
    /// that of a shorter one. Gives the own commands of which nobody can tell any more whether they
    /// were applied.
    ///
    /// # Panics
    /// If the prefix is no longer than what is known to be chosen, or the log was not told.
    pub fn handle_installed(&mut self, now: Time, prefix: Prefix) -> Vec<CommandId> {
        self.advance_clock(now);
        let former = self.learner.prefix;
        assert!(former.end < prefix.end, "{} is installed over {}", prefix.end, former.end);
        assert!(former.barrier <= prefix.barrier, "a longer prefix has no lower barrier");
        assert!(prefix.end <= self.snapshots.skipped, "the log is told of a state first");
        self.snapshots.fetch = None;
        let barrier = match self.mutated(Mutant::InstallWithoutBarrier) {
            true => former.barrier,
            false => prefix.barrier,
        };
        self.learner.install(Prefix { barrier, ..prefix });
        self.acceptor.held = self.acceptor.held.split_off(&prefix.end);
        if self.mutated(Mutant::InstallForgetsPromise) {
            self.acceptor.promised = crate::parts::Promised::default();
        }
        let overtaken = matches!(&self.proposer,
            Proposer::Leader(leader) if leader.first < prefix.end);
        if overtaken {
            self.step_down(StepDown::HigherBallot);
        }
        let lost = self.own.lose_sent(prefix.barrier);
        let lost = lost.into_iter().map(|number| self.command_id(number)).collect();
        self.leave_leaders_below(prefix.barrier);
        self.outputs.event(Event::Installed { end: prefix.end });
        self.trim(prefix.end);
        // What this leader proposed above may have its quorum, and waited for the prefix alone.
        self.advance_as_leader();
        self.release_reads();
        lost
    }
}

// The member that is ahead.
impl Replica {
    /// What the peer needs from this slot on is in no log here: begins to send the state instead.
    pub fn handle_unserved(&mut self, now: Time, to: ReplicaId, from: Slot) {
        self.advance_clock(now);
        if !self.halted {
            self.serve_page(to, PageWanted::First { beyond: from });
        }
    }

    pub(crate) fn on_fetch_page(&mut self, from: ReplicaId, fetch: &FetchPage) {
        self.note_lag(from);
        let (snapshot, offset) = (fetch.snapshot, fetch.offset);
        self.serve_page(from, PageWanted::At { snapshot, offset });
    }

    pub(crate) fn serve_page(&mut self, to: ReplicaId, wanted: PageWanted) {
        let bytes_max = self.options.page_bytes_max;
        self.outputs.push(Output::ServeSnapshot { to, wanted, bytes_max });
    }

    /// The peer asks for what it lacks: it lags, and comes closer.
    pub(crate) fn note_lag(&mut self, peer: ReplicaId) {
        let now = self.now;
        if let Some(peer) = self.election.peers.get_mut(&peer) {
            peer.lags = Some(now);
        }
    }

    /// The log holds more than it should below `soft`, and more than it may below `hard`.
    pub fn handle_log_bounds(&mut self, soft: Slot, hard: Slot) {
        self.snapshots.bounds = (soft, hard.min(soft));
    }

    /// Whether the log holds more than it should.
    pub(crate) fn is_log_too_long(&self) -> bool {
        self.learner.trimmed < self.snapshots.bounds.0
    }

    /// Up to where the log can go: what all members hold, and beyond the bound what this one does.
    pub(crate) fn trimmable(&self) -> Slot {
        let patience = self.options.election_timeout * LAG_TIMEOUTS;
        let comes = |at: Option<Time>| at.is_some_and(|at| self.now.since(at) < patience);
        let anybody_comes = self.election.peers.values().any(|peer| comes(peer.lags));
        let (soft, hard) = self.snapshots.bounds;
        let bound = if anybody_comes { hard } else { soft };
        let own = self.learner.stable.min(self.learner.prefix.end);
        self.stable_everywhere().max(bound).min(own)
    }

    /// Has the log trimmed. What the trimmed records told besides values is recorded once more
    /// first.
    pub(crate) fn trim(&mut self, below: Slot) {
        self.learner.trimmed = below;
        self.evict();
        let met: Vec<_> = self.formation.met().collect();
        for peer in met {
            self.outputs.persist(Record::Met(peer));
        }
        self.outputs.persist(Record::Promised(self.acceptor.promised.ballot()));
        if self.snapshots.skipped > Slot::FIRST {
            self.outputs.persist(Record::Skipped(self.snapshots.skipped));
        }
        let after = self.outputs.persist(Record::Chosen(self.learner.prefix.end));
        self.outputs.push(Output::TrimLog { below, after });
    }
}
