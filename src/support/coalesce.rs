//! Questions that share their answers: who asks while an answer is under way gets the next one, not that one.
//!
//! An answer is only good for who asked before it was begun, because what it reports may have changed since. So at most
//! two rounds of a question exist at a time: the one under way, and the next, which everybody who came meanwhile waits
//! for. A question runs in a task of its own; it is not lost when the one who asked first gives up.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<V> {
    /// The answer.
    Done(V),
    /// Its turn did not come: as many questions as may be were under way.
    Busy,
    /// It was asked, and not answered in time.
    TimedOut,
}

/// Shares the answers to questions, one question a key.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, V> {
    flights: Arc<Mutex<HashMap<K, Flight<V>>>>,
    turns: Arc<Semaphore>,
    tasks: TaskTracker,
}

#[derive(Debug)]
enum Flight<V> {
    /// Waits for its turn; who comes now may still join.
    Waiting(Round<V>),
    /// Under way; who comes now gets the next round.
    Running { next: Option<Round<V>> },
}

/// Those who share one answer.
#[derive(Debug)]
struct Round<V> {
    answer: watch::Sender<Option<Answer<V>>>,
    /// The latest of their deadlines.
    deadline: Instant,
}

impl<V> Round<V> {
    fn new(deadline: Instant) -> Self {
        Self {
            answer: watch::Sender::new(None),
            deadline,
        }
    }

    fn join(&mut self, deadline: Instant) -> watch::Receiver<Option<Answer<V>>> {
        self.deadline = self.deadline.max(deadline);
        self.answer.subscribe()
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `concurrency` questions at a time, each in a task of `tasks`.
    pub(crate) fn new(concurrency: usize, tasks: TaskTracker) -> Self {
        Self {
            flights: Arc::default(),
            turns: Arc::new(Semaphore::new(concurrency)),
            tasks,
        }
    }

    /// Asks, or joins a round of the same question that has not begun. A question for which no turn comes in half of the
    /// time that is left is given up as [`Answer::Busy`]: the other half is for the answer.
    pub(crate) async fn ask<F, Fut>(&self, key: K, deadline: Instant, question: F) -> Answer<V>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = V> + Send + 'static,
    {
        let mut answer = self.join(key, deadline, question);
        match timeout_at(deadline, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or(Answer::TimedOut),
            Ok(Err(_)) | Err(_) => Answer::TimedOut,
        }
    }

    fn join<F, Fut>(&self, key: K, deadline: Instant, question: F) -> watch::Receiver<Option<Answer<V>>>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        match flights.get_mut(&key) {
            Some(Flight::Waiting(round)) => round.join(deadline),
            Some(Flight::Running { next }) => next.get_or_insert_with(|| Round::new(deadline)).join(deadline),
            None => {
                let mut round = Round::new(deadline);
                let answer = round.join(deadline);
                flights.insert(key.clone(), Flight::Waiting(round));
                self.tasks
                    .spawn(fly(Arc::clone(&self.flights), Arc::clone(&self.turns), key, question));
                answer
            }
        }
    }
}

/// Runs the rounds of one key until nobody waits for another.
async fn fly<K, V, F, Fut>(flights: Arc<Mutex<HashMap<K, Flight<V>>>>, turns: Arc<Semaphore>, key: K, question: F)
where
    K: Eq + Hash,
    F: Fn() -> Fut,
    Fut: Future<Output = V>,
{
    loop {
        let patience = match lock(&flights).get(&key) {
            Some(Flight::Waiting(round)) => half_way_to(round.deadline),
            Some(Flight::Running { .. }) | None => return,
        };
        let turn = timeout_at(patience, turns.acquire()).await;
        let Some(round) = begin(&flights, &key) else { return };
        let answer = match turn {
            Ok(Ok(_turn)) => match timeout_at(round.deadline, question()).await {
                Ok(value) => Answer::Done(value),
                Err(_) => Answer::TimedOut,
            },
            Ok(Err(_)) | Err(_) => Answer::Busy,
        };
        round.answer.send_replace(Some(answer));
        if land(&flights, &key) == Next::Nobody {
            return;
        }
    }
}

