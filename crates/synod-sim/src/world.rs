//! A world: members, network, disks, clients and faults in one virtual time.
//!
//! One loop takes the next event and lets its member, client or fault act. After every round of a
//! member its outputs are carried out and the checkers look at what it did.

use std::mem;

use synod_kv::FlushLimits;
use synod_paxos::{Incarnation, Message, Options as CoreOptions, Peer, ReplicaId, ReplicaSet};

use crate::agreement::Agreement;
use crate::client::Client;
use crate::disk::SimDisk;
use crate::faults::Fault;
use crate::history::History;
use crate::lease::LeaseOutcome;
use crate::lease_mutants::LeaseMutant;
use crate::member::{Asker, Group, Job, Member, Outcome, Refusal, Start, Trap};
use crate::network::{Fate, Network};
use crate::operation::{Answer, Outcome as Became};
use crate::plan::{Plan, SYNC_MEAN_CALM};
use crate::queue::{MILLISECOND, Micros, Queue, SECOND};
use crate::random::Random;
use crate::report::{Options, Report};
use crate::trace::{Gist, Note, Trace};

/// Something that happens at some moment.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A message arrives.
    Deliver { from: usize, peer: Peer, to: usize, message: Message },
    /// A member's timer is due.
    Tick { member: usize, life: u64 },
    /// The time of a sync is over.
    Synced { member: usize, life: u64, group: u64 },
    /// A member looks whether leases are due.
    Look { member: usize, life: u64 },
    /// The driver hears what the log did.
    Done { member: usize, life: u64, group: Group },
    /// A member's store writes to its engine.
    Checkpoint { member: usize },
    /// A member is told that another is gone.
    Unreachable { member: usize, peer: usize },
    /// A member is asked to hand over.
    Transfer { member: usize, to: Option<usize> },
    /// A process starts.
    Restart { member: usize },
    /// A paused process goes on.
    Resume { member: usize },
    /// A client asks.
    Wake { client: usize },
    /// A request reaches a member.
    Request { member: usize, number: u64 },
    /// An answer reaches a client.
    Told { number: u64, outcome: Outcome },
    /// A client waits no longer.
    GiveUp { number: u64 },
    /// A fault of this kind happens.
    Strike(Fault),
    /// Cut links are mended.
    Mend,
    /// A link is clogged.
    Clog { from: usize, to: usize, until: Micros },
    /// A disk is as fast as planned again.
    SpeedUp { member: usize },
}

/// All there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) queue: Queue<Happening>,
    pub(crate) members: Vec<Member>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    /// The client that asked for each operation; none if a member did by itself.
    pub(crate) askers: Vec<Option<usize>>,
    pub(crate) agreement: Agreement,
    pub(crate) history: History,
    pub(crate) trace: Trace,
    pub(crate) report: Report,
    /// Chance of faults.
    pub(crate) chance: Random,
    /// Chance of members: how long syncs take, who they are.
    machines: Random,
    /// Chance of clients.
    requests: Random,
    /// The mean time of a sync at present.
    pub(crate) sync_mean: Micros,
    /// Until then, whoever is elected has a rival.
    pub(crate) duel_ends: Micros,
    /// No faults happen any more.
    pub(crate) healed: bool,
    /// Clients ask nothing any more.
    pub(crate) quiet: bool,
    /// Where all chance comes from.
    pub(crate) seed: u64,
    core: CoreOptions,
    lease_mutant: Option<LeaseMutant>,
}

