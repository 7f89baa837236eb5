//! The faults that strike members, links and disks while a world runs.
//!
//! Every kind that the plan has turned on strikes again and again, at random moments. Crashes come
//! at any boundary: between two events, in the middle of a call of the log (the power goes off
//! after some more writes), or in a trap that waits for a telling moment, such as a vote that has
//! just left.

use synod_kv::MemoryEngine;
use synod_paxos::{HaltReason, Incarnation};

use crate::disk::SimDisk;
use crate::faults::Fault;
use crate::member::Trap;
use crate::plan::SYNC_MEAN_CALM;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::world::{Happening, World};

impl World {
    /// The faults begin.
    pub(crate) fn unleash(&mut self) {
        self.network.set_weather(self.plan.weather.clone());
        self.sync_mean = self.plan.sync_mean;
        for fault in self.plan.faults.iter() {
            let span = self.chance.below(self.plan.fault_every * 2);
            self.plan_in(span, Happening::Strike(fault));
        }
    }

    /// One fault of a kind strikes, and the next one is planned.
    pub(crate) fn strike(&mut self, fault: Fault) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        let rarer = if matches!(fault, Fault::PowerCut | Fault::Wipe) { 4 } else { 1 };
        let span = self.chance.span(self.plan.fault_every * rarer);
        self.plan_in(span, Happening::Strike(fault));
        match fault {
            Fault::Crash => return self.strike_crash(),
            Fault::PowerCut => return self.cut_power(),
            Fault::Pause => self.pause(),
            Fault::Partition => self.partition(),
            Fault::OneWay => self.cut_one_way(),
            Fault::Clog => self.clog(),
            Fault::SlowDisk => self.slow_disk(),
            Fault::FailedSync => {
                let member = self.any_member();
                if self.members[member].process.is_some() {
                    self.members[member].disk.fail_next_sync();
                }
            }
            Fault::Wipe => self.wipe(),
            Fault::Transfer => {
                let to = self.any_member();
                let to = self.chance.per_mille(700).then_some(to);
                let member = self.likely_leader();
                self.note_fault(format!("{} is asked to hand over to {to:?}", member + 1));
                self.plan_in(0, Happening::Transfer { member, to });
            }
            Fault::Duel => self.begin_duel(),
            Fault::Unreachable if self.chance.per_mille(500) => self.shut_off_leader(),
            Fault::Unreachable => {
                let (member, peer) = (self.any_member(), self.any_member());
                if member != peer {
                    self.note_fault(format!("{} is told that {} is gone", member + 1, peer + 1));
                    self.plan_in(0, Happening::Unreachable { member, peer });
                }
            }
            // These are always on, once they are.
            Fault::Loss | Fault::Duplication | Fault::Reorder | Fault::Delay | Fault::Clock => {}
        }
        Ok(())
    }

    /// The process ends. Either the machine goes down with it, or the system keeps what was
    /// written.
    pub(crate) fn crash_somehow(&mut self, member: usize) -> Result<(), String> {
        let power = self.chance.per_mille(700);
        self.crash(member, power);
        Ok(())
    }

    /// The process ends, and starts again later.
    pub(crate) fn crash(&mut self, member: usize, power: bool) {
        let down = *self.chance.pick(&[MILLISECOND, 50 * MILLISECOND, SECOND, 4 * SECOND]);
        let down = self.chance.between(MILLISECOND / 2, down);
        self.end_process(member, power);
        self.plan_in(down, Happening::Restart { member });
        self.tell_peers(member);
    }

    /// The member stops for good, as the core asks for it.
    pub(crate) fn halt(&mut self, member: usize, reason: &HaltReason) -> Result<(), String> {
        if !self.members[member].wiped {
            return Err(format!("member {} must stop: {reason}", member + 1));
        }
        self.note_fault(format!("{} halts: {reason}", member + 1));
        self.members[member].retired = true;
        self.end_process(member, false);
        Ok(())
    }

    /// No more faults: everything works from now on, and who may start does.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.note_fault("everything is healed".to_owned());
        self.network.heal();
        self.sync_mean = SYNC_MEAN_CALM;
        for member in 0..self.members.len() {
            let it = &mut self.members[member];
            it.trap = None;
            it.disk.disarm();
            self.speed_up(member);
            self.plan_in(0, Happening::Resume { member });
            let span = self.chance.below(100 * MILLISECOND);
            self.plan_in(span, Happening::Restart { member });
        }
    }

    fn end_process(&mut self, member: usize, power: bool) {
        let it = &mut self.members[member];
        let power = power || it.disk.has_failed();
        if power {
            it.disk.crash();
        } else {
            it.disk.disarm();
        }
        it.trap = None;
        it.paused = None;
        if it.process.take().is_some() {
            self.report.crashes += 1;
            let how = if power { "loses power" } else { "is killed" };
            self.note_fault(format!("{} {how}", member + 1));
        }
    }

    /// The connections of those who can reach the machine break, so they know.
    fn tell_peers(&mut self, gone: usize) {
        for member in 0..self.members.len() {
            let reachable =
                self.network.is_open(gone, member) && self.network.is_open(member, gone);
            let span = self.chance.between(100, 5 * MILLISECOND);
            if member != gone && reachable && self.chance.per_mille(700) {
                self.plan_in(span, Happening::Unreachable { member, peer: gone });
            }
        }
    }

    fn strike_crash(&mut self) -> Result<(), String> {
        let member =
            if self.chance.per_mille(500) { self.likely_leader() } else { self.any_member() };
        let traps = [Trap::Voted, Trap::Asked, Trap::BeforeSync, Trap::AfterSync, Trap::Applied];
        if self.chance.per_mille(400) {
            return self.crash_somehow(member);
        }
        if self.chance.per_mille(300) {
            let changes = self.chance.between(1, 12);
            self.members[member].disk.cut_power_after(changes);
        } else {
            self.members[member].trap = Some(*self.chance.pick(&traps));
        }
        Ok(())
    }

    fn cut_power(&mut self) -> Result<(), String> {
        self.note_fault("the power goes off everywhere".to_owned());
        for member in 0..self.members.len() {
            self.crash(member, true);
        }
        Ok(())
    }

    fn pause(&mut self) {
        let member =
            if self.chance.per_mille(500) { self.likely_leader() } else { self.any_member() };
        let long = *self.chance.pick(&[100 * MILLISECOND, SECOND, 5 * SECOND]);
        let span = self.chance.between(MILLISECOND, long);
        let it = &mut self.members[member];
        if it.is_awake() {
            it.paused = Some(Vec::new());
            self.report.pauses += 1;
            self.note_fault(format!("{} is paused", member + 1));
            self.plan_in(span, Happening::Resume { member });
        }
    }

    fn partition(&mut self) {
        let side: Vec<bool> = self.members.iter().map(|_| self.chance.per_mille(500)).collect();
        let leader = self.likely_leader();
        let isolate = self.chance.per_mille(300);
        let side_of = |member: usize| if isolate { member == leader } else { side[member] };
        for (from, to) in pairs(side.len()) {
            if side_of(from) != side_of(to) {
                self.network.set_cut(from, to, true);
            }
        }
        self.report.partitions += 1;
        let sides: Vec<_> = (0..side.len()).map(|member| u8::from(side_of(member))).collect();
        self.note_fault(format!("the network is parted: {sides:?}"));
        self.mend_later();
    }

    fn cut_one_way(&mut self) {
        let chance = *self.chance.pick(&[150, 300, 500]);
        let mut cut = Vec::new();
        for (from, to) in pairs(self.members.len()) {
            if self.chance.per_mille(chance) {
                self.network.set_cut(from, to, true);
                cut.push(format!("{}->{}", from + 1, to + 1));
            }
        }
        self.report.partitions += 1;
        self.note_fault(format!("links are cut: {}", cut.join(" ")));
        self.mend_later();
    }

    /// Nobody reaches the leader any more, and all others know at once: they elect another one
    /// while it still believes that it leads.
    fn shut_off_leader(&mut self) {
        let leader = self.likely_leader();
        self.note_fault(format!("{} is shut off, and the others know", leader + 1));
        for member in (0..self.members.len()).filter(|member| *member != leader) {
            self.network.set_cut(leader, member, true);
            self.network.set_cut(member, leader, true);
            self.plan_in(MILLISECOND, Happening::Unreachable { member, peer: leader });
        }
        self.mend_later();
    }

    fn mend_later(&mut self) {
        let long = *self.chance.pick(&[500 * MILLISECOND, 2 * SECOND, 6 * SECOND]);
        let span = self.chance.between(10 * MILLISECOND, long);
        self.plan_in(span, Happening::Mend);
    }

    /// Swizzle: links are clogged one after the other, and opened in another order.
    fn clog(&mut self) {
        let mut links: Vec<_> = pairs(self.members.len()).collect();
        self.chance.shuffle(&mut links);
        links.truncate(links.len().div_ceil(2));
        self.note_fault(format!("{} links are clogged", links.len()));
        let all_clogged = self.now() + SECOND;
        for (from, to) in links {
            let span = self.chance.below(SECOND);
            let until: Micros = all_clogged + self.chance.below(2 * SECOND);
            self.plan_in(span, Happening::Clog { from, to, until });
        }
    }

    fn slow_disk(&mut self) {
        let member = self.any_member();
        self.members[member].disk_slowness = self.chance.between(2, 30);
        let span = self.chance.between(100 * MILLISECOND, 4 * SECOND);
        self.plan_in(span, Happening::SpeedUp { member });
    }

    /// A member loses its disk, if a minority only has lost theirs and all had met before.
    fn wipe(&mut self) {
        let member = self.any_member();
        let wiped = self.members.iter().filter(|it| it.wiped).count();
        let formed = self.members.iter().all(|it| {
            it.wiped || it.process.as_ref().is_some_and(|it| it.driver.replica().is_formed())
        });
        if (wiped + 1) * 2 >= self.members.len() || self.members[member].wiped || !formed {
            return;
        }
        self.crash(member, true);
        self.report.wipes += 1;
        self.note_fault(format!("{} has lost its disk", member + 1));
        let domain = format!("new disk {member}");
        let (seed, incarnation) = (self.seed, self.chance.next_u64());
        let it = &mut self.members[member];
        it.disk = SimDisk::new(seed, &domain);
        it.engine = MemoryEngine::new();
        it.incarnation = Incarnation::new(incarnation);
        it.wiped = true;
    }

    fn any_member(&mut self) -> usize {
        self.chance.index(self.members.len())
    }

    /// A member that leads, or any if none does.
    pub(crate) fn likely_leader(&mut self) -> usize {
        let any = self.any_member();
        let leads = |place: &usize| {
            let process = self.members[*place].process.as_ref();
            process.is_some_and(|process| process.driver.replica().is_leader())
        };
        (0..self.members.len()).find(leads).unwrap_or(any)
    }
}

/// All directed links.
pub(crate) fn pairs(members: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..members)
        .flat_map(move |from| (0..members).filter(move |to| *to != from).map(move |to| (from, to)))
}
