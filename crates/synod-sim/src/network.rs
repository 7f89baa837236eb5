//! The network between members: what becomes of a message.
//!
//! Each directed link has a delay with a tail, loses and repeats messages, lets them overtake each
//! other, can be cut (in one direction, too), and can be clogged: then it holds everything back
//! until it is opened again. What the links do is drawn from the network's own stream.

use crate::queue::Micros;
use crate::random::Random;

/// How the links of a world behave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Weather {
    /// A message takes at least this long.
    pub(crate) delay_min: Micros,
    /// On top of it comes a span around this mean.
    pub(crate) delay_mean: Micros,
    /// Messages lost, of a thousand.
    pub(crate) loss: u64,
    /// Messages that arrive twice, of a thousand.
    pub(crate) duplication: u64,
    /// Messages held back for many times the usual delay, of a thousand.
    pub(crate) stray: u64,
    /// Whether messages of a link may overtake each other.
    pub(crate) reorder: bool,
}

impl Weather {
    /// A calm network: half a millisecond, in order, nothing lost.
    pub(crate) const CALM: Self =
        Self { delay_min: 200, delay_mean: 150, loss: 0, duplication: 0, stray: 0, reorder: false };
}

/// What becomes of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives at this time.
    Once(Micros),
    /// It arrives twice.
    Twice(Micros, Micros),
}

#[derive(Clone, Debug, Default)]
struct Link {
    cut: bool,
    clogged_until: Micros,
    last_arrival: Micros,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    random: Random,
    weather: Weather,
    members: usize,
    links: Vec<Link>,
}

impl Network {
    /// A calm network of so many members.
    pub(crate) fn new(seed: u64, members: usize) -> Self {
        Self {
            random: Random::new(seed, "network"),
            weather: Weather::CALM,
            members,
            links: vec![Link::default(); members * members],
        }
    }

    /// Changes how links behave.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Cuts or mends a directed link.
    pub(crate) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.link(from, to).cut = cut;
    }

    /// Holds back everything sent on a directed link until then.
    pub(crate) fn clog(&mut self, from: usize, to: usize, until: Micros) {
        self.link(from, to).clogged_until = until;
    }

    /// Opens all links that are clogged. What is late stays late, but holds up nothing that is sent
    /// from now on.
    pub(crate) fn unclog(&mut self) {
        for link in &mut self.links {
            link.clogged_until = 0;
            link.last_arrival = 0;
        }
    }

    /// Mends all links that are cut.
    pub(crate) fn mend(&mut self) {
        for link in &mut self.links {
            link.cut = false;
        }
    }

    /// Mends and opens all links, and calms them down.
    pub(crate) fn heal(&mut self) {
        self.mend();
        self.unclog();
        self.weather = Weather::CALM;
    }

    /// Whether what is sent on the link can arrive.
    pub(crate) fn is_open(&self, from: usize, to: usize) -> bool {
        !self.links[from * self.members + to].cut
    }

    /// What becomes of a message sent now.
    pub(crate) fn send(&mut self, now: Micros, from: usize, to: usize) -> Fate {
        // Always the same draws, so that a cut link does not shift the fate of later messages.
        let lost = self.random.per_mille(self.weather.loss);
        let twice = self.random.per_mille(self.weather.duplication);
        let first = self.arrival(now);
        let second = self.arrival(now);
        let reorder = self.weather.reorder;
        let link = self.link(from, to);
        if link.cut || lost {
            return Fate::Lost;
        }
        let mut settle = |arrival: Micros| {
            let mut arrival = arrival.max(link.clogged_until);
            if !reorder {
                arrival = arrival.max(link.last_arrival);
                link.last_arrival = arrival;
            }
            arrival
        };
        let first = settle(first);
        if twice { Fate::Twice(first, settle(second)) } else { Fate::Once(first) }
    }

    fn arrival(&mut self, now: Micros) -> Micros {
        let mut delay = self.weather.delay_min + self.random.span(self.weather.delay_mean);
        if self.random.per_mille(self.weather.stray) {
            delay = delay.saturating_mul(self.random.between(5, 60));
        }
        now + delay
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.members + to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(fate: Fate) -> Vec<Micros> {
        match fate {
            Fate::Lost => vec![],
            Fate::Once(at) => vec![at],
            Fate::Twice(first, second) => vec![first, second],
        }
    }

    #[test]
    fn a_calm_link_keeps_order_and_loses_nothing() {
        let mut network = Network::new(1, 2);
        let mut last = 0;
        for now in 0..500 {
            let Fate::Once(at) = network.send(now, 0, 1) else { panic!("lost or doubled") };
            assert!(at >= last, "overtaken at {now}");
            last = at;
        }
    }

    #[test]
    fn a_cut_is_one_way() {
        let mut network = Network::new(1, 2);
        network.set_cut(0, 1, true);
        assert_eq!(network.send(5, 0, 1), Fate::Lost);
        assert_ne!(network.send(5, 1, 0), Fate::Lost);
        network.heal();
        assert_ne!(network.send(5, 0, 1), Fate::Lost);
    }

    #[test]
    fn a_clogged_link_holds_back() {
        let mut network = Network::new(1, 2);
        network.clog(0, 1, 50_000);
        for at in times(network.send(5, 0, 1)) {
            assert!(at >= 50_000, "{at}");
        }
    }

    #[test]
    fn bad_weather_loses_repeats_and_reorders() {
        let mut network = Network::new(1, 2);
        network.set_weather(Weather {
            loss: 300,
            duplication: 300,
            stray: 50,
            reorder: true,
            ..Weather::CALM
        });
        let fates: Vec<Fate> = (0..400).map(|now| network.send(now, 0, 1)).collect();
        assert!(fates.iter().any(|fate| matches!(fate, Fate::Lost)));
        assert!(fates.iter().any(|fate| matches!(fate, Fate::Twice(..))));
        let arrivals: Vec<Micros> = fates.into_iter().flat_map(times).collect();
        assert!(arrivals.windows(2).any(|pair| pair[0] > pair[1]));
    }
}
