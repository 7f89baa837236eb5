//! Who may connect: so many in all, so many from one host, and so many that have not yet said a
//! word (see [`Lobby`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use synod_transport::{Host, Lobby, Stranger};

use crate::config::LimitsConfig;
use crate::descriptors;
use crate::intake::Intake;

/// The bounds of connections, and what is counted about them.
#[derive(Debug)]
pub(crate) struct Admission {
    connections_max: usize,
    host_max: usize,
    open: Mutex<Open>,
    lobby: Arc<Lobby>,
    refused: [AtomicU64; REASONS.len()],
    /// Requests that have begun to arrive.
    pub(crate) intake: Arc<Intake>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_host: HashMap<Host, usize>,
}

/// A connection that was let in. It counts until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    host: Host,
}

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// There are as many as there may be.
    Limit,
    /// There are as many of its host as there may be.
    Host,
    /// Too many have not said a word, most of them of its host.
    Crowd,
    /// No TLS handshake, or none in time.
    Tls,
    /// Not a word in time.
    Silence,
}

/// What reasons are called in the figures, in their order.
pub(crate) const REASONS: [&str; 5] = ["limit", "host", "crowd", "tls", "silence"];

impl Admission {
    /// As configured, and as far as the system lets this process open files.
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        Self::with(descriptors::connections_max(limits.connections_max), limits.host_max)
    }

    fn with(connections_max: usize, host_max: Option<usize>) -> Self {
        // A quarter is left for the others.
        let host_max = host_max.unwrap_or(connections_max - connections_max / 4);
        Self {
            connections_max,
            host_max,
            open: Mutex::default(),
            lobby: Arc::new(Lobby::new(STRANGERS_MAX.min(connections_max / 2))),
            refused: Default::default(),
            intake: Arc::default(),
        }
    }

    /// Lets somebody in, who is a stranger at first.
    pub(super) fn admit(self: &Arc<Self>, host: Host) -> Result<(Admitted, Stranger), Reason> {
        let mut open = self.open.lock();
        let of_host = open.by_host.get(&host).copied().unwrap_or(0);
        if open.count >= self.connections_max {
            return Err(Reason::Limit);
        }
        if of_host >= self.host_max {
            return Err(Reason::Host);
        }
        let stranger = self.lobby.enter(host).ok_or(Reason::Crowd)?;
        open.count += 1;
        open.by_host.insert(host, of_host + 1);
        Ok((Admitted { admission: Arc::clone(self), host }, stranger))
    }

    /// Counts who was refused.
    pub(super) fn refuse(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// In words, for the log.
    pub(super) fn explain(&self, reason: Reason) -> String {
        let (all, host) = (self.connections_max, self.host_max);
        match reason {
            Reason::Limit => format!("there are {all} connections: see --max-client-connections"),
            Reason::Host => {
                format!("it has {host} connections: see --max-client-connections-per-host")
            }
            Reason::Crowd => format!(
                "{} connections have not said a word, most of them of this host",
                self.lobby.strangers_max()
            ),
            Reason::Tls => "no TLS handshake".to_owned(),
            Reason::Silence => "it said nothing in time".to_owned(),
        }
    }

    /// Connections now.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().count
    }

    /// How many there may be.
    pub(crate) const fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Connections that have not said a word yet.
    pub(crate) fn strangers(&self) -> usize {
        self.lobby.len()
    }

    /// Connections refused, by reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        REASONS.iter().copied().zip(counts)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        open.count -= 1;
        if let Some(count) = open.by_host.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                open.by_host.remove(&self.host);
            }
        }
    }
}

/// Connections that may shake hands, or be silent, at a time.
const STRANGERS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn no_host_takes_all_places() {
        let admission = Arc::new(Admission::with(100, None));
        let host = |number: u8| Host::of(IpAddr::from([10, 0, 0, number]));
        let enter = |number| {
            // It says its first word at once.
            admission.admit(host(number)).map(|(admitted, _)| admitted)
        };
        let crowd: Vec<_> = (0..75).map(|_| enter(1).unwrap()).collect();
        assert_eq!(enter(1).unwrap_err(), Reason::Host);
        let others: Vec<_> = (0..25).map(|_| enter(2).unwrap()).collect();
        assert_eq!(enter(3).unwrap_err(), Reason::Limit);
        drop(others);
        assert!(enter(3).is_ok());
        drop(crowd);
        assert_eq!((admission.open(), admission.open.lock().by_host.len()), (0, 0));
    }

    #[test]
    fn the_silent_take_no_more_than_half_of_all_places() {
        let admission = Arc::new(Admission::with(100, Some(100)));
        let silent: Vec<_> = (0..50).map(|_| admission.admit(Host::Local).unwrap()).collect();
        assert_eq!(admission.admit(Host::Local).unwrap_err(), Reason::Crowd);
        assert_eq!((admission.open(), admission.strangers()), (50, 50));
        drop(silent);
    }
}
