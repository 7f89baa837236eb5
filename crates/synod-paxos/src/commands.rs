//! Own commands: those that this member took from its clients, until they are settled.
//!
//! A command is sent to the leader of one ballot, and may first be proposed in that ballot only. So
//! when the barrier of a higher ballot is applied and the command is not, any batch that holds it
//! is void (see [`Batch::ballot`](crate::Batch::ballot)), and it may be sent to the new leader: it
//! is applied at most once, though its client waits through the change of leader without noticing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::event::{Ignored, StepDown};
use crate::ids::{Ballot, ReplicaId};
use crate::message::{Forward, Message};
use crate::proposer::Proposer;
use crate::replica::{Busy, Replica, Withdrawal};
use crate::time::Time;
use crate::value::{Command, CommandId, Value};

/// The commands of this life that are not settled.
///
/// Invariant: a number in `unsent` has `sent: None`, and each such number is there once.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub(crate) struct OwnCommands {
    last_number: u64,
    waiting: BTreeMap<u64, Own>,
    waiting_bytes: usize,
    /// Of those, how many were lost, and their bytes.
    lost: (usize, usize),
    unsent: VecDeque<u64>,
    stream: Stream,
}

#[derive(Clone, Debug, Eq, PartialEq, Hash)]
struct Own {
    payload: Bytes,
    /// The only ballot in which it can be proposed by now.
    sent: Option<Ballot>,
    /// Its client has gone; it only waits to be settled.
    withdrawn: bool,
    /// A snapshot may have passed over it: then it is not seen applied, and ends with the next of
    /// its stream that is.
    lost: bool,
}

/// What was forwarded to the leader of a ballot, in the order of its sequence numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
struct Stream {
    ballot: Ballot,
    next: u64,
    unsettled: VecDeque<(u64, u64)>,
    progress: Time,
}

impl Replica {
    /// Takes a command. It is applied at most once; when it is, [`Output::Apply`] brings it with
    /// this id.
    ///
    /// # Errors
    /// [`Busy`] if too many commands, or bytes of commands, wait already.
    ///
    /// [`Output::Apply`]: crate::Output::Apply
    pub fn propose(&mut self, now: Time, payload: Bytes) -> Result<CommandId, Busy> {
        self.advance_clock(now);
        let own = &mut self.own;
        let (count_max, bytes_max) = (self.options.commands_max, self.options.commands_bytes_max);
        if !own.has_room_for(payload.len(), count_max, bytes_max) {
            return Err(Busy);
        }
        own.last_number += 1;
        own.waiting_bytes += payload.len();
        own.unsent.push_back(own.last_number);
        let waits = Own { payload, sent: None, withdrawn: false, lost: false };
        own.waiting.insert(own.last_number, waits);
        Ok(self.command_id(self.own.last_number))
    }

    /// Gives up waiting for a command.
    pub fn withdraw(&mut self, id: CommandId) -> Withdrawal {
        let Some(own) = self.own.waiting.get_mut(&id.number) else { return Withdrawal::Unknown };
        if own.sent.is_some() {
            own.withdrawn = true;
            return Withdrawal::Unknown;
        }
        self.own.forget(id.number);
        self.own.unsent.retain(|number| *number != id.number);
        Withdrawal::NeverApplied
    }

    pub(crate) fn command_id(&self, number: u64) -> CommandId {
        CommandId { replica: self.me(), life: self.identity.life, number }
    }

    /// Own commands in a chosen value are settled; a barrier settles all that were sent in a lower
    /// ballot and are not applied.
    pub(crate) fn settle_own_commands(&mut self, value: &Value) {
        match value {
            Value::Noop => {}
            Value::Batch(batch) => {
                let (me, life) = (self.me(), self.identity.life);
                for command in batch.commands.iter() {
                    if command.id.replica == me && command.id.life == life {
                        self.own.settle(command.id.number, self.now);
                    }
                }
            }
            Value::Barrier(ballot) => self.own.release_below(*ballot),
        }
    }

