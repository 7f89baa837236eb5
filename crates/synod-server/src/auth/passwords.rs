//! Passwords: hashed and checked on threads of their own, a few at a time.
//!
//! bcrypt is slow on purpose: 50 ms of a core at etcd's cost. It is not on the way of consensus, a
//! bounded number of callers waits for it, and who was right once is right again at the price of a
//! fast hash, until the password changes. That fast hash is keyed with a number drawn at start and
//! is in memory only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use bytes::Bytes;
use parking_lot::Mutex;
use synod_kv::PasswordHash;
use tokio::sync::Semaphore;

use super::recent::Recent;
use crate::random::random;

/// Hashes and checks passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: u32,
    workers: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Of this process alone.
    key: [u8; 32],
    /// Fast hashes of user, slow hash and password, of those that were right.
    right: Mutex<Recent<[u8; 32], ()>>,
}

/// Why a password is not looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum PasswordError {
    /// There are too many before it.
    #[error(
        "{WAITING_MAX} passwords wait to be checked, which is the limit of a member: try again"
    )]
    Busy,
    /// bcrypt heeds no more bytes.
    #[error("bcrypt: password length exceeds 72 bytes")]
    TooLong,
    /// The system has no randomness.
    #[error("the system has no random numbers")]
    NoRandomness,
    /// A thread died.
    #[error("the thread that hashes passwords died")]
    Died,
}

/// Callers that wait for a worker.
const WAITING_MAX: usize = 1024;
/// Right passwords that are remembered: about 2 MB.
const RIGHT_MAX: usize = 16 << 10;
/// bcrypt's own limit.
const PASSWORD_BYTES_MAX: usize = 72;

impl Passwords {
    /// Hashes at this cost from now on; hashes made before say their own.
    pub(crate) fn new(cost: u32) -> io::Result<Self> {
        let mut key = [0; 32];
        for chunk in key.chunks_mut(8) {
            chunk.copy_from_slice(&random()?.to_le_bytes());
        }
        // One core is left to serve.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            cost,
            workers: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            waiting: AtomicUsize::new(0),
            key,
            right: Mutex::new(Recent::new(RIGHT_MAX)),
        })
    }

    /// The hash of a password. An empty one is taken, as etcd takes it, for a user who comes with a
    /// certificate: its hash is empty too, and no password has that one.
    pub(crate) async fn hash(&self, password: String) -> Result<PasswordHash, PasswordError> {
        if password.is_empty() {
            return Ok(PasswordHash(Bytes::new()));
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        let cost = self.cost;
        let hash = self.work(move || bcrypt::hash(password, cost)).await?;
        let hash = hash.map_err(|_| PasswordError::NoRandomness)?;
        Ok(PasswordHash(Bytes::from(hash)))
    }

    /// Whether the password is the user's. Without a hash it is not, and it takes as long to say.
    pub(crate) async fn check(
        &self,
        user: &str,
        hash: Option<&PasswordHash>,
        password: String,
    ) -> Result<bool, PasswordError> {
        let hash = hash.filter(|hash| !hash.0.is_empty());
        let known = self.fast(user, hash, &password);
        if hash.is_some() && self.right.lock().get(known).is_some() {
            return Ok(true);
        }
        let slow = match hash {
            Some(PasswordHash(hash)) => String::from_utf8_lossy(hash).into_owned(),
            None => format!("$2b${:02}${NOBODYS}", self.cost),
        };
        let is_empty = password.is_empty();
        let matches = self.work(move || bcrypt::verify(password, &slow)).await?;
        let right = matches.unwrap_or(false) && hash.is_some() && !is_empty;
        if right {
            self.right.lock().put(known, ());
        }
        Ok(right)
    }

    /// Does slow work on a thread for such, if not too many wait.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _waiting = Waiting::enter(&self.waiting)?;
        let workers = Arc::clone(&self.workers);
        let permit = workers.acquire_owned().await.map_err(|_| PasswordError::Died)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Not when the caller goes: the work goes on without it.
            drop(permit);
            done
        });
        done.await.map_err(|_| PasswordError::Died)
    }

    fn fast(&self, user: &str, hash: Option<&PasswordHash>, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let hash: &[u8] = hash.map_or(&[], |hash| &hash.0);
        for part in [user.as_bytes(), hash, password.as_bytes()] {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// A caller among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, PasswordError> {
        let waiting = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(PasswordError::Busy);
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Salt and hash of a password that nobody knows.
const NOBODYS: &str = "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_right_password_is_right_and_no_other() {
        let passwords = Passwords::new(4).unwrap();
        let hash = passwords.hash("secret".to_owned()).await.unwrap();
        for _ in 0..2 {
            let table = [("secret", true), ("Secret", false), ("", false), ("secrets", false)];
            for (password, expected) in table {
                let right = passwords.check("ann", Some(&hash), password.to_owned()).await;
                assert_eq!(right, Ok(expected), "{password}");
            }
            assert_eq!(passwords.check("ann", None, "secret".to_owned()).await, Ok(false));
        }
        let other = passwords.hash("other".to_owned()).await.unwrap();
        let former = passwords.check("ann", Some(&other), "secret".to_owned()).await;
        assert_eq!(former, Ok(false), "what was right before the password changed");
    }

    /// Made by etcd 3.4.23, and kept in its store.
    #[tokio::test]
    async fn etcds_hashes_stay_valid() {
        let passwords = Passwords::new(4).unwrap();
        let hash = PasswordHash(Bytes::from_static(ETCDS));
        assert_eq!(passwords.check("root", Some(&hash), "pw".to_owned()).await, Ok(true));
        assert_eq!(passwords.check("root", Some(&hash), "pW".to_owned()).await, Ok(false));
    }

    const ETCDS: &[u8] = b"$2a$10$oYp4DJJogEjq9clzpnlIJ.UEXlEXpxInwBipiYRxSErzdVBZBtr3e";

    #[tokio::test]
    async fn cve_2020_15115_an_empty_password_is_taken_and_never_right() {
        let passwords = Passwords::new(4).unwrap();
        let none = passwords.hash(String::new()).await.unwrap();
        assert_eq!(none, PasswordHash(Bytes::new()));
        for password in ["", "x", "$2b$04$"] {
            let right = passwords.check("ann", Some(&none), password.to_owned()).await;
            assert_eq!(right, Ok(false), "{password}");
        }
        let long = passwords.hash("x".repeat(73)).await;
        assert_eq!(long.unwrap_err(), PasswordError::TooLong);
        let empty = bcrypt::hash("", 4).unwrap();
        let hash = PasswordHash(Bytes::from(empty));
        assert_eq!(passwords.check("ann", Some(&hash), String::new()).await, Ok(false));
    }

    #[tokio::test]
    async fn the_queue_for_passwords_has_an_end() {
        let passwords = Passwords::new(4).unwrap();
        let all = u32::try_from(passwords.workers.available_permits()).unwrap();
        let busy = passwords.workers.acquire_many(all).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..WAITING_MAX {
            let mut check = Box::pin(passwords.check("ann", None, "x".to_owned()));
            assert!(futures_poll(&mut check).is_none());
            waiting.push(check);
        }
        let refused = passwords.check("ann", None, "x".to_owned()).await;
        assert_eq!(refused, Err(PasswordError::Busy));
        drop((waiting, busy));
        assert_eq!(passwords.check("ann", None, "x".to_owned()).await, Ok(false));
    }

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
