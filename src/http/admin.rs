//! The admin server, plain HTTP: probes, metrics, and what the role cache holds.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName};

use super::rejection::{Reason, Rejection, json_response};
use crate::server::shutdown::Lifecycle;
use crate::telemetry::metrics::{self, Metrics};

/// Who may read `/roles`: trust policies reveal whom an account trusts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RolesFor {
    /// Peers on a loopback address (`kubectl port-forward`, `kubectl exec`).
    #[default]
    Loopback,
    /// Every peer that reaches the port.
    Everyone,
}

/// What must hold before the process is ready. Each condition is checked at each probe; its owner ensures that it does not become false
/// again because of a temporary failure, such as a broken watch.
#[derive(Default)]
pub(crate) struct Readiness {
    conditions: Vec<Condition>,
}

struct Condition {
    /// The condition as a sentence: `ServiceAccounts are listed`.
    name: &'static str,
    holds: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Readiness {
    /// Without conditions: ready.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a condition; `name` is a sentence that is true when it holds.
    #[must_use]
    pub(crate) fn and(mut self, name: &'static str, holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push(Condition {
            name,
            holds: Box::new(holds),
        });
        self
    }

    /// One line per condition, and whether all hold.
    fn report(&self, life: &Lifecycle) -> (bool, String) {
        let mut ready = true;
        let mut report = String::new();
        let draining = life.is_draining();
        let conditions = self
            .conditions
            .iter()
            .map(|condition| (condition.name, (condition.holds)()));
        for (name, holds) in conditions.chain([("the process is not shutting down", !draining)]) {
            ready &= holds;
            // Writing to a String does not fail.
            let _ = writeln!(report, "[{}] {name}", if holds { "ok" } else { "missing" });
        }
        let _ = writeln!(report, "{}", if ready { "ready" } else { "not ready" });
        (ready, report)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.conditions.iter().map(|condition| condition.name))
            .finish()
    }
}

/// The admin service.
pub(crate) struct Admin {
    /// What `/readyz` reports.
    pub readiness: Readiness,
    /// What `/metrics` returns.
    pub metrics: Arc<Metrics>,
    /// The JSON of `/roles`.
    pub roles: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// Who may read it.
    pub roles_for: RolesFor,
    /// Not ready once it drains.
    pub life: Lifecycle,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// The routes of the admin listener, for one peer.
    pub(crate) fn routes(self: Arc<Self>) -> impl Fn(SocketAddr) -> Router + Send + Sync + 'static {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .route("/roles", get(roles))
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .with_state(self);
        move |peer| router.clone().layer(Extension(Peer(peer)))
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

const TEXT: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; charset=utf-8")];

async fn livez() -> impl IntoResponse {
    (TEXT, "ok\n")
}

async fn readyz(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let (ready, report) = admin.readiness.report(&admin.life);
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, TEXT, report)
}

async fn metrics_text(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], admin.metrics.text())
}

async fn roles(State(admin): State<Arc<Admin>>, Extension(Peer(peer)): Extension<Peer>) -> Result<Response, Rejection> {
    // An IPv4 peer of a listener on `[::]` comes as `::ffff:127.0.0.1`.
    if admin.roles_for == RolesFor::Loopback && !peer.ip().to_canonical().is_loopback() {
        let message = "/roles is only available to clients on this host; use kubectl port-forward, or allow others with --admin-allow-remote-roles";
        return Err(Rejection::new(Reason::Forbidden, message));
    }
    Ok(json_response(StatusCode::OK, (admin.roles)()))
}

async fn not_found() -> Rejection {
    Rejection::new(
        Reason::NotFound,
        "the admin server serves /livez, /readyz, /metrics and /roles",
    )
}

/// axum adds `Allow`.
async fn method_not_allowed() -> Rejection {
    Rejection::new(Reason::MethodNotAllowed, "this path supports only GET and HEAD")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::ByNamespace;
    use axum::body::Body;
    use futures::FutureExt as _;
    use http_body_util::BodyExt as _;
    use hyper::Request;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tower::ServiceExt as _;

    fn admin(readiness: Readiness, roles_for: RolesFor) -> Arc<Admin> {
        Arc::new(Admin {
            readiness,
            metrics: Metrics::new(ByNamespace::No),
            roles: Box::new(|| b"[]".to_vec()),
            roles_for,
            life: Lifecycle::new(),
        })
    }

    fn answer(admin: &Arc<Admin>, peer: &str, method: &str, path: &str) -> Response {
        let router = Arc::clone(admin).routes()(peer.parse().unwrap());
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        router.oneshot(request).now_or_never().unwrap().unwrap()
    }

    fn get(admin: &Arc<Admin>, peer: &str, path: &str) -> (u16, String) {
        let response = answer(admin, peer, "GET", path);
        let code = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .now_or_never()
            .unwrap()
            .unwrap()
            .to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    const LOCAL: &str = "127.0.0.1:40000";

    #[test]
    fn readiness_says_what_is_missing() {
        let listed = Arc::new(AtomicBool::new(false));
        let holds = listed.clone();
        let readiness = Readiness::new()
            .and("ServiceAccounts are listed", move || holds.load(Ordering::Relaxed))
            .and("a certificate is served", || true);
        let admin = admin(readiness, RolesFor::Loopback);

        let (code, report) = get(&admin, LOCAL, "/readyz");
        assert_eq!(code, 503);
        insta::assert_snapshot!(report, @r"
        [missing] ServiceAccounts are listed
        [ok] a certificate is served
        [ok] the process is not shutting down
        not ready
        ");
        listed.store(true, Ordering::Relaxed);
        assert_eq!(get(&admin, LOCAL, "/readyz").0, 200);
        admin.life.drain();
        let (code, report) = get(&admin, LOCAL, "/readyz");
        assert_eq!(code, 503);
        assert!(
            report.contains("[missing] the process is not shutting down"),
            "{report}"
        );
        assert_eq!(get(&admin, LOCAL, "/livez").0, 200);
    }

    #[test]
    fn roles_are_for_this_host_unless_allowed() {
        let private = admin(Readiness::new(), RolesFor::Loopback);
        for (peer, code) in [
            ("127.0.0.1:1", 200),
            ("127.8.9.10:1", 200),
            ("[::1]:1", 200),
            ("[::ffff:127.0.0.1]:1", 200),
            ("10.0.0.7:1", 403),
            ("[::ffff:10.0.0.7]:1", 403),
            ("[fd00::7]:1", 403),
        ] {
            assert_eq!(get(&private, peer, "/roles").0, code, "{peer}");
        }
        assert_eq!(
            get(&admin(Readiness::new(), RolesFor::Everyone), "10.0.0.7:1", "/roles"),
            (200, "[]".to_owned())
        );
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let admin = admin(Readiness::new(), RolesFor::Loopback);
        assert_eq!(get(&admin, LOCAL, "/").0, 404);
        assert_eq!(get(&admin, LOCAL, "/metrics/").0, 404);
        let response = answer(&admin, LOCAL, "POST", "/metrics");
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET,HEAD");
        assert_eq!(answer(&admin, LOCAL, "HEAD", "/metrics").status(), 200);
    }
}
