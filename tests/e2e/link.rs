//! A way between two sockets that can be cut and stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What happens to bytes on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They arrive.
    Open,
    /// They wait, in both directions, and so do new connections.
    Silent,
    /// New connections are closed at once; open ones go on until they are cut.
    Refused,
}

/// The switch of a way.
#[derive(Debug)]
pub(crate) struct Valve {
    flow: watch::Sender<Flow>,
    /// Counts up; connections opened under an older number are closed.
    cuts: watch::Sender<u64>,
    /// How long each piece of bytes takes, in each direction.
    delay: watch::Sender<Duration>,
}

impl Valve {
    pub(crate) fn new() -> Self {
        Self {
            flow: watch::Sender::new(Flow::Open),
            cuts: watch::Sender::new(0),
            delay: watch::Sender::new(Duration::ZERO),
        }
    }

    pub(crate) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    /// What is sent from now on arrives so much later.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }

    pub(crate) fn flow(&self) -> Flow {
        *self.flow.borrow()
    }

    /// Closes every connection that is open now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Waits while it is silent.
    pub(crate) async fn pass(&self) {
        let _ = self.flow.subscribe().wait_for(|flow| *flow != Flow::Silent).await;
    }

    /// Carries bytes both ways until an end closes or the way is cut.
    pub(crate) async fn carry<A, B>(&self, one: A, other: B)
    where
        A: AsyncRead + AsyncWrite,
        B: AsyncRead + AsyncWrite,
    {
        let mut cuts = self.cuts.subscribe();
        cuts.mark_unchanged();
        let (mut from_one, mut to_one) = tokio::io::split(one);
        let (mut from_other, mut to_other) = tokio::io::split(other);
        let both = async {
            tokio::join!(
                self.copy(&mut from_one, &mut to_other),
                self.copy(&mut from_other, &mut to_one)
            )
        };
        tokio::select! {
            _ = both => {}
            _ = cuts.changed() => {}
        }
    }

    async fn copy(&self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            self.pass().await;
            let delay = *self.delay.borrow();
            sleep(delay).await;
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..read]).await?;
        }
    }
}

/// An address that leads to another.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    pub(crate) valve: Arc<Valve>,
    task: JoinHandle<()>,
}

impl Link {
    pub(crate) fn to(target: SocketAddr, runtime: &Handle) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let valve = Arc::new(Valve::new());
        let task = runtime.spawn(lead(listener, target, Arc::clone(&valve)));
        Self { address, valve, task }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        self.valve.cut();
    }
}

async fn lead(listener: TcpListener, target: SocketAddr, valve: Arc<Valve>) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let valve = Arc::clone(&valve);
        tokio::spawn(async move {
            valve.pass().await;
            if valve.flow() == Flow::Refused {
                return;
            }
            if let Ok(far) = TcpStream::connect(target).await {
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                valve.carry(near, far).await;
            }
        });
    }
}
