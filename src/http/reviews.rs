//! The HTTPS endpoint: the routes of reviews, and everything about a request except the review itself. A [`Reviewer`] receives complete
//! bodies and a deadline.
//!
//! A request passes through these layers, from the outside in: the count of rejections ([`RejectionLayer`]), the deadline ([`Deadline`]),
//! and the content type, the body with its limits, and the permit for a request in flight (`ReviewBody`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::handler::Handler as _;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, post_service};
use axum::{Extension, Router};
use hyper::StatusCode;
use tower::{Layer as _, ServiceBuilder};
use tracing::debug;

use super::body::{BodyReader, ReviewBody};
use super::deadline::Deadline;
use super::layers::RejectionLayer;
use super::rejection::{Overloaded, Reason, Rejection, json_response, status_response};
use super::reviewer::{Call, Reviewer};
use crate::admission::pods::Answer;
use crate::admission::review_kind::{PathMode, ReviewKind};
use crate::admission::webhook::Webhook;
use crate::decision::Mode;
use crate::server::limits::Limits;

impl Reviewer for Webhook {
    async fn review(&self, call: Call) -> Response {
        let Deadline { arrived, due } = call.deadline;
        match self.review(call.kind, &call.body, arrived, due).await {
            Answer::Review(json) => json_response(StatusCode::OK, json),
            Answer::Unavailable(reason) => status_response(Reason::ServiceUnavailable, &reason),
            Answer::BadRequest(error) => {
                let reason = error.to_string();
                debug!(reason, "failed to parse the request body");
                Rejection::new(Reason::BadRequest, reason).into_response()
            }
        }
    }

    fn rejected(&self, kind: Option<ReviewKind>, _status: StatusCode, elapsed: Duration) {
        self.rejected(kind, elapsed);
    }

    fn overloaded(&self, reason: Overloaded) {
        self.metrics.count_rejected_under_load(reason.as_str());
    }
}

/// The routes of the HTTPS listener. Clones share their limits.
pub fn router<R: Reviewer>(reviewer: Arc<R>, limits: &Arc<Limits>) -> Router {
    let state = Reviews(Arc::new(Shared {
        reviewer,
        body: BodyReader::new(Arc::clone(limits)),
    }));
    let route = |kind| state.route(kind);
    let mut router = Router::new().route("/validate/workloads", route(ReviewKind::ValidateWorkloads));
    for path in ["/mutate", "/validate/pods"] {
        let kind = match path {
            "/mutate" => ReviewKind::MutatePods,
            _ => ReviewKind::ValidatePods,
        };
        router = router.route(path, route(kind(PathMode::Configured)));
        for mode in [Mode::Enforce, Mode::Warn, Mode::Audit] {
            router = router.route(&format!("{path}/{mode}"), route(kind(PathMode::Named(mode))));
        }
        for misspelled in [format!("{path}/"), format!("{path}/{{*mode}}")] {
            router = router.route(&misspelled, route(kind(PathMode::Misspelled)));
        }
    }
    let elsewhere = RejectionLayer::new(Arc::clone(&state.0.reviewer), None);
    router.fallback_service(elsewhere.layer(not_found.with_state(state)))
}

/// What the routes share.
struct Reviews<R>(Arc<Shared<R>>);

struct Shared<R> {
    reviewer: Arc<R>,
    body: BodyReader,
}

impl<R: Reviewer> Reviews<R> {
    /// The layers are around the handlers themselves, not around routes: each route of axum costs an allocation or two per request.
    fn route(&self, kind: ReviewKind) -> MethodRouter {
        let review = move |State(reviews): State<Self>, Extension(deadline): Extension<Deadline>, body: ReviewBody| async move {
            // The request's shares of bytes and of requests in flight are given back with the response.
            let ReviewBody { bytes: body, _shares } = body;
            reviews.0.reviewer.review(Call { kind, body, deadline }).await
        };
        let rejections = RejectionLayer::new(Arc::clone(&self.0.reviewer), Some(kind));
        let layers = ServiceBuilder::new()
            .layer(rejections.clone())
            .map_request(Deadline::start);
        post_service(layers.service(review.with_state(self.clone())))
            .fallback_service(rejections.layer(method_not_allowed.with_state(self.clone())))
    }
}

impl<R> Clone for Reviews<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> AsRef<BodyReader> for Reviews<R> {
    fn as_ref(&self) -> &BodyReader {
        &self.0.body
    }
}

async fn not_found<R>(State(reviews): State<Reviews<R>>, request: Request) -> Rejection {
    let message = "rolegate serves POST on /mutate, /mutate/{enforce,warn,audit}, /validate/pods/{enforce,warn,audit} and \
                   /validate/workloads; check the path in the webhook configuration";
    let rejection = Rejection::new(Reason::NotFound, message);
    reviews.0.body.reject(request, rejection).await
}