    /// Sends what was not sent yet to the leader, or to the own queue.
    pub(crate) fn dispatch_own_commands(&mut self) {
        let Some(ballot) = self.leader() else { return };
        if ballot.replica == self.me() {
            return self.queue_own_commands(ballot);
        }
        if self.own.stream.ballot != ballot {
            self.own.stream = Stream { ballot, ..Stream::default() };
        }
        let own = &mut self.own;
        if own.stream.unsettled.is_empty() {
            own.stream.progress = self.now;
        }
        let first = own.stream.unsettled.len();
        for number in own.unsent.drain(..) {
            let waiting = own.waiting.get_mut(&number).expect("an unsent command waits");
            waiting.sent = Some(ballot);
            own.stream.unsettled.push_back((own.stream.next, number));
            own.stream.next += 1;
        }
        self.forward_from(first);
    }

    /// Forwards what is not settled, from this place in the stream on, in portions.
    fn forward_from(&mut self, mut place: usize) {
        let (count_max, bytes_max) =
            (self.options.batch_commands_max, self.options.batch_bytes_max);
        let id = self.command_id(0);
        let own = &self.own;
        while let Some(&(sequence, _)) = own.stream.unsettled.get(place) {
            let (mut commands, mut bytes) = (Vec::new(), 0);
            for &(_, number) in own.stream.unsettled.range(place..).take(count_max) {
                // One that is settled already fills its place in the sequence; the leader has it.
                let payload = own.waiting.get(&number).map(|own| own.payload.clone());
                let payload = payload.unwrap_or_default();
                bytes += payload.len();
                if bytes > bytes_max && !commands.is_empty() {
                    break;
                }
                commands.push(Command { id: CommandId { number, ..id }, payload });
            }
            place += commands.len();
            let ballot = own.stream.ballot;
            let forward = Forward { ballot, sequence, commands };
            self.outputs.send(ballot.replica, Message::Forward(forward));
        }
    }

    fn queue_own_commands(&mut self, ballot: Ballot) {
        let (queue_max, bytes_max) = (self.options.queue_max, self.options.commands_bytes_max);
        while let Some(&number) = self.own.unsent.front() {
            let id = self.command_id(number);
            let Proposer::Leader(leader) = &mut self.proposer else { return };
            let own = self.own.waiting.get_mut(&number).expect("an unsent command waits");
            if leader.handing_over.is_some()
                || !leader.has_room_for(own.payload.len(), queue_max, bytes_max)
            {
                return;
            }
            own.sent = Some(ballot);
            leader.enqueue(Command { id, payload: own.payload.clone() });
            self.own.unsent.pop_front();
        }
    }

    /// Sends all again, from the first command that is not settled, if nothing moves: the leader
    /// takes nothing behind a gap.
    pub(crate) fn resend_own_commands(&mut self) {
        let stuck = self.now.since(self.own.stream.progress) >= self.options.resend_after();
        if stuck && self.leader() == Some(self.own.stream.ballot) {
            self.own.stream.progress = self.now;
            self.forward_from(0);
        }
    }

