//! Where connections wait until they have said who they are, a bounded number of them.
//!
//! A stranger costs a socket and a little memory until it has shaken hands. When the lobby is full,
//! who comes from a host that has fewer strangers in it than another is let in for one of that
//! other host, the one that has waited longest; who comes from the host that has most is refused.
//! So no host can shut the others out, and a host's own crowd is served in the order it came.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What counts as one origin of connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Host {
    /// This machine, by a path in its file system.
    Local,
    /// An address; of IPv6 the network, since a host has as many addresses there as it likes.
    Address(IpAddr),
}

impl Host {
    /// The host of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        const NETWORK: u128 = !0 << 64;
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
            address => address,
        })
    }
}

/// A bounded number of strangers.
#[derive(Debug)]
pub struct Lobby {
    strangers_max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// By host, in the order they came.
    strangers: BTreeMap<Host, BTreeMap<u64, CancellationToken>>,
    /// Hosts by how many they have.
    ranks: BTreeSet<(usize, Host)>,
    count: usize,
    next: u64,
}

/// A stranger in the lobby. It leaves when this is dropped.
#[derive(Debug)]
pub struct Stranger {
    lobby: Arc<Lobby>,
    host: Host,
    number: u64,
    shown_out: CancellationToken,
}

impl Lobby {
    /// A lobby for so many.
    #[must_use]
    pub fn new(strangers_max: usize) -> Self {
        Self { strangers_max: strangers_max.max(1), inside: Mutex::default() }
    }

    /// How many there may be.
    #[must_use]
    pub const fn strangers_max(&self) -> usize {
        self.strangers_max
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inside.lock().count
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets somebody in, unless it is full and its host has its share.
    pub fn enter(self: &Arc<Self>, host: Host) -> Option<Stranger> {
        let mut inside = self.inside.lock();
        if inside.count >= self.strangers_max {
            inside.make_room_for(host)?;
        }
        let (number, shown_out) = (inside.next, CancellationToken::new());
        inside.next += 1;
        inside.change(host, |strangers| {
            strangers.insert(number, shown_out.clone());
        });
        Some(Stranger { lobby: Arc::clone(self), host, number, shown_out })
    }
}

impl Inside {
    /// Changes who is there of a host.
    fn change(&mut self, host: Host, change: impl FnOnce(&mut BTreeMap<u64, CancellationToken>)) {
        let strangers = self.strangers.entry(host).or_default();
        let before = strangers.len();
        change(strangers);
        let after = strangers.len();
        self.ranks.remove(&(before, host));
        if after == 0 {
            self.strangers.remove(&host);
        } else {
            self.ranks.insert((after, host));
        }
        self.count = self.count - before + after;
    }

    /// Shows out one of the host that has most, unless this is it.
    fn make_room_for(&mut self, host: Host) -> Option<()> {
        let own = self.strangers.get(&host).map_or(0, BTreeMap::len);
        let (most, crowd) = *self.ranks.last()?;
        if own + 1 >= most {
            return None;
        }
        self.change(crowd, |strangers| {
            if let Some((_, oldest)) = strangers.pop_first() {
                oldest.cancel();
            }
        });
        Some(())
    }
}

impl Stranger {
    /// Waits until it must go to make room.
    pub async fn is_shown_out(&self) {
        self.shown_out.cancelled().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let number = self.number;
        self.lobby.inside.lock().change(self.host, |strangers| {
            strangers.remove(&number);
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(number: u8) -> Host {
        Host::of(IpAddr::from([10, 0, 0, number]))
    }

    #[test]
    fn no_host_shuts_the_others_out() {
        let lobby = Arc::new(Lobby::new(100));
        let crowd: Vec<Stranger> = (0..100).map(|_| lobby.enter(host(1)).unwrap()).collect();
        assert!(lobby.enter(host(1)).is_none(), "its share is everything");
        let others: Vec<Stranger> = (0..50).map(|_| lobby.enter(host(2)).unwrap()).collect();
        assert!(lobby.enter(host(2)).is_none(), "now both have the half");
        assert_eq!(lobby.len(), 100);
        let gone = |strangers: &[Stranger]| {
            strangers.iter().map(|stranger| stranger.shown_out.is_cancelled()).collect::<Vec<_>>()
        };
        assert_eq!(gone(&crowd), [[true; 50], [false; 50]].concat(), "who waited longest goes");
        assert_eq!(gone(&others), [false; 50]);
        drop((crowd, others));
        assert!(lobby.is_empty());
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let of = |text: &str| Host::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), host(1));
    }

    proptest! {
        /// The numbers hold whoever comes and goes.
        #[test]
        fn the_count_is_what_is_inside(
            steps in prop::collection::vec((0_u8..6, 0_usize..40), 1..300),
        ) {
            let (lobby, mut here) = (Arc::new(Lobby::new(16)), Vec::new());
            for (number, leaves) in steps {
                if leaves < here.len() && number == 5 {
                    drop(here.swap_remove(leaves));
                } else {
                    here.extend(lobby.enter(host(number)));
                }
                let inside = lobby.inside.lock();
                let counted: usize = inside.strangers.values().map(BTreeMap::len).sum();
                prop_assert!(counted <= 16 && counted == inside.count);
                let ranks = inside.strangers.iter().map(|(host, them)| (them.len(), *host));
                prop_assert_eq!(ranks.collect::<BTreeSet<_>>(), inside.ranks.clone());
                drop(inside);
                let staying = here.iter().filter(|one: &&Stranger| !one.shown_out.is_cancelled());
                prop_assert_eq!(staying.count(), counted);
            }
        }
    }
}