/// axum adds `Allow`.
async fn method_not_allowed<R>(State(reviews): State<Reviews<R>>, request: Request) -> Rejection {
    let rejection = Rejection::new(Reason::MethodNotAllowed, "this path supports only POST");
    reviews.0.body.reject(request, rejection).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;

    /// Answers with what it was posted for, and remembers what was rejected.
    #[derive(Default)]
    struct Witness(Mutex<Vec<(Option<ReviewKind>, u16)>>);

    impl Reviewer for Witness {
        async fn review(&self, call: Call) -> Response {
            format!("{:?}", call.kind).into_response()
        }

        fn rejected(&self, kind: Option<ReviewKind>, status: StatusCode, _elapsed: Duration) {
            self.0.lock().unwrap().push((kind, status.as_u16()));
        }
    }

    async fn answer(router: &Router, method: &str, uri: &str, content_type: Option<&str>) -> Response {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.body(Body::from("{}")).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_path_selects_the_review_kind_and_the_mode() {
        use PathMode::{Configured, Misspelled, Named};
        use ReviewKind::{MutatePods, ValidatePods, ValidateWorkloads};
        let witness = Arc::new(Witness::default());
        let router = router(Arc::clone(&witness), &Arc::new(Limits::default()));
        let cases = [
            ("/mutate", Some(MutatePods(Configured))),
            ("/mutate?timeout=5s", Some(MutatePods(Configured))),
            ("/mutate/enforce", Some(MutatePods(Named(Mode::Enforce)))),
            ("/mutate/warn", Some(MutatePods(Named(Mode::Warn)))),
            ("/mutate/audit", Some(MutatePods(Named(Mode::Audit)))),
            ("/mutate/misspelt", Some(MutatePods(Misspelled))),
            ("/mutate/Enforce", Some(MutatePods(Misspelled))),
            ("/mutate/", Some(MutatePods(Misspelled))),
            ("/mutate/warn/more", Some(MutatePods(Misspelled))),
            ("/mutate/warn/", Some(MutatePods(Misspelled))),
            ("/validate/pods", Some(ValidatePods(Configured))),
            ("/validate/pods/warn", Some(ValidatePods(Named(Mode::Warn)))),
            ("/validate/pods/other", Some(ValidatePods(Misspelled))),
            ("/validate/workloads", Some(ValidateWorkloads)),
            ("/", None),
            ("/mutates", None),
            ("/validate", None),
            ("/validate/", None),
            ("/validate/podsy", None),
            ("/validate/workloads/", None),
            ("/metrics", None),
        ];
        for (path, expected) in cases {
            let response = answer(&router, "POST", path, Some("application/json")).await;
            let Some(kind) = expected else {
                assert_eq!(response.status(), 404, "{path}");
                assert_eq!(witness.0.lock().unwrap().pop(), Some((None, 404)), "{path}");
                continue;
            };
            assert_eq!(response.status(), 200, "{path}");
            let body = axum::body::to_bytes(response.into_body(), 1000).await;
            assert_eq!(body.unwrap(), format!("{kind:?}"), "{path}");
        }
        assert_eq!(*witness.0.lock().unwrap(), []);
    }

    #[tokio::test]
    async fn other_methods_and_content_types_are_rejected_and_counted() {
        let witness = Arc::new(Witness::default());
        let router = router(Arc::clone(&witness), &Arc::new(Limits::default()));
        let (mutate, workloads) = (
            ReviewKind::MutatePods(PathMode::Configured),
            ReviewKind::ValidateWorkloads,
        );
        let cases = [
            ("POST", "/mutate", Some("application/json"), None),
            ("POST", "/mutate", Some("application/json; charset=utf-8"), None),
            ("POST", "/mutate", Some("Application/JSON ;charset=utf-8"), None),
            ("POST", "/mutate", Some("text/plain"), Some((Some(mutate), 415))),
            (
                "POST",
                "/mutate",
                Some("application/json-patch+json"),
                Some((Some(mutate), 415)),
            ),
            ("POST", "/mutate", Some(""), Some((Some(mutate), 415))),
            ("POST", "/mutate", None, Some((Some(mutate), 415))),
            ("GET", "/mutate", None, Some((Some(mutate), 405))),
            (
                "PUT",
                "/validate/workloads",
                Some("application/json"),
                Some((Some(workloads), 405)),
            ),
            ("GET", "/nothing", None, Some((None, 404))),
        ];
        for (method, uri, content_type, expected) in cases {
            let response = answer(&router, method, uri, content_type).await;
            let status = expected.map_or(200, |(_, status)| status);
            assert_eq!(response.status(), status, "{method} {uri} {content_type:?}");
            assert_eq!(
                witness.0.lock().unwrap().pop(),
                expected,
                "{method} {uri} {content_type:?}"
            );
            let allow = response.headers().get("allow").map(|value| value.to_str().unwrap());
            assert_eq!(allow, (status == 405).then_some("POST"), "{method} {uri}");
        }
    }
}
