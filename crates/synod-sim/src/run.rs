//! One run: form, suffer, heal, go on, agree.
//!
//! ```text
//!   0 s        1.5 s                          duration            + at most 30 s   + at most 30 s
//!   │ forming  │ faults, clients, checks      │ healed: a write   │ silence: all   │
//!   │ calm     │                              │ via each member   │ become equal   │
//! ```

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use crate::client::{Client, LEASE_SECONDS_MAX};
use crate::faults::FaultSet;
use crate::nemesis::pairs;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::report::{Options, Report, Violation, command};
use crate::world::{Happening, World};

/// Runs one seed.
///
/// # Errors
/// With the first violation of what Synod promises.
pub fn run(seed: u64, options: &Options) -> Result<Report, Violation> {
    let mut world = World::new(seed, options);
    let result = guarded(seed, options, || live(&mut world, micros(options.duration)));
    conclude(world, options, result)
}

/// Runs three members without faults, then leaves only some of their six directed links open:
/// those whose bit in `open` is set, in the order 1→2, 1→3, 2→1, 2→3, 3→1, 3→2.
///
/// # Errors
/// If a member is connected with a majority in both directions, and yet no write succeeds within
/// four election timeouts and a little.
pub fn run_links(seed: u64, open: u8) -> Result<Report, Violation> {
    let options = Options { members: Some(3), without: FaultSet::ALL, ..Options::default() };
    let mut world = World::new(seed, &options);
    let result = guarded(seed, &options, || live_with_links(&mut world, open));
    conclude(world, &options, result)
}

fn live_with_links(world: &mut World, open: u8) -> Result<(), String> {
    world.begin();
    world.run_until(CALM_UNTIL)?;
    let mut is_open = [[true; 3]; 3];
    for (bit, (from, to)) in pairs(3).enumerate() {
        is_open[from][to] = open >> bit & 1 == 1;
        world.network.set_cut(from, to, !is_open[from][to]);
    }
    let both_ways = |a: usize, b: usize| a != b && is_open[a][b] && is_open[b][a];
    let centres: Vec<usize> = (0..3).filter(|a| (0..3).any(|b| both_ways(*a, b))).collect();
    // From here on, only those ask who have a majority.
    world.healed = true;
    if centres.is_empty() {
        return world.run_for(5 * SECOND);
    }
    let patience = micros(world.plan.core.election_timeout) * 4 + SECOND;
    let deadline = world.now() + patience;
    world.plan.deadline = 100 * MILLISECOND;
    let first = world.clients.len();
    for centre in centres {
        let client = world.clients.len();
        world.clients.push(Client::new(centre, true));
        // What was under way before the cut proves nothing: the probes begin a moment after it.
        world.plan_in(100 * MILLISECOND, Happening::Wake { client });
    }
    while world.clients[first..].iter().all(|client| client.answered == 0) {
        if world.now() >= deadline {
            return Err(format!(
                "with links {open:06b} a member hears a majority and is heard by it, and no write \
                 succeeds within {patience} us"
            ));
        }
        world.run_for(10 * MILLISECOND)?;
    }
    Ok(())
}

/// Turns a panic, which is what a failed assertion of the core is, into an error. In a build where
/// a panic ends the process, the seed is printed first.
pub(crate) fn guarded(
    seed: u64,
    options: &Options,
    body: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    announce_seeds_of_panics();
    RUNNING.with(|running| running.replace(Some(command(seed, options))));
    let result = catch_unwind(AssertUnwindSafe(body));
    RUNNING.with(|running| running.replace(None));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let place = PANICKED_AT.with(Cell::take).unwrap_or_default();
        Err(format!("panic at {place}: {}", text.unwrap_or_default()))
    })
}

/// Makes the report, or the violation, of a world that has ended.
pub(crate) fn conclude(
    world: World,
    options: &Options,
    result: Result<(), String>,
) -> Result<Report, Violation> {
    match result {
        Ok(()) => Ok(world.into_report()),
        Err(message) => Err(Violation {
            seed: world.seed,
            message,
            lines: world.trace.last_lines(),
            command: command(world.seed, options),
        }),
    }
}

fn live(world: &mut World, duration: Micros) -> Result<(), String> {
    world.begin();
    world.run_until(CALM_UNTIL)?;
    world.unleash();
    world.run_until(duration.max(CALM_UNTIL))?;
    world.heal();
    world.progress_everywhere()?;
    world.become_equal()?;
    world.leases_end()?;
    world.something_happened()
}

