//! A crew by itself: streams and connections that note when they are polled.

use std::future::{pending, poll_fn};
use std::pin::pin;

use super::*;

/// How often a task was woken.
#[derive(Debug, Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Task {
    fn wakes(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// How often a future was polled, and what wakes it.
#[derive(Debug, Default)]
struct Seen {
    polls: usize,
    waker: Option<Waker>,
}

type Look = Arc<Mutex<Seen>>;

impl Seen {
    fn polls(look: &Look) -> usize {
        std::mem::take(&mut look.lock().polls)
    }

    fn wake(look: &Look) {
        look.lock().waker.clone().unwrap().wake();
    }
}

/// A future that is seen, and then does this.
fn seen<F>(look: &Look, then: F) -> impl Future<Output = ()> + Send + use<F>
where
    F: Fn() -> Poll<()> + Send,
{
    let look = Arc::clone(look);
    poll_fn(move |context| {
        let mut seen = look.lock();
        seen.polls += 1;
        seen.waker = Some(context.waker().clone());
        drop(seen);
        then()
    })
}

/// A crew that has taken on a stream that says nothing.
fn crew_with(look: &Look) -> (Crew, Hands) {
    let crew = Crew::new();
    crew.take_next();
    crew.execute(seen(look, || Poll::Pending));
    (crew.clone(), Hands::new(crew))
}

#[test]
fn whoever_was_woken_is_polled_once_and_nobody_else() {
    let (stream, connection, task) = (Look::default(), Look::default(), Arc::default());
    let (_, mut hands) = crew_with(&stream);
    let mut future = pin!(seen(&connection, || Poll::Pending));
    let mut polls = |task: &Arc<Task>| {
        let waker = Waker::from(Arc::clone(task));
        assert!(hands.poll(future.as_mut(), &Context::from_waker(&waker)).is_pending());
        (Seen::polls(&stream), Seen::polls(&connection))
    };
    assert_eq!(polls(&task), (1, 1), "both begin");
    assert_eq!(polls(&task), (0, 0));
    Seen::wake(&stream);
    Seen::wake(&stream);
    assert_eq!((task.wakes(), polls(&task)), (1, (1, 0)));
    Seen::wake(&connection);
    Seen::wake(&stream);
    assert_eq!((task.wakes(), polls(&task)), (1, (1, 1)));
    let other = Arc::default();
    polls(&other);
    Seen::wake(&connection);
    assert_eq!((task.wakes(), other.wakes()), (0, 1), "whoever polled last is woken");
}

#[test]
fn the_connection_hears_its_streams_in_the_same_turn() {
    let (stream, connection) = (Look::default(), Look::default());
    let crew = Crew::new();
    crew.take_next();
    crew.execute(seen(&stream, {
        let connection = Arc::clone(&connection);
        // As the HTTP/2 library does for each frame that a stream gives it.
        move || {
            let waker = connection.lock().waker.clone();
            waker.into_iter().for_each(Waker::wake);
            Poll::Pending
        }
    }));
    let mut hands = Hands::new(crew);
    let mut future = pin!(seen(&connection, || Poll::Pending));
    let task = Arc::<Task>::default();
    let waker = Waker::from(Arc::clone(&task));
    let context = Context::from_waker(&waker);
    assert!(hands.poll(future.as_mut(), &context).is_pending());
    Seen::polls(&connection);
    Seen::wake(&stream);
    assert_eq!(task.wakes(), 1);
    assert!(hands.poll(future.as_mut(), &context).is_pending());
    assert_eq!((Seen::polls(&connection), task.wakes()), (1, 0));
}

#[test]
fn mustered_crews_set_out_once_and_what_comes_in_does_not_wait_for_it() {
    let (stream, connection) = (Look::default(), Look::default());
    let (_, mut hands) = crew_with(&stream);
    let mut future = pin!(seen(&connection, || Poll::Pending));
    let task = Arc::<Task>::default();
    let waker = Waker::from(Arc::clone(&task));
    let context = Context::from_waker(&waker);
    let mut poll = || assert!(hands.poll(future.as_mut(), &context).is_pending());
    poll();
    let wakers = || [&stream, &stream].map(|look| look.lock().waker.clone().unwrap());

    let crews = muster(wakers().into_iter());
    assert_eq!((crews.len(), task.wakes()), (1, 0));
    assert_eq!((crews[0].set_out(), task.wakes()), (1, 1));
    assert_eq!((crews[0].set_out(), task.wakes()), (1, 0), "it is on its way");
    poll();

    let crews = muster(wakers().into_iter());
    Seen::wake(&connection);
    assert_eq!(task.wakes(), 1);
    Seen::polls(&stream);
    poll();
    assert_eq!(Seen::polls(&stream), 1, "who is there is polled with it");
    assert_eq!((crews[0].set_out(), task.wakes()), (0, 0), "nothing is left to do");

    let crews = muster(wakers().into_iter());
    assert_eq!((crews.len(), crews[0].set_out(), task.wakes()), (1, 1, 1), "and again");
}

#[test]
fn a_crew_of_many_lets_others_have_a_turn() {
    let (stream, count) = (Look::default(), 2 * TURN_MAX * ROUNDS_MAX);
    let crew = Crew::new();
    let mut hands = Hands::new(crew.clone());
    let mut future = pin!(pending::<()>());
    let looks: Vec<Look> = (0..count).map(|_| Look::default()).collect();
    for look in &looks {
        crew.take_next();
        crew.execute(seen(look, || Poll::Pending));
    }
    let task = Arc::<Task>::default();
    let waker = Waker::from(Arc::clone(&task));
    let context = Context::from_waker(&waker);
    assert!(hands.poll(future.as_mut(), &context).is_pending());
    let polls = || looks.iter().map(Seen::polls).sum::<usize>();
    assert_eq!((polls(), task.wakes()), (count, 0));
    looks.iter().for_each(Seen::wake);
    assert_eq!(task.wakes(), 1);
    assert!(hands.poll(future.as_mut(), &context).is_pending());
    assert_eq!((polls(), task.wakes()), (count / 2, 1), "it comes back for the rest");
    assert!(hands.poll(future.as_mut(), &context).is_pending());
    assert_eq!((polls(), Seen::polls(&stream)), (count / 2, 0));
}

#[test]
fn streams_go_with_their_connection() {
    let look = Look::default();
    let (crew, mut hands) = crew_with(&look);
    let mut future = pin!(pending::<()>());
    let context = Context::from_waker(Waker::noop());
    assert!(hands.poll(future.as_mut(), &context).is_pending());
    crew.take_next();
    crew.execute(seen(&look, || Poll::Pending));
    assert_eq!(Arc::strong_count(&look), 3);
    drop(hands);
    assert_eq!(Arc::strong_count(&look), 1, "also one that was never polled");
    // Who was told of it late wakes nobody.
    Seen::wake(&look);
}

#[tokio::test]
async fn other_streams_have_tasks_of_their_own() {
    let (crew, look) = (Crew::new(), Look::default());
    let (done, ended) = tokio::sync::oneshot::channel();
    let elsewhere = crew.elsewhere();
    let hands = Hands::new(crew.clone());
    assert!(!hands.have_all_streams());
    let first = seen(&look, || Poll::Ready(()));
    crew.execute(async move {
        first.await;
        drop(elsewhere);
        done.send(()).unwrap();
    });
    ended.await.unwrap();
    assert!(hands.have_all_streams());
}