    /// As leader: takes the commands of a member that it has not taken yet, as far as there is
    /// room.
    pub(crate) fn on_forward(&mut self, from: ReplicaId, forward: Forward) {
        let Forward { ballot, sequence, commands } = forward;
        let leads = matches!(&self.proposer,
            Proposer::Leader(leader) if leader.ballot == ballot && leader.handing_over.is_none());
        if !leads {
            return self.ignore(from, "forward", Ignored::NotLeading);
        }
        let Some(life) = commands.first().map(|command| command.id.life) else {
            return self.ignore(from, "forward", Ignored::Malformed);
        };
        if commands.iter().any(|command| command.id.replica != from || command.id.life != life) {
            return self.ignore(from, "forward", Ignored::Malformed);
        }
        let Some(&mut taken) = self.taken_of(from, life) else {
            // It restarted a thousand times under this leader; a new ballot counts anew.
            self.ignore(from, "forward", Ignored::Full);
            return self.step_down(StepDown::NoQuorum);
        };
        if sequence > taken {
            return self.ignore(from, "forward", Ignored::OutOfBounds);
        }
        let known = usize::try_from(taken - sequence).unwrap_or(usize::MAX);
        let mut count = 0;
        let (queue_max, bytes_max) = (self.options.queue_max, self.options.commands_bytes_max);
        if let Proposer::Leader(leader) = &mut self.proposer {
            for command in commands.into_iter().skip(known) {
                if !leader.has_room_for(command.payload.len(), queue_max, bytes_max) {
                    break;
                }
                leader.enqueue(command);
                count += 1;
            }
        }
        if let Some(taken) = self.taken_of(from, life) {
            *taken += count;
        }
    }

    /// How many own commands wait to be applied.
    #[must_use]
    pub fn commands_waiting(&self) -> usize {
        self.own.waiting.len()
    }
}

impl OwnCommands {
    /// Those that were lost do not stand in the way of others, or a member that gets one snapshot
    /// after the other would take no more commands. They are bounded by themselves; at that bound
    /// one command at a time goes on, which ends them all when it is applied.
    fn has_room_for(&self, bytes: usize, count_max: usize, bytes_max: usize) -> bool {
        let (lost, lost_bytes) = self.lost;
        let live = self.waiting.len() - lost;
        let live_bytes = (self.waiting_bytes - lost_bytes).saturating_add(bytes);
        let lost_fit =
            lost <= count_max.saturating_mul(2) && lost_bytes <= bytes_max.saturating_mul(2);
        live < count_max && live_bytes <= bytes_max && (lost_fit || live == 0)
    }

    fn forget(&mut self, number: u64) -> Option<Own> {
        let own = self.waiting.remove(&number)?;
        self.waiting_bytes -= own.payload.len();
        if own.lost {
            self.lost.0 -= 1;
            self.lost.1 -= own.payload.len();
        }
        Some(own)
    }

    fn settle(&mut self, number: u64, now: Time) {
        let Some(own) = self.forget(number) else { return };
        assert!(own.sent.is_some(), "command {number} was applied though it was never sent");
        self.stream.progress = now;
        if own.sent == Some(self.stream.ballot) {
            self.settle_lost_before(number);
        }
        while let Some(&(_, number)) = self.stream.unsettled.front() {
            if self.waiting.contains_key(&number) {
                break;
            }
            self.stream.unsettled.pop_front();
        }
    }

    /// The leader takes and proposes the commands of a stream in order: those before one that is
    /// applied were applied too, and if they were not seen here, a snapshot passed over them.
    fn settle_lost_before(&mut self, number: u64) {
        if self.lost.0 == 0 {
            return;
        }
        let before = self.stream.unsettled.iter().map(|&(_, before)| before);
        let before = before.take_while(|&before| before != number);
        let is_lost = |number: &u64| self.waiting.get(number).is_some_and(|own| own.lost);
        for number in before.filter(is_lost).collect::<Vec<_>>() {
            self.forget(number);
        }
    }

    /// The values of a prefix with this barrier were passed over: whether commands that were sent
    /// are among them, nobody knows. Gives them. They are never sent in another ballot; in the one
    /// they were sent in, the leader takes each once, whatever becomes of their clients.
    pub(crate) fn lose_sent(&mut self, barrier: Ballot) -> Vec<u64> {
        let mut lost = Vec::new();
        for (number, own) in &mut self.waiting {
            if own.sent.is_none() {
                continue;
            }
            if !std::mem::replace(&mut own.withdrawn, true) {
                lost.push(*number);
            }
            if !std::mem::replace(&mut own.lost, true) {
                self.lost.0 += 1;
                self.lost.1 += own.payload.len();
            }
        }
        self.release_below(barrier);
        lost
    }

