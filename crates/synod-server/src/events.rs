//! What the protocol tells, turned into log lines and figures: the one place where it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use synod_paxos::{Event, Ignored, StepDown};
use tracing::{debug, info, warn};

use crate::config::ServerConfig;
use crate::leadership::Leadership;
use crate::log_clock::LogClock;
use crate::metrics::Metrics;

/// Listens to the protocol.
#[derive(Debug)]
pub(crate) struct EventLog {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) clock: Arc<LogClock>,
    pub(crate) metrics: Arc<Metrics>,
    /// When a line about ignored messages was written last.
    pub(crate) ignored_told: Option<Instant>,
}

/// One line about ignored messages in this time; the figures count them all.
const IGNORED_INTERVAL: Duration = Duration::from_secs(10);

impl EventLog {
    /// Writes down one event.
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Met { peer } => {
                info!(peer = self.config.name_of(peer.as_u64()), "met a member");
            }
            Event::Formed => info!("all members have met: this one may vote from now on"),
            Event::Candidacy { ballot } => {
                self.leadership.saw(*ballot);
                info!(%ballot, "asking to lead");
            }
            Event::Elected { ballot, barrier } => {
                self.leadership.saw(*ballot);
                info!(%ballot, %barrier, "this member leads");
            }
            Event::LeaderChanged { leader } => {
                self.clock.restart();
                self.leadership.follows(*leader);
                match leader {
                    Some(ballot) => info!(
                        leader = self.config.name_of(ballot.replica.as_u64()), %ballot,
                        "following a leader"
                    ),
                    None => warn!("there is no leader to follow"),
                }
            }
            Event::Installed { end } => info!(%end, "installed a snapshot"),
            Event::SteppedDown { ballot, reason } => {
                let reason = match reason {
                    StepDown::HigherBallot => "a higher ballot appeared",
                    StepDown::NoQuorum => "no quorum was heard for an election timeout",
                    StepDown::HandedOver => "it handed over",
                };
                info!(%ballot, reason, "this member leads no more");
            }
            Event::Ignored { from, message, reason } => {
                self.metrics.ignored[index(*reason)].fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                let told = self.ignored_told.replace(now);
                if told.is_some_and(|told| now.duration_since(told) < IGNORED_INTERVAL) {
                    self.ignored_told = told;
                } else {
                    debug!(
                        from = self.config.name_of(from.as_u64()),
                        message,
                        ?reason,
                        "left a message without effect"
                    );
                }
            }
        }
    }
}

/// The reasons, as the figures name them, in the order of [`index`].
pub(crate) const REASONS: [&str; 12] = [
    "ballot_below_promised",
    "another_ballot",
    "repeated",
    "not_a_member",
    "stranger",
    "not_formed",
    "leader_lives",
    "already_chosen",
    "out_of_bounds",
    "not_leading",
    "full",
    "malformed",
];

const fn index(reason: Ignored) -> usize {
    match reason {
        Ignored::BallotBelowPromised => 0,
        Ignored::AnotherBallot => 1,
        Ignored::Repeated => 2,
        Ignored::NotAMember => 3,
        Ignored::Stranger => 4,
        Ignored::NotFormed => 5,
        Ignored::LeaderLives => 6,
        Ignored::AlreadyChosen => 7,
        Ignored::OutOfBounds => 8,
        Ignored::NotLeading => 9,
        Ignored::Full => 10,
        Ignored::Malformed => 11,
    }
}