/// Closes the waiting round: who comes from now on gets the next.
fn begin<K: Eq + Hash, V>(flights: &Mutex<HashMap<K, Flight<V>>>, key: &K) -> Option<Round<V>> {
    let mut flights = lock(flights);
    let flight = flights.get_mut(key)?;
    match std::mem::replace(flight, Flight::Running { next: None }) {
        Flight::Waiting(round) => Some(round),
        running @ Flight::Running { .. } => {
            *flight = running;
            None
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Somebody,
    Nobody,
}

fn land<K: Eq + Hash, V>(flights: &Mutex<HashMap<K, Flight<V>>>, key: &K) -> Next {
    let mut flights = lock(flights);
    match flights.get_mut(key) {
        Some(flight @ Flight::Running { next: Some(_) }) => {
            if let Flight::Running { next: Some(round) } = std::mem::replace(flight, Flight::Running { next: None }) {
                *flight = Flight::Waiting(round);
            }
            Next::Somebody
        }
        Some(_) | None => {
            flights.remove(key);
            Next::Nobody
        }
    }
}

fn half_way_to(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside these few lines cannot leave half a change behind, so a poisoned lock is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// A question that counts how often it is put, answers with its number and takes `takes`.
    struct Oracle {
        flights: SingleFlight<&'static str, usize>,
        begun: Arc<AtomicUsize>,
        takes: Duration,
    }

    impl Oracle {
        fn new(concurrency: usize, takes: Duration) -> Self {
            Self {
                flights: SingleFlight::new(concurrency, TaskTracker::new()),
                begun: Arc::default(),
                takes,
            }
        }

        async fn ask(&self, key: &'static str, patience: Duration) -> Answer<usize> {
            let (begun, takes) = (Arc::clone(&self.begun), self.takes);
            let question = move || {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                async move {
                    tokio::time::sleep(takes).await;
                    number
                }
            };
            self.flights.ask(key, Instant::now() + patience, question).await
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn who_asks_while_an_answer_is_under_way_shares_the_next_one() {
        let oracle = Oracle::new(8, SECOND);
        let late = async {
            tokio::time::sleep(SECOND / 2).await;
            tokio::join!(
                oracle.ask("a", 10 * SECOND),
                oracle.ask("a", 10 * SECOND),
                oracle.ask("a", 10 * SECOND)
            )
        };
        let (first, late) = tokio::join!(oracle.ask("a", 10 * SECOND), late);
        assert_eq!(first, Answer::Done(1));
        assert_eq!(late, (Answer::Done(2), Answer::Done(2), Answer::Done(2)));
        assert_eq!(oracle.begun.load(Ordering::SeqCst), 2);
        assert!(
            lock(&oracle.flights.flights).is_empty(),
            "nothing is kept of what was answered"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn others_get_their_answer_when_the_first_one_gives_up() {
        let oracle = Oracle::new(8, SECOND);
        let (first, second) = tokio::join!(oracle.ask("a", SECOND / 4), oracle.ask("a", 10 * SECOND));
        assert_eq!(first, Answer::TimedOut);
        assert_eq!(second, Answer::Done(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_asker_takes_nothing_with_it() {
        let oracle = Oracle::new(8, SECOND);
        tokio::select! {
            _ = oracle.ask("a", 10 * SECOND) => panic!("answered too soon"),
            () = tokio::time::sleep(SECOND / 2) => {}
        }
        assert_eq!(oracle.ask("a", 10 * SECOND).await, Answer::Done(2));
    }

    #[tokio::test(start_paused = true)]
    async fn over_the_cap_a_question_waits_half_its_time_and_is_then_busy() {
        let oracle = Oracle::new(1, 10 * SECOND);
        let (first, second, third) = tokio::join!(
            oracle.ask("a", 100 * SECOND),
            async {
                tokio::task::yield_now().await;
                oracle.ask("b", 4 * SECOND).await
            },
            async {
                tokio::task::yield_now().await;
                oracle.ask("c", 60 * SECOND).await
            },
        );
        assert_eq!((first, second, third), (Answer::Done(1), Answer::Busy, Answer::Done(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_frees_its_turn() {
        let oracle = Oracle::new(1, 1_000_000 * SECOND);
        assert_eq!(oracle.ask("a", SECOND).await, Answer::TimedOut);
        assert_eq!(oracle.ask("a", SECOND).await, Answer::TimedOut);
        assert_eq!(oracle.begun.load(Ordering::SeqCst), 2);
    }
}
