//! HTTP errors. The body of every response other than 200 is a Kubernetes `metav1.Status`, whose message the API server passes on to the
//! author of the object.

use crate::support::text;
use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;

/// The content type of every JSON response.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Seconds after which a client may retry after a temporary overload.
const RETRY_SECONDS: u64 = 1;

/// Why a request is not answered with a 200: a `metav1.StatusReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// 400: the body is not what it should be.
    BadRequest,
    /// 403.
    Forbidden,
    /// 404: no such path.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408: the client did not send its body in time.
    Timeout,
    /// 413.
    RequestEntityTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 503: a temporary overload; the response has `Retry-After: 1`, which the API server honors within its timeout.
    ServiceUnavailable,
}

impl Reason {
    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The value of `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Timeout => "Timeout",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }
}

/// A request that is answered with an error before its review was read.
#[derive(Clone, Debug)]
pub struct Rejection {
    reason: Reason,
    message: Cow<'static, str>,
    connection: Connection,
    overloaded: Option<Overloaded>,
}

/// What is overloaded when a request is rejected that would be answered at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overloaded {
    /// The bodies of all requests together hold too many bytes.
    Bytes,
    /// Too many requests are in flight.
    Requests,
    /// Its body arrived too slowly while other requests needed room.
    SlowBody,
}

impl Overloaded {
    /// All.
    pub const ALL: [Self; 3] = [Self::Bytes, Self::Requests, Self::SlowBody];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Requests => "requests",
            Self::SlowBody => "slow-body",
        }
    }
}

/// What happens to the connection after a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    KeepAlive,
    Close,
}

/// The mark of a response that was a [`Rejection`]: an extension of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rejected {
    pub(super) overloaded: Option<Overloaded>,
}

impl Rejection {
    /// A rejection with a message for the author of the object, or for the operator.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
            connection: Connection::KeepAlive,
            overloaded: None,
        }
    }

    /// A 503 because of the load, with `Retry-After`.
    pub(super) fn overloaded(reason: Overloaded, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            overloaded: Some(reason),
            ..Self::new(Reason::ServiceUnavailable, message)
        }
    }

    /// The same, and the connection is closed after it.
    #[must_use]
    pub(super) fn closing(self) -> Self {
        Self {
            connection: Connection::Close,
            ..self
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = status_response(self.reason, &self.message);
        if self.connection == Connection::Close {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Rejected {
            overloaded: self.overloaded,
        });
        response
    }
}

/// A response with a `metav1.Status` as its body. A [`Reason::ServiceUnavailable`] also says when to retry.
#[must_use]
pub fn status_response(reason: Reason, message: &str) -> Response {
    let retry_after = (reason == Reason::ServiceUnavailable).then_some(RETRY_SECONDS);
    let status = Status {
        kind: "Status",
        api_version: "v1",
        metadata: Metadata {},
        status: "Failure",
        message: &text::message(message),
        reason: reason.as_str(),
        details: retry_after.map(|retry_after_seconds| Details { retry_after_seconds }),
        code: reason.code().as_u16(),
    };
    // Nothing in `Status` can fail to serialize; an empty body is what is left to say if it did.
    let body = serde_json::to_vec(&status).unwrap_or_default();
    let mut response = json_response(reason.code(), body);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A response whose body is this JSON text.
#[must_use]
pub fn json_response(code: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    code: u16,
}

#[derive(Serialize)]
struct Metadata {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use http_body_util::BodyExt as _;

    fn body(response: Response) -> String {
        let collected = response.into_body().collect().now_or_never().unwrap().unwrap();
        String::from_utf8(collected.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_refused_request_gets_a_status_object() {
        let response = status_response(Reason::NotFound, "no such path: \"/x\"");
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(response.headers().get("retry-after").is_none());
        insta::assert_snapshot!(
            body(response),
            @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no such path: \"/x\"","reason":"NotFound","code":404}"#
        );
    }

    #[test]
    fn a_rejection_under_load_says_when_to_retry() {
        let response = status_response(Reason::ServiceUnavailable, "busy");
        assert_eq!(response.headers()["retry-after"], "1");
        insta::assert_snapshot!(
            body(response),
            @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"busy","reason":"ServiceUnavailable","details":{"retryAfterSeconds":1},"code":503}"#
        );
    }
}
