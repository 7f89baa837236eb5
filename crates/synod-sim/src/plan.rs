//! What a seed makes of a world: swarm testing.
//!
//! Each seed turns a random subset of the faults on, and draws sizes, rates and bounds anew. A run
//! with few faults reaches depths that a run with all of them never sees, and the other way round.
//! Bounds are small, so that what is rare in production is common here.

use std::time::Duration;

use synod_paxos::Options as CoreOptions;

use crate::faults::{Fault, FaultSet};
use crate::network::Weather;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::random::Random;

/// The mean time of a sync while nothing is wrong.
pub(crate) const SYNC_MEAN_CALM: Micros = 300;

/// The shape of one world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many members.
    pub(crate) members: usize,
    /// The faults that happen.
    pub(crate) faults: FaultSet,
    /// The mean time between two faults of a kind.
    pub(crate) fault_every: Micros,
    /// Time-outs and bounds of the core.
    pub(crate) core: CoreOptions,
    /// The network while faults happen.
    pub(crate) weather: Weather,
    /// The mean time of a sync while faults happen.
    pub(crate) sync_mean: Micros,
    /// Bytes of a segment of the log.
    pub(crate) segment_bytes: u64,
    /// Bytes of the log that are kept for members that lag.
    pub(crate) log_bytes_max: u64,
    /// The mean time between two checkpoints of a member's state machine.
    pub(crate) checkpoint_every: Micros,
    /// How much slower or faster than time each member's clock runs, in thousandths.
    pub(crate) clock_rates: Vec<u64>,
    /// How many clients.
    pub(crate) clients: usize,
    /// The mean pause of a client between two requests.
    pub(crate) think_mean: Micros,
    /// How long a member lets a request wait.
    pub(crate) deadline: Micros,
    /// How many keys there are.
    pub(crate) keys: u64,
    /// Bytes that a value is padded to, at most.
    pub(crate) value_bytes_max: u64,
    /// Reads of a hundred requests.
    pub(crate) reads_percent: u64,
    /// How many leases there are at most; none in many worlds.
    pub(crate) leases: u64,
    /// Requests about leases of a hundred, if there are any.
    pub(crate) leases_percent: u64,
}

impl Plan {
    /// The plan of a seed. What is asked for overrides what was drawn, without shifting the rest.
    pub(crate) fn draw(seed: u64, members: Option<usize>, without: FaultSet) -> Self {
        let mut random = Random::new(seed, "plan");
        let drawn = *random.pick(&[1, 3, 3, 3, 3, 3, 3, 5, 5, 5]);
        let members = members.unwrap_or(drawn);
        let faults = draw_faults(&mut random, without);
        let fault_every = *random.pick(&[SECOND / 2, SECOND, 2 * SECOND, 5 * SECOND]);
        let core = draw_core(&mut random);
        let weather = draw_weather(&mut random, faults, &core);
        let election = u64::try_from(core.election_timeout.as_micros()).expect("a few seconds");
        let slow = random.between(2 * MILLISECOND, election / 4);
        let sync_mean = if faults.contains(Fault::SlowDisk) { slow } else { SYNC_MEAN_CALM };
        let rates: [u64; 5] = std::array::from_fn(|_| random.between(800, 1200));
        let clock_rates = rates.map(|rate| if faults.contains(Fault::Clock) { rate } else { 1000 });
        let clients = random.between(3, 8);
        let requests_per_second = random.between(15, 90);
        Self {
            members,
            faults,
            fault_every,
            core,
            weather,
            sync_mean,
            segment_bytes: random.pick(&[16, 32, 64]) << 10,
            checkpoint_every: random.between(100, 4000) * MILLISECOND,
            clock_rates: clock_rates[..members.min(rates.len())].to_vec(),
            clients: usize::try_from(clients).expect("a few"),
            think_mean: clients * SECOND / requests_per_second,
            deadline: random.between(200, 4000) * MILLISECOND,
            keys: random.between(2, 12),
            value_bytes_max: *random.pick(&[0, 20, 200, 1000]),
            reads_percent: *random.pick(&[20, 40, 60, 80]),
            leases: *random.pick(&[0, 0, 1, 3, 8]),
            leases_percent: *random.pick(&[10, 30, 60]),
            log_bytes_max: *random.pick(&[1 << 10, 4 << 10, 16 << 10, 1 << 30]),
        }
    }
}

