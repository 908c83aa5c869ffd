//! The threads that handle reviews, separate from those that do everything else.
//!
//! A list of 100,000 ServiceAccounts, a refresh of a thousand policies, a scrape: all of that runs on other threads, and no review waits
//! for it. There are few of them: one thread handles tens of thousands of reviews per second, more than any cluster creates pods, and
//! moving connections between threads costs more than it gains.

use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// The largest number of threads.
const MOST: usize = 4;

/// Threads with a scheduler of their own.
#[derive(Debug)]
pub(crate) struct ReviewThreads {
    /// None only during the drop.
    runtime: Option<Runtime>,
}

impl ReviewThreads {
    /// Starts half as many threads as this process has cores (its CPU limit counts), from 1 to 4.
    ///
    /// # Errors
    /// The operating system refuses to start threads.
    pub(crate) fn start() -> io::Result<Self> {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads(cores))
            .thread_name("reviews")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Moves a listener to these threads: they drive the connections that it accepts.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(crate) fn adopt(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let listener = listener.into_std()?;
        let _within = self.runtime.as_ref().map(Runtime::enter);
        TcpListener::from_std(listener)
    }

    /// Runs `work` on these threads to its end. A panic in it continues in the caller.
    pub(crate) async fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
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
            // An async task must not wait for threads; their work has ended.
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
        let (send, receive) = tokio::sync::oneshot::channel();
        let serve = threads.run(async move {
            listener.accept().await.unwrap();
            let name = std::thread::current().name().map(str::to_owned);
            send.send(name).unwrap();
        });
        let (connected, ()) = tokio::join!(tokio::net::TcpStream::connect(address), serve);
        connected.unwrap();
        assert_eq!(receive.await.unwrap().as_deref(), Some("reviews"));
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
