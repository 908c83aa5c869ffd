//! The threads that answer reviews, apart from those that do everything else.
//!
//! A list of 100,000 ServiceAccounts, a thousand policies that are read again, a scrape: all of that is worked through on other
//! threads, and no review waits behind it. They are few: one answers tens of thousands of reviews a second, which is more
//! than any cluster creates pods, and threads that pass connections back and forth cost more than they bring.

use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// The most that are started.
const MOST: usize = 4;

/// Threads with a scheduler of their own.
#[derive(Debug)]
pub struct ReviewThreads {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

impl ReviewThreads {
    /// Starts half as many as there are cores for this process (its CPU limit counts), from 1 to 4.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn start() -> io::Result<Self> {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads(cores))
            .thread_name("reviews")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Hands a listener over to them: what it accepts is theirs.
    ///
    /// # Errors
    /// The operating system does not let it go, or take it up.
    pub fn adopt(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let listener = listener.into_std()?;
        let _within = self.runtime.as_ref().map(Runtime::enter);
        TcpListener::from_std(listener)
    }

    /// Does this work on them, to its end. A panic in it goes on here.
    pub async fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(runtime) = &self.runtime else { return };
        if let Err(error) = runtime.spawn(work).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for ReviewThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not from within an async task, which may not wait for threads. Their work has ended.
            runtime.shutdown_background();
        }
    }
}

const fn threads(cores: usize) -> usize {
    let half = cores / 2;
    match half {
        0 => 1,
        1..=MOST => half,
        _ => MOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_they_accept_is_served_on_them() {
        let threads = ReviewThreads::start().unwrap();
        let listener = threads.adopt(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let serve = threads.run(async move {
            listener.accept().await.unwrap();
            let name = std::thread::current().name().map(str::to_owned);
            tell.send(name).unwrap();
        });
        let (connected, ()) = tokio::join!(tokio::net::TcpStream::connect(address), serve);
        connected.unwrap();
        assert_eq!(told.await.unwrap().as_deref(), Some("reviews"));
    }

    #[tokio::test]
    #[should_panic(expected = "out of order")]
    async fn a_panic_on_them_is_not_lost() {
        let threads = ReviewThreads::start().unwrap();
        threads.run(async { panic!("out of order") }).await;
    }

    #[test]
    fn half_of_the_cores_answer_reviews_and_four_threads_at_most() {
        for (cores, expected) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (9, 4), (64, 4)] {
            assert_eq!(threads(cores), expected, "{cores} cores");
        }
    }
}
