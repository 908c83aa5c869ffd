//! The way from the API server to webhooks: what kube-proxy does in a cluster, and the place to do harm.
//!
//! The API server's egress selector sends `CONNECT CLUSTER_IP:443` to a unix socket. The cluster IP is looked up among the
//! Services of the API server, and the connection goes to the next of the replicas that run for that Service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::link::{Flow, Valve};

/// All connections from the API server to webhooks.
#[derive(Default)]
pub(crate) struct Egress {
    /// By namespace and name of a Service.
    backends: Mutex<BTreeMap<(String, String), Arc<Backend>>>,
    /// Where the container ports of pods really are, by address and port. Proxy requests of kubectl go to pods.
    pods: Mutex<BTreeMap<String, SocketAddr>>,
    client: OnceLock<Client>,
}

impl Egress {
    /// Listens on a unix socket from now on, for as long as the runtime lives.
    pub(crate) fn listen(self: &Arc<Self>, socket: &Path, runtime: &Handle) {
        let listener = runtime.block_on(async { UnixListener::bind(socket) }).unwrap();
        let egress = Arc::clone(self);
        runtime.spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let egress = Arc::clone(&egress);
                    tokio::spawn(async move { egress.connect(stream).await });
                }
            }
        });
    }

    /// Looks Services up with this client.
    pub(crate) fn look_up_with(&self, client: Client) {
        let _ = self.client.set(client);
    }

    /// The backend of a Service; the same for each call.
    pub(crate) fn backend(&self, namespace: &str, service: &str) -> Arc<Backend> {
        let key = (namespace.to_owned(), service.to_owned());
        Arc::clone(lock(&self.backends).entry(key).or_default())
    }

    /// Connections to this address of a pod go to where its ports really are.
    pub(crate) fn add_pod(&self, address: &str, ports: BTreeMap<String, SocketAddr>) {
        let ports = ports
            .into_iter()
            .map(|(port, real)| (format!("{address}:{port}"), real));
        lock(&self.pods).extend(ports);
    }

    async fn connect(&self, mut near: UnixStream) {
        let Some(target) = read_connect(&mut near).await else {
            return;
        };
        let pod = lock(&self.pods).get(&target).copied();
        if let Some(address) = pod {
            let Ok(mut far) = TcpStream::connect(address).await else {
                return answer(&mut near, "502 Bad Gateway").await;
            };
            answer(&mut near, "200 Connection established").await;
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            return;
        }
        match self.find(&target).await {
            Ok((backend, port)) => backend.lead(near, &port).await,
            // The target is not a Service with replicas. The answer reaches the API server's log.
            Err(why) => answer(&mut near, &format!("502 {target}: {why}")).await,
        }
    }

    /// The backend and the target port of a Service's `CLUSTER_IP:PORT`.
    async fn find(&self, target: &str) -> Result<(Arc<Backend>, IntOrString), String> {
        let (ip, port) = target.rsplit_once(':').ok_or("no port")?;
        let client = self.client.get().ok_or("no client yet")?.clone();
        let services = Api::<Service>::all(client)
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let service = services
            .items
            .into_iter()
            .find(|service| {
                service
                    .spec
                    .as_ref()
                    .is_some_and(|spec| spec.cluster_ip.as_deref() == Some(ip))
            })
            .ok_or("no Service has this cluster IP")?;
        let spec = service.spec.unwrap_or_default();
        let port = spec
            .ports
            .unwrap_or_default()
            .into_iter()
            .find(|of_service| of_service.port.to_string() == port)
            .ok_or("the Service has no such port")?;
        let key = (
            service.metadata.namespace.unwrap_or_default(),
            service.metadata.name.unwrap_or_default(),
        );
        let backend = lock(&self.backends).get(&key).cloned();
        let backend = backend.ok_or("nothing runs behind this Service")?;
        let target_port = port.target_port.unwrap_or(IntOrString::Int(port.port));
        Ok((backend, target_port))
    }
}

/// What kube-proxy knows of one Service: its replicas. The faults are those of the network before them.
#[derive(Debug)]
pub(crate) struct Backend {
    endpoints: Mutex<Vec<Arc<Endpoint>>>,
    next: AtomicUsize,
    pub(crate) valve: Valve,
    delay: Mutex<Duration>,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            endpoints: Mutex::default(),
            next: AtomicUsize::new(0),
            valve: Valve::new(),
            delay: Mutex::default(),
        }
    }
}

/// A replica as the Service sees it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    /// Where each container port really is, under its number and its name.
    pub(crate) ports: BTreeMap<String, SocketAddr>,
    connections: AtomicUsize,
}

impl Backend {
    /// A replica that is ready gets its share of new connections.
    pub(crate) fn add(&self, name: &str, ports: BTreeMap<String, SocketAddr>) {
        lock(&self.endpoints).push(Arc::new(Endpoint {
            name: name.to_owned(),
            ports,
            connections: AtomicUsize::new(0),
        }));
    }

    /// No new connections for a replica, as when its pod terminates; those that are open stay.
    pub(crate) fn take_out(&self, name: &str) {
        lock(&self.endpoints).retain(|endpoint| endpoint.name != name);
    }

    /// The same for all replicas.
    pub(crate) fn take_out_all(&self) {
        lock(&self.endpoints).clear();
    }

    /// Closes every open connection, so that each call after it is a new one.
    pub(crate) fn drop_connections(&self) {
        self.valve.cut();
    }

    /// New connections are refused from now on, or wait, or pass again.
    pub(crate) fn set_flow(&self, flow: Flow) {
        self.valve.set(flow);
    }

    /// New connections wait this long before they are led on.
    pub(crate) fn set_delay(&self, delay: Duration) {
        *lock(&self.delay) = delay;
    }

    /// The number of connections to each replica that is not taken out.
    pub(crate) fn connections(&self) -> BTreeMap<String, usize> {
        lock(&self.endpoints)
            .iter()
            .map(|endpoint| (endpoint.name.clone(), endpoint.connections.load(Ordering::Relaxed)))
            .collect()
    }

    async fn lead(&self, mut near: UnixStream, port: &IntOrString) {
        let delay = *lock(&self.delay);
        sleep(delay).await;
        self.valve.pass().await;
        if self.valve.flow() == Flow::Refused {
            return answer(&mut near, "503 Service Unavailable").await;
        }
        let Some(endpoint) = self.next_endpoint() else {
            return answer(&mut near, "503 Service Unavailable").await;
        };
        let port = match port {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(name) => name.clone(),
        };
        let Some(address) = endpoint.ports.get(&port) else {
            return answer(&mut near, "502 Bad Gateway").await;
        };
        let Ok(far) = TcpStream::connect(address).await else {
            return answer(&mut near, "502 Bad Gateway").await;
        };
        let _ = far.set_nodelay(true);
        endpoint.connections.fetch_add(1, Ordering::Relaxed);
        answer(&mut near, "200 Connection established").await;
        self.valve.carry(near, far).await;
    }

    fn next_endpoint(&self) -> Option<Arc<Endpoint>> {
        let endpoints = lock(&self.endpoints);
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(endpoints.len())?;
        endpoints.get(index).cloned()
    }
}

/// The target of `CONNECT HOST:PORT HTTP/1.1`; its header is read to the end.
async fn read_connect(near: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.lines().next()?.split(' ');
    (words.next()? == "CONNECT").then(|| words.next().map(str::to_owned))?
}

async fn answer(near: &mut UnixStream, status: &str) {
    let _ = near.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await;
}

/// A scenario that failed while it held a lock does not fail the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
