//! The lower bound of the cost of serving: TLS, HTTP/1.1, and a body that is read and sent back.
//!
//! `bare` is hyper alone; `server` is our connection driver with the same service; `reviews` is the router of the HTTPS listener with its
//! layers and extractors, and a reviewer that returns the body. `benches/load.sh` compares the webhook with `bare`.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rolegate::certs::serving::{Pair, Serving};
use rolegate::http::rejection::json_response;
use rolegate::http::reviewer::{Call, Reviewer};
use rolegate::http::reviews::router;
use rolegate::server::accept::{Server, Transport};
use rolegate::server::connections::Connections;
use rolegate::server::limits::Limits;
use rolegate::server::shutdown::Lifecycle;
use rolegate::server::tls::{acceptor, install_crypto_provider};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Anything = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address] = arguments.as_slice() else {
        // `cargo bench` runs every benchmark with an argument of its own; a server that never ends is not a benchmark.
        println!("usage: echo bare|server|reviews ADDRESS:PORT");
        return Ok(());
    };
    let address: SocketAddr = address.parse()?;
    install_crypto_provider();
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let pair = Pair::from_pem(
        issued.cert.pem().as_bytes(),
        issued.signing_key.serialize_pem().as_bytes(),
    )?;
    let serving = Serving::new();
    serving.swap(pair);
    let tls = acceptor(serving, None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        match kind.as_str() {
            "bare" => bare(listener, tls).await,
            "server" => {
                let service = tower::service_fn(echo);
                server(listener, tls).serve(move |_peer| service).await;
                Ok(())
            }
            "reviews" => {
                let router = router(Arc::new(Parrot), &Arc::new(Limits::default()));
                server(listener, tls).serve(move |_peer| router.clone()).await;
                Ok(())
            }
            other => Err(format!("unknown kind of echo: {other}").into()),
        }
    })
}

fn server(listener: TcpListener, tls: TlsAcceptor) -> Server {
    let limits = Arc::new(Limits::default());
    Server {
        listener,
        transport: Transport::Tls(tls),
        connections: Connections::at_most(limits.connections),
        limits,
        life: Lifecycle::new(),
    }
}

async fn bare(listener: TcpListener, tls: TlsAcceptor) -> Result<(), Anything> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                // Clients may disconnect at any time.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(echo))
                    .await;
            }
        });
    }
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    Ok(Response::new(Full::new(body)))
}

struct Parrot;

impl Reviewer for Parrot {
    async fn review(&self, call: Call) -> axum::response::Response {
        json_response(StatusCode::OK, call.body.into())
    }
}