    /// Whatever was sent in a lower ballot is dead: the withdrawn ones end here, the others are to
    /// be sent again.
    fn release_below(&mut self, barrier: Ballot) {
        let dead: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, own)| own.sent.is_some_and(|ballot| ballot < barrier))
            .map(|(number, _)| *number)
            .collect();
        for &number in dead.iter().rev() {
            let own = self.waiting.get_mut(&number).expect("it was just found");
            own.sent = None;
            if own.withdrawn {
                self.forget(number);
            } else {
                self.unsent.push_front(number);
            }
        }
        if self.stream.ballot < barrier {
            self.stream = Stream::default();
        }
    }

    pub(crate) fn check_invariants(&self) {
        let bytes: usize = self.waiting.values().map(|own| own.payload.len()).sum();
        assert_eq!(bytes, self.waiting_bytes, "bytes of waiting commands");
        let lost = self.waiting.values().filter(|own| own.lost);
        let lost = lost.fold((0, 0), |(n, bytes), own| (n + 1, bytes + own.payload.len()));
        assert_eq!(lost, self.lost, "commands that were lost, and their bytes");
        let unsent = self.waiting.values().filter(|own| own.sent.is_none()).count();
        assert_eq!(unsent, self.unsent.len(), "each unsent command is queued once");
        for number in &self.unsent {
            assert!(self.waiting[number].sent.is_none(), "command {number} is queued though sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsent(payload: &'static [u8]) -> Own {
        let payload = Bytes::from_static(payload);
        Own { payload, sent: None, withdrawn: false, lost: false }
    }

    /// So many commands of four bytes, sent in a stream.
    fn sent(count: u64) -> OwnCommands {
        let ballot = Ballot { round: 1, replica: ReplicaId::new(2) };
        let mut own = OwnCommands::default();
        own.stream.ballot = ballot;
        for number in 1..=count {
            let sent = Own { sent: Some(ballot), ..unsent(b"four") };
            own.waiting_bytes += sent.payload.len();
            own.waiting.insert(number, sent);
            own.stream.unsettled.push_back((number - 1, number));
            own.last_number = number;
        }
        own
    }

    #[test]
    fn what_a_snapshot_passed_over_ends_with_the_next_that_is_applied() {
        let mut own = sent(3);
        assert_eq!(own.lose_sent(Ballot::default()), [1, 2, 3]);
        own.check_invariants();
        // The leader may not have them yet: they are sent again, and stand in nobody's way.
        assert_eq!(own.stream.unsettled.len(), 3);
        assert!(own.has_room_for(8, 2, 8));
        own.settle(3, Time::default());
        own.check_invariants();
        assert!(own.waiting.is_empty() && own.stream.unsettled.is_empty());
    }

    #[test]
    fn what_was_not_lost_waits_for_its_own_turn() {
        let mut own = sent(2);
        own.settle(2, Time::default());
        own.check_invariants();
        assert!(own.waiting.contains_key(&1));
        assert_eq!(own.stream.unsettled.len(), 2);
    }

    #[test]
    fn the_lost_are_bounded_and_one_command_at_a_time_ends_them() {
        let mut own = sent(5);
        own.lose_sent(Ballot::default());
        assert!(own.has_room_for(1, 3, 10));
        let bounds = [(2, 1_000), (1_000, 9)];
        for (count_max, bytes_max) in bounds {
            assert!(own.has_room_for(1, count_max, bytes_max));
        }
        let sixth = Own { sent: Some(own.stream.ballot), ..unsent(b"six") };
        own.waiting_bytes += sixth.payload.len();
        own.waiting.insert(6, sixth);
        own.stream.unsettled.push_back((5, 6));
        for (count_max, bytes_max) in bounds {
            assert!(!own.has_room_for(1, count_max, bytes_max));
        }
        own.settle(6, Time::default());
        own.check_invariants();
        assert!(own.waiting.is_empty());
    }
}
