//! What serving costs at the least: TLS, HTTP/1.1 and a body read and sent back, with nothing of ours (`bare`), or behind
//! our server (`face`). `benches/load.sh` drives it beside the real webhook.

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
use rolegate::http::service::{Call, Handler, HttpService};
use rolegate::http::status::{Reply, json_response};
use rolegate::server::accept::{Connections, Transport, serve};
use rolegate::server::limits::Limits;
use rolegate::server::shutdown::Lifecycle;
use rolegate::server::tls::{acceptor, install_crypto_provider};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Anything = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address] = arguments.as_slice() else {
        // `cargo bench` runs every benchmark with an argument of its own; a server that never ends is none.
        println!("usage: echo bare|face ADDRESS:PORT");
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
        if kind == "bare" {
            bare(listener, tls).await
        } else {
            face(listener, tls).await
        }
    })
}

async fn bare(listener: TcpListener, tls: TlsAcceptor) -> Result<(), Anything> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                // A client that goes away is no news here.
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

async fn face(listener: TcpListener, tls: TlsAcceptor) -> Result<(), Anything> {
    let limits = Arc::new(Limits::default());
    let service = Arc::new(HttpService::new(Parrot, limits.clone()));
    serve(
        listener,
        Transport::Tls(tls),
        service,
        limits,
        Lifecycle::new(),
        Connections::default(),
    )
    .await;
    Ok(())
}

struct Parrot;

impl Handler for Parrot {
    async fn answer(&self, call: Call) -> Reply {
        json_response(StatusCode::OK, call.body.into())
    }
}
