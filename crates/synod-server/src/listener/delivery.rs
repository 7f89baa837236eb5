//! Wakes streams for what was put into their outlets: some connections at a time.
//!
//! A round of delivery to a thousand connections is milliseconds of work. Woken at once they would
//! all stand before the next write, which would come when everybody has been told of the last one:
//! a message, a frame and a call of the system for each event. Woken a few at a time, with
//! whatever else there is to do in between, writes go on meanwhile; and who is woken later is told
//! of several at once. The more there is to deliver, the more goes together, and an idle member
//! waits for nothing.
//!
//! In between, the core is offered to other threads, too: a write needs those of the log, of the
//! protocol, of other members on this machine, and of the client. The kernel would let whoever
//! delivers run on for some milliseconds, each time that one of them is woken. A round in which
//! others take too much of the time goes on in larger parts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::crew::{Crew, muster};

/// Who is to be woken, and where.
pub(crate) struct Delivery {
    runtime: Handle,
    waiting: Arc<Mutex<Waiting>>,
}

/// Bounded: a stream that was woken is not woken again before it has looked.
#[derive(Default)]
struct Waiting {
    wakers: Vec<Waker>,
    /// There is a task that wakes them.
    is_under_way: bool,
}

/// A round of delivery: all that was to be woken when the last one was over.
struct Round {
    begun: Instant,
    /// How many connections have not been woken.
    left: usize,
}

/// What is woken at a time, by what it costs: less than a tenth of a millisecond of work.
const PART: usize = 32;
/// A round that has taken so long goes on in larger parts.
const LATE: Duration = Duration::from_millis(50);
const PART_WHEN_LATE: usize = 256;
/// What a connection costs, in streams: a call of the system.
const CONNECTION: usize = 8;

impl Delivery {
    /// Streams are woken on this runtime: from another thread each would be handed over by itself,
    /// and those that run already would contend with the rest.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, waiting: Arc::default() }
    }

    /// Wakes these, after those that wait to be woken.
    pub(crate) fn wake(&self, mut wakers: Vec<Waker>) {
        if wakers.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        if wakers.len() == 1 && !waiting.is_under_way {
            drop(waiting);
            wakers.drain(..).for_each(Waker::wake);
            return;
        }
        waiting.wakers.append(&mut wakers);
        if !std::mem::replace(&mut waiting.is_under_way, true) {
            self.runtime.spawn(deliver(Arc::clone(&self.waiting)));
        }
    }
}

async fn deliver(waiting: Arc<Mutex<Waiting>>) {
    let mut crews = VecDeque::new();
    let mut round = Round::begin(0);
    loop {
        // Until whoever is ready now has had a turn, and what has come in meanwhile was looked at;
        // and then, whoever waits for the core: the thread that applies the next write.
        tokio::task::yield_now().await;
        std::thread::yield_now();
        let wakers = std::mem::take(&mut waiting.lock().wakers);
        crews.extend(muster(wakers.into_iter()));
        if round.left == 0 {
            round = Round::begin(crews.len());
        }
        round.wake_part(&mut crews);
        if crews.is_empty() {
            let mut waiting = waiting.lock();
            waiting.is_under_way = !waiting.wakers.is_empty();
            if !waiting.is_under_way {
                return;
            }
        }
    }
}

impl Round {
    fn begin(left: usize) -> Self {
        Self { begun: Instant::now(), left }
    }

    fn wake_part(&mut self, crews: &mut VecDeque<Crew>) {
        let max = if self.begun.elapsed() < LATE { PART } else { PART_WHEN_LATE };
        let mut part = 0;
        while part < max
            && let Some(crew) = crews.pop_front()
        {
            part += CONNECTION + crew.set_out();
            self.left = self.left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use hyper::rt::Executor;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::super::crew::Hands;
    use super::*;

    /// Only a hang waits for it.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A connection with a stream that is told of one thing; what wakes the stream.
    async fn connect(told: &Arc<AtomicUsize>) -> Waker {
        let crew = Crew::new();
        let (tell, waker) = oneshot::channel();
        let (mut tell, told) = (Some(tell), Arc::clone(told));
        crew.take_next();
        crew.execute(poll_fn(move |context| {
            match tell.take() {
                Some(tell) => tell.send(context.waker().clone()).unwrap(),
                None => drop(told.fetch_add(1, Ordering::SeqCst)),
            }
            Poll::Pending
        }));
        let mut hands = Hands::new(crew);
        tokio::spawn(async move {
            let mut connection = pin!(pending::<()>());
            poll_fn(|context| hands.poll(connection.as_mut(), context)).await;
        });
        waker.await.unwrap()
    }

    /// How often streams were told, once it is so often.
    async fn told_at_least(told: &AtomicUsize, count: usize) -> usize {
        let come = async {
            while told.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, come).await.expect("told in time");
        told.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn what_comes_in_does_not_wait_until_all_are_told() {
        const CONNECTIONS: usize = 1000;
        let (told, delivery) = (Arc::default(), Delivery::new(Handle::current()));
        let mut wakers = Vec::new();
        for _ in 0..CONNECTIONS {
            wakers.push(connect(&told).await);
        }
        delivery.wake(wakers.clone());
        let first = told_at_least(&told, 1).await;
        assert!(first < CONNECTIONS, "{first} were told before anybody else had a turn");
        // Those that wait to be told are told once; the others, again.
        delivery.wake(wakers);
        told_at_least(&told, CONNECTIONS + first).await;
        for _ in 0..CONNECTIONS {
            tokio::task::yield_now().await;
        }
        assert_eq!(told.load(Ordering::SeqCst), CONNECTIONS + first);
        assert!(!delivery.waiting.lock().is_under_way);
    }

    #[tokio::test]
    async fn one_alone_is_woken_at_once() {
        let (told, delivery) = (Arc::default(), Delivery::new(Handle::current()));
        let waker = connect(&told).await;
        delivery.wake(vec![waker]);
        assert!(!delivery.waiting.lock().is_under_way);
        tokio::task::yield_now().await;
        assert_eq!(told.load(Ordering::SeqCst), 1);
    }
}