impl World {
    /// After healing, a write via each member that is not wiped succeeds in time.
    fn progress_everywhere(&mut self) -> Result<(), String> {
        let first = self.clients.len();
        for member in
            (0..self.members.len()).filter(|n| !self.members[*n].wiped).collect::<Vec<_>>()
        {
            self.clients.push(Client::new(member, true));
            let client = self.clients.len() - 1;
            self.plan_in(MILLISECOND, Happening::Wake { client });
        }
        let deadline = self.now() + PATIENCE;
        while self.clients[first..].iter().any(|client| client.answered == 0) {
            if self.now() >= deadline {
                let stuck: Vec<_> = self.clients[first..]
                    .iter()
                    .filter(|client| client.answered == 0)
                    .map(|client| client.member + 1)
                    .collect();
                return Err(format!(
                    "no progress: {} s after everything was healed, no write succeeded via \
                     {stuck:?}",
                    PATIENCE / SECOND
                ));
            }
            self.run_for(100 * MILLISECOND)?;
        }
        Ok(())
    }

    /// In silence, all members come to hold the same, and the wiped ones notice that they are.
    fn become_equal(&mut self) -> Result<(), String> {
        self.quiet = true;
        let deadline = self.now() + PATIENCE;
        loop {
            self.run_for(100 * MILLISECOND)?;
            let Some(difference) = self.difference() else { return Ok(()) };
            if self.now() >= deadline {
                return Err(format!("{difference}, {} s after the last write", PATIENCE / SECOND));
            }
        }
    }

    /// Nobody keeps leases alive any more: all of them end, on all members.
    fn leases_end(&mut self) -> Result<(), String> {
        // The slowest clock takes 5/4 of the time.
        let deadline = self.now() + LEASE_SECONDS_MAX * SECOND * 5 / 4 + LEASE_PATIENCE;
        while let Some(lease) = self.history.any_lease() {
            if self.now() >= deadline {
                return Err(format!(
                    "lease {lease} still lives, though it was due {} s ago",
                    LEASE_PATIENCE / SECOND
                ));
            }
            self.run_for(100 * MILLISECOND)?;
        }
        self.become_equal()
    }

    fn difference(&self) -> Option<String> {
        let end = self.agreement.end();
        if self.history.acknowledged() > end {
            return Some(format!("acknowledged above {end}, where the log ends"));
        }
        self.members.iter().enumerate().find_map(|(member, it)| {
            let number = member + 1;
            let next = self.agreement.next(member);
            match (&it.process, it.wiped) {
                (None, true) => None,
                (Some(_), true) => Some(format!("member {number} lost its disk and still runs")),
                (None, false) => Some(format!("member {number} does not run")),
                (Some(_), false) if next != end => {
                    Some(format!("member {number} has applied up to {next}, others up to {end}"))
                }
                (Some(_), false) => None,
            }
        })
    }

    fn something_happened(&self) -> Result<(), String> {
        let counts = self.history.counts();
        if counts.writes < WRITES_MIN {
            return Err(format!(
                "the run proves nothing: {} writes were answered, at least {WRITES_MIN} must be",
                counts.writes
            ));
        }
        Ok(())
    }

    fn run_for(&mut self, span: Micros) -> Result<(), String> {
        self.run_until(self.now() + span)
    }

    fn into_report(self) -> Report {
        let counts = self.history.counts();
        Report {
            events: self.trace.events(),
            hash: self.trace.hash(),
            virtual_time: Duration::from_micros(self.queue.now()),
            acknowledged: counts.writes,
            reads: counts.reads,
            unknown: counts.unknown,
            never_applied: counts.never_applied,
            slots: self.agreement.end().as_u64() - 1,
            leader_changes: self.agreement.elections(),
            ..self.report
        }
    }
}

thread_local! {
    static RUNNING: Cell<Option<String>> = const { Cell::new(None) };
    static PANICKED_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// While a seed runs, a panic tells how to replay it; other panics are told as ever.
fn announce_seeds_of_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match RUNNING.with(Cell::take) {
            None => usual(info),
            Some(command) => {
                let place = info.location().map(ToString::to_string);
                PANICKED_AT.with(|at| at.set(place));
                if cfg!(panic = "abort") {
                    usual(info);
                    eprintln!("To replay: {command}");
                }
            }
        }));
    });
}

fn micros(span: Duration) -> Micros {
    Micros::try_from(span.as_micros()).unwrap_or(Micros::MAX)
}

/// Until then the network is calm, so that the members meet.
const CALM_UNTIL: Micros = 3 * SECOND / 2;

/// How long healing and becoming equal may take.
const PATIENCE: Micros = 30 * SECOND;

/// How late a lease may end when everything works. The log's time stands still while nobody leads,
/// and messages that are very late may still cost a leader its place.
const LEASE_PATIENCE: Micros = 10 * SECOND;

/// Fewer answered writes prove nothing.
const WRITES_MIN: u64 = 1;