impl World {
    /// The world of a seed, before anything happens.
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let plan = Plan::draw(seed, options.members, options.without);
        #[cfg_attr(not(feature = "mutants"), expect(unused_mut, reason = "see the feature"))]
        let mut core = plan.core.clone();
        #[cfg(feature = "mutants")]
        {
            core.mutant = options.mutant;
        }
        #[cfg(feature = "mutants")]
        let lease_mutant = options.lease_mutant;
        #[cfg(not(feature = "mutants"))]
        let lease_mutant = None;
        let mut machines = Random::new(seed, "machines");
        let members = (0..plan.members).map(|n| new_member(seed, n, &plan, &mut machines));
        let members: Vec<Member> = members.collect();
        let clients = (0..plan.clients).map(|n| Client::new(n % plan.members, false)).collect();
        let report =
            Report { seed, members: plan.members, faults: plan.faults, ..Report::default() };
        Self {
            queue: Queue::new(),
            network: Network::new(seed, plan.members),
            members,
            clients,
            askers: Vec::new(),
            agreement: Agreement::default(),
            history: History::new(),
            trace: Trace::new(options.trace),
            report,
            chance: Random::new(seed, "faults"),
            machines,
            requests: Random::new(seed, "requests"),
            sync_mean: SYNC_MEAN_CALM,
            duel_ends: 0,
            healed: false,
            quiet: false,
            seed,
            plan,
            core,
            lease_mutant,
        }
    }

    /// Virtual time.
    pub(crate) const fn now(&self) -> Micros {
        self.queue.now()
    }

    /// Plans something after a span of time.
    pub(crate) fn plan_in(&mut self, span: Micros, happening: Happening) {
        self.queue.push(self.now() + span, happening);
    }

    /// Lets everything happen until that time.
    pub(crate) fn run_until(&mut self, until: Micros) -> Result<(), String> {
        while let Some(happening) = self.queue.pop_until(until) {
            self.happen(happening)?;
        }
        Ok(())
    }

    /// Tells of a fault, in the trace.
    pub(crate) fn note_fault(&mut self, what: String) {
        self.trace.note(self.now(), Note::Fault { what });
    }

    /// Starts members and clients.
    pub(crate) fn begin(&mut self) {
        for member in 0..self.members.len() {
            let (span, first) = (self.machines.below(50_000), self.machines.below(SECOND));
            self.plan_in(span, Happening::Restart { member });
            self.plan_in(first, Happening::Checkpoint { member });
        }
        for client in 0..self.clients.len() {
            let span = self.requests.below(SECOND);
            self.plan_in(span, Happening::Wake { client });
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        let happening = match self.member_of(&happening) {
            Some(member) => match &mut self.members[member].paused {
                Some(inbox) => {
                    // A socket's buffer has an end.
                    if inbox.len() < INBOX_MAX {
                        inbox.push(happening);
                    }
                    return Ok(());
                }
                None => happening,
            },
            None => happening,
        };
        match happening {
            Happening::Synced { member, life, group } => self.end_sync(member, life, group),
            Happening::Checkpoint { member } => self.checkpoint(member),
            Happening::Restart { member } => self.restart(member),
            Happening::Resume { member } => self.resume(member),
            Happening::Wake { client } => {
                self.ask(client);
                Ok(())
            }
            Happening::Told { number, outcome } => self.tell(number, &outcome),
            Happening::GiveUp { number } => {
                self.give_up(number);
                Ok(())
            }
            Happening::Strike(fault) => self.strike(fault),
            Happening::Mend => {
                self.note_fault("links are mended".to_owned());
                self.network.mend();
                Ok(())
            }
            Happening::Clog { from, to, until } => {
                self.network.clog(from, to, until);
                Ok(())
            }
            Happening::SpeedUp { member } => {
                self.speed_up(member);
                Ok(())
            }
            input => match self.feed(input) {
                Some(member) => self.finish_round(member),
                None => Ok(()),
            },
        }
    }

    /// The member whose process this is for.
    fn member_of(&self, happening: &Happening) -> Option<usize> {
        match happening {
            Happening::Deliver { to: member, .. }
            | Happening::Tick { member, .. }
            | Happening::Synced { member, .. }
            | Happening::Look { member, .. }
            | Happening::Done { member, .. }
            | Happening::Unreachable { member, .. }
            | Happening::Transfer { member, .. }
            | Happening::Request { member, .. } => Some(*member),
            _ => None,
        }
    }

    /// Gives an input to a process; gives the member if there is one that took it.
    fn feed(&mut self, input: Happening) -> Option<usize> {
        let now = self.now();
        let member = self.member_of(&input)?;
        let clock_rate = self.members[member].clock_rate;
        let Some(process) = &mut self.members[member].process else {
            if let Happening::Request { number, .. } = input {
                let outcome = Err(Refusal::Down);
                self.plan_in(CLIENT_DELAY, Happening::Told { number, outcome });
            }
            return None;
        };
        let local = process.local(now, clock_rate);
        match input {
            Happening::Deliver { from, peer, to, message } => {
                let gist = Gist::of(&message);
                self.trace.note(now, Note::Arrives { from, to, message: gist });
                process.driver.handle_message(local, peer, message);
            }
            Happening::Tick { life, .. } => {
                if life != process.life || process.tick_at != now {
                    return None;
                }
                process.tick_at = Micros::MAX;
                process.driver.handle_tick(local);
            }
            Happening::Look { life, .. } => {
                if life != process.life || process.look_at != now {
                    return None;
                }
                process.look_at = Micros::MAX;
            }
            Happening::Done { life, group, .. } => {
                if life != process.life {
                    return None;
                }
                if let Some(last) = group.last {
                    let record = last.as_u64();
                    self.trace.note(now, Note::Durable { member, record });
                    process.driver.handle_persisted(local, last);
                }
                let (soft, hard) = group.bounds;
                process.driver.handle_log_bounds(soft, hard);
                for (to, from) in group.unserved {
                    process.driver.handle_unserved(local, to, from);
                }
                for (to, page) in group.pages {
                    self.report.pages += 1;
                    let message = Message::SnapshotPage(page);
                    process.wishes.messages.push((ReplicaSet::from(to), message));
                }
                for taken in group.taken {
                    process.driver.handle_taken(local, taken);
                }
                for (to, learned) in group.served {
                    self.report.served += 1;
                    let to = ReplicaSet::from(to);
                    process.wishes.messages.push((to, Message::Learned(learned)));
                }
            }
            Happening::Unreachable { peer, .. } => {
                process.driver.handle_unreachable(local, replica(peer));
            }
            Happening::Transfer { to, .. } => {
                process.driver.transfer(local, to.map(replica));
            }
            Happening::Request { number, .. } => {
                let operation = self.history.operation(number).clone();
                let answers = process.answers.clone();
                let timeout = std::time::Duration::from_micros(self.plan.deadline);
                let payload = operation.payload(number);
                let local_read = operation.is_local();
                let asker = Asker { number, operation, answers };
                match payload {
                    Some(payload) => process.driver.propose(local, payload, timeout, asker),
                    None if local_read => asker.answer_from(process.driver.machine()),
                    None => process.driver.read(local, timeout, asker),
                }
            }
            _ => return None,
        }
        Some(member)
    }

    /// Carries out what a process wants, and checks what it did.
    pub(crate) fn finish_round(&mut self, member: usize) -> Result<(), String> {
        let now = self.now();
        let clock_rate = self.members[member].clock_rate;
        let Some(process) = &mut self.members[member].process else { return Ok(()) };
        let local = process.local(now, clock_rate);
        process.driver.machine_mut().set_local_time(local.as_micros() / 1000);
        process.driver.run_outputs(local, &mut process.wishes);
        process.driver.check_invariants();
        let messages = mem::take(&mut process.wishes.messages);
        let events = mem::take(&mut process.wishes.events);
        let halted = process.wishes.halted.take();
        let applied = process.driver.machine_mut().take_applied();
        let installed = process.driver.machine_mut().take_installed();
        let answers = mem::take(&mut *process.answers.borrow_mut());
        self.plan_tick(member);

        for event in events {
            self.agreement.event(member, replica(member), &event)?;
            if matches!(event, synod_paxos::Event::Elected { .. }) {
                self.join_duel(member);
            }
            if !matches!(event, synod_paxos::Event::Ignored { .. }) {
                let event = event.to_string();
                self.trace.note(now, Note::Core { member, event });
            }
        }
        let trap = self.members[member].trap;
        let mut trapped = false;
        for (end, digest) in installed {
            self.report.installs += 1;
            self.agreement.install(member, end, digest)?;
        }
        for slot in &applied {
            let (number, commands) = (slot.slot.as_u64(), slot.commands.len());
            self.trace.note(now, Note::Applied { member, slot: number, commands });
            self.agreement.apply(member, slot, &mut self.history)?;
            trapped |= trap == Some(Trap::Applied);
        }
        for (number, outcome) in answers {
            self.history.answer(number, &outcome)?;
            if let Some(process) = &mut self.members[member].process {
                process.expiring.answered(local, number, outcome.is_ok());
            }
            if let Ok(Answer { outcome: Became::Lease(LeaseOutcome::Expired(ids, _)), .. }) =
                &outcome
            {
                self.report.expired += ids.len() as u64;
            }
            self.plan_in(CLIENT_DELAY, Happening::Told { number, outcome });
        }
        self.look_for_due_leases(member, applied.last().map(|slot| slot.time));
        let silent = trapped && self.loses_duel(trap);
        for (to, message) in messages.into_iter().filter(|_| !silent) {
            trapped |= trap.is_some_and(|trap| trap.is_sprung_by(&message));
            self.send(member, &to, message)?;
        }
        if let Some(reason) = halted {
            return self.halt(member, &reason);
        }
        if trapped {
            self.note_fault(format!("{} is trapped: {trap:?}", member + 1));
            return self.crash_somehow(member);
        }
        self.begin_sync(member)
    }

    fn send(&mut self, from: usize, to: &ReplicaSet, message: Message) -> Result<(), String> {
        let votes = matches!(
            message,
            Message::Promise(_) | Message::Accepted(_) | Message::Prepare(_) | Message::Accept(_)
        );
        if votes && self.members[from].wiped {
            let gist = Gist::of(&message);
            return Err(format!("member {} lost its disk and sends: {gist}", from + 1));
        }
        let peer = self.members[from].peer();
        for id in to.iter() {
            let to = place(id);
            let arrives = |message| Happening::Deliver { from, peer, to, message };
            match self.network.send(self.queue.now(), from, to) {
                Fate::Lost => {
                    self.report.lost += 1;
                    let message = Gist::of(&message);
                    self.trace.note(self.queue.now(), Note::Lost { from, to, message });
                }
                Fate::Once(at) => self.queue.push(at, arrives(message.clone())),
                Fate::Twice(first, second) => {
                    self.queue.push(first, arrives(message.clone()));
                    self.queue.push(second, arrives(message.clone()));
                }
            }
        }
        Ok(())
    }

    fn plan_tick(&mut self, member: usize) {
        let now = self.now();
        let clock_rate = self.members[member].clock_rate;
        let Some(process) = &mut self.members[member].process else { return };
        let at = process.global(process.driver.next_tick(), clock_rate).max(now + 1);
        if at < process.tick_at {
            process.tick_at = at;
            let life = process.life;
            self.queue.push(at, Happening::Tick { member, life });
        }
    }

    /// The log takes what waits, if it is idle.
    fn begin_sync(&mut self, member: usize) -> Result<(), String> {
        let Some(process) = &mut self.members[member].process else { return Ok(()) };
        if !process.log_is_due() {
            return Ok(());
        }
        let life = process.life;
        let trims = process.wishes.jobs.iter().filter(|job| matches!(job, Job::Trim(_))).count();
        self.report.trims += trims as u64;
        match process.begin_group() {
            Err(error) => self.log_failed(member, &error),
            Ok(needs_sync) => {
                let group = process.groups;
                let mean = self.sync_mean * self.members[member].disk_slowness;
                let span = self.machines.span(mean);
                let span = if needs_sync { span } else { 10 };
                self.plan_in(span, Happening::Synced { member, life, group });
                Ok(())
            }
        }
    }

    /// The disk is as fast as planned, also for what it is at work on: a sync that was begun on a
    /// slow one could last longer than the time for progress after everything was healed.
    pub(crate) fn speed_up(&mut self, member: usize) {
        self.members[member].disk_slowness = 1;
        let Some(process) = &self.members[member].process else { return };
        if process.is_syncing() {
            let (life, group) = (process.life, process.groups);
            let span = self.machines.span(self.sync_mean);
            self.plan_in(span, Happening::Synced { member, life, group });
        }
    }

    fn end_sync(&mut self, member: usize, life: u64, group: u64) -> Result<(), String> {
        let trap = self.members[member].trap;
        let Some(process) = &mut self.members[member].process else { return Ok(()) };
        if process.life != life || process.groups != group || !process.is_syncing() {
            return Ok(());
        }
        if trap == Some(Trap::BeforeSync) {
            self.note_fault(format!("{} is trapped before a sync", member + 1));
            return self.crash_somehow(member);
        }
        match process.end_group() {
            Err(error) => self.log_failed(member, &error),
            Ok(_) if trap == Some(Trap::AfterSync) => {
                self.note_fault(format!("{} is trapped after a sync", member + 1));
                self.crash_somehow(member)
            }
            Ok(group) => {
                let late = self.machines.per_mille(50);
                let span = if late { self.machines.below(20 * MILLISECOND) } else { 5 };
                // Groups are told in their order.
                let at = (self.now() + span).max(process_told_at(&self.members[member]));
                if let Some(process) = &mut self.members[member].process {
                    process.told_at = at;
                }
                self.queue.push(at, Happening::Done { member, life, group });
                self.begin_sync(member)
            }
        }
    }

    fn log_failed(&mut self, member: usize, error: &str) -> Result<(), String> {
        if !self.members[member].disk.has_failed() {
            return Err(format!("the log of member {} failed on a good disk: {error}", member + 1));
        }
        self.note_fault(format!("the log of {} fails: {error}", member + 1));
        self.crash(member, true);
        Ok(())
    }

    fn checkpoint(&mut self, member: usize) -> Result<(), String> {
        let span = self.machines.span(self.plan.checkpoint_every);
        let rows_max = *self.machines.pick(&[1, 20, 4096]);
        self.plan_in(span, Happening::Checkpoint { member });
        if !self.members[member].is_awake() {
            return Ok(());
        }
        let forgets = self.machines.per_mille(100);
        let Some(process) = &mut self.members[member].process else { return Ok(()) };
        if forgets {
            process.shelf.forget_unused();
        }
        let limits = FlushLimits { rows_max, ..FlushLimits::default() };
        process.driver.machine_mut().checkpoint(limits)
    }

    fn restart(&mut self, member: usize) -> Result<(), String> {
        let start = Start {
            life: self.machines.next_u64(),
            seed: self.machines.next_u64(),
            members: (0..self.members.len()).map(replica).collect(),
            core: self.core.clone(),
            segment_bytes: self.plan.segment_bytes,
            log_bytes_max: self.plan.log_bytes_max,
            lease_mutant: self.lease_mutant,
            now: self.now(),
        };
        let it = &mut self.members[member];
        if it.process.is_some() || it.retired {
            return Ok(());
        }
        if let Err(error) = it.start(start) {
            return self.log_failed(member, &error);
        }
        let applied = it.process.as_ref().map(|process| process.driver.applied_watermark());
        self.agreement.start(member, applied.unwrap_or_default())?;
        self.note_fault(format!("{} starts", member + 1));
        self.finish_round(member)
    }

    fn resume(&mut self, member: usize) -> Result<(), String> {
        let Some(inbox) = self.members[member].paused.take() else { return Ok(()) };
        self.note_fault(format!("{} goes on, {} events wait", member + 1, inbox.len()));
        // As in production: what the log did comes first, and the clock is looked at last.
        let (log, inputs): (Vec<_>, Vec<_>) = inbox
            .into_iter()
            .partition(|it| matches!(it, Happening::Synced { .. } | Happening::Done { .. }));
        for happening in log {
            self.happen(happening)?;
        }
        for input in inputs {
            if !matches!(input, Happening::Tick { .. }) {
                self.feed(input);
            }
        }
        let now = self.now();
        let it = &mut self.members[member];
        if let Some(process) = &mut it.process {
            (process.tick_at, process.look_at) = (Micros::MAX, Micros::MAX);
            let local = process.local(now, it.clock_rate);
            process.driver.handle_tick(local);
        }
        self.finish_round(member)
    }

    fn ask(&mut self, client: usize) {
        if self.clients[client].waiting.is_some() || (self.healed && !self.clients[client].probe) {
            return;
        }
        if self.quiet || (self.clients[client].probe && self.clients[client].answered > 0) {
            return;
        }
        let value = self.askers.len() as u64;
        let operation = self.clients[client].choose(&mut self.requests, &self.plan, value);
        let member = self.clients[client].member;
        let request = operation.to_string();
        self.trace.note(self.now(), Note::Asks { client, member, request });
        let number = self.history.ask(operation);
        self.askers.push(Some(client));
        self.clients[client].waiting = Some(number);
        self.plan_in(CLIENT_DELAY, Happening::Request { member, number });
        let patience = self.plan.deadline * 2 + self.requests.below(SECOND);
        self.plan_in(patience, Happening::GiveUp { number });
    }

    fn tell(&mut self, number: u64, outcome: &Outcome) -> Result<(), String> {
        if let Err(Refusal::Down) = outcome {
            self.history.answer(number, outcome)?;
        }
        let Some(client) = self.waiting_for(number) else { return Ok(()) };
        self.clients[client].waiting = None;
        let answer = match outcome {
            Ok(answer) => answer.to_string(),
            Err(refusal) => format!("{refusal:?}"),
        };
        self.trace.note(self.now(), Note::Answered { client, answer });
        match outcome {
            Ok(answer) => self.clients[client].learn(self.history.operation(number), answer),
            Err(_) => self.move_on(client),
        }
        let span = self.requests.span(self.plan.think_mean);
        self.plan_in(span, Happening::Wake { client });
        Ok(())
    }

    fn give_up(&mut self, number: u64) {
        if let Some(client) = self.waiting_for(number) {
            self.clients[client].waiting = None;
            self.history.give_up();
            self.trace.note(self.now(), Note::Answered { client, answer: "gave up".to_owned() });
            self.move_on(client);
            self.plan_in(MILLISECOND, Happening::Wake { client });
        }
    }

    fn move_on(&mut self, client: usize) {
        let other = self.requests.index(self.members.len());
        if !self.clients[client].probe {
            self.clients[client].member = other;
        }
    }

    /// The client that waits for the answer to an operation.
    fn waiting_for(&self, number: u64) -> Option<usize> {
        let asker = self.askers[usize::try_from(number).expect("numbers are places in a list")];
        asker.filter(|client| self.clients[*client].waiting == Some(number))
    }
}

fn new_member(seed: u64, n: usize, plan: &Plan, machines: &mut Random) -> Member {
    Member {
        id: replica(n),
        disk: SimDisk::new(seed, &format!("disk {n}")),
        incarnation: Incarnation::new(machines.next_u64()),
        engine: synod_kv::MemoryEngine::new(),
        clock_rate: plan.clock_rates.get(n).copied().unwrap_or(1000),
        wiped: false,
        retired: false,
        disk_slowness: 1,
        trap: None,
        paused: None,
        process: None,
    }
}

fn process_told_at(member: &Member) -> Micros {
    member.process.as_ref().map_or(0, |process| process.told_at)
}

/// The id of a member, by its place.
pub(crate) fn replica(place: usize) -> ReplicaId {
    ReplicaId::new(place as u64 + 1)
}

/// The place of a member, by its id.
fn place(id: ReplicaId) -> usize {
    usize::try_from(id.as_u64() - 1).expect("members are few")
}

/// Between a client and a member.
const CLIENT_DELAY: Micros = 200;

/// What waits for a paused process at most.
const INBOX_MAX: usize = 4096;