/// Each kind is on with the same chance, which itself differs from seed to seed.
fn draw_faults(random: &mut Random, without: FaultSet) -> FaultSet {
    let chance = *random.pick(&[150, 300, 500, 700, 1000]);
    let mut faults = FaultSet::NONE;
    for fault in Fault::ALL {
        if random.per_mille(chance) && !without.contains(fault) {
            faults = faults.with(fault);
        }
    }
    faults
}

fn draw_core(random: &mut Random) -> CoreOptions {
    let heartbeat = *random.pick(&[20, 50, 100]);
    let election = heartbeat * random.between(3, 10);
    CoreOptions {
        heartbeat_interval: Duration::from_millis(heartbeat),
        election_timeout: Duration::from_millis(election),
        announce_delay: Duration::from_millis(*random.pick(&[0, 1, 1, 30])),
        slots_in_flight_max: *random.pick(&[1, 2, 4, 4, 16]),
        batch_bytes_max: *random.pick(&[200, 4 << 10, 1 << 20]),
        batch_commands_max: *random.pick(&[1, 3, 1024]),
        commands_max: *random.pick(&[4, 64, 1024]),
        commands_bytes_max: *random.pick(&[16 << 10, 1 << 20]),
        queue_max: *random.pick(&[4, 64, 1024]),
        reads_max: *random.pick(&[2, 64, 1024]),
        page_bytes_max: *random.pick(&[100, 2 << 10, 1 << 20]),
        cache_bytes_max: *random.pick(&[0, 1 << 10, 16 << 10, 1 << 20]),
        window_slots_max: *random.pick(&[32, 256, 16_384]),
        trim_slots_min: *random.pick(&[1, 10, 100]),
        #[cfg(feature = "mutants")]
        mutant: None,
    }
}

fn draw_weather(random: &mut Random, faults: FaultSet, core: &CoreOptions) -> Weather {
    let election = u64::try_from(core.election_timeout.as_micros()).expect("a few seconds");
    let long = *random.pick(&[election / 40, election / 10, election / 5]);
    let loss = *random.pick(&[5, 20, 100, 300]);
    let duplication = *random.pick(&[10, 100, 500]);
    let stray = *random.pick(&[5, 30, 100]);
    let of = |fault, value| if faults.contains(fault) { value } else { 0 };
    Weather {
        delay_min: 100,
        delay_mean: of(Fault::Delay, long).max(200),
        loss: of(Fault::Loss, loss),
        duplication: of(Fault::Duplication, duplication),
        stray: of(Fault::Reorder, stray),
        reorder: faults.contains(Fault::Reorder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_out_a_fault_changes_nothing_else() {
        for seed in 0..50 {
            let all = Plan::draw(seed, None, FaultSet::NONE);
            let calm = Plan::draw(seed, None, FaultSet::ALL);
            assert!(calm.faults.is_empty());
            assert_eq!(
                (all.members, all.core, all.keys, all.segment_bytes, all.clients),
                (calm.members, calm.core, calm.keys, calm.segment_bytes, calm.clients),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn seeds_differ_in_members_and_faults() {
        let plans: Vec<_> = (0..100).map(|s| Plan::draw(s, None, FaultSet::NONE)).collect();
        for members in [1, 3, 5] {
            assert!(plans.iter().any(|plan| plan.members == members), "{members} members");
        }
        for fault in Fault::ALL {
            let with = plans.iter().filter(|plan| plan.faults.contains(fault)).count();
            assert!((10..90).contains(&with), "{fault} in {with} of 100");
        }
    }
}
