//! The paths of the HTTPS server, and what is refused before a body is read.

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use super::status::{Reason, Reply, status_response};
use crate::admission::path_mode::PathMode;

/// What a review is posted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /mutate…`: judge a pod and inject its identity.
    MutatePods(PathMode),
    /// `POST /validate/pods…`: the same judgment without a patch.
    ValidatePods(PathMode),
    /// `POST /validate/workloads`: warnings for what makes pods later.
    ValidateWorkloads,
}

impl Route {
    /// The route of a path; none where nothing is served.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("/mutate") {
            return path_mode(rest).map(Self::MutatePods);
        }
        let rest = path.strip_prefix("/validate/")?;
        if rest == "workloads" {
            return Some(Self::ValidateWorkloads);
        }
        path_mode(rest.strip_prefix("pods")?).map(Self::ValidatePods)
    }

    /// The route of a request.
    ///
    /// # Errors
    /// The answer to a request for another path (404), with another method (405) or with a body that does not call itself
    /// JSON (415).
    pub fn of_request(head: &Parts) -> Result<Self, Box<Reply>> {
        let Some(route) = Self::of_path(head.uri.path()) else {
            let message = "rolegate serves POST on /mutate, /mutate/{enforce,warn,audit}, /validate/pods/{enforce,warn,audit} and \
                           /validate/workloads; check the path in the webhook configuration";
            return Err(Box::new(status_response(Reason::NotFound, message)));
        };
        if head.method != Method::POST {
            return Err(Box::new(method_not_allowed("POST")));
        }
        if !is_json(&head.headers) {
            let message = "expected an AdmissionReview with Content-Type: application/json";
            return Err(Box::new(status_response(Reason::UnsupportedMediaType, message)));
        }
        Ok(route)
    }
}

/// 405, with the methods that would be served.
pub(crate) fn method_not_allowed(allow: &'static str) -> Reply {
    let mut reply = status_response(Reason::MethodNotAllowed, &format!("this path takes {allow} only"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    reply
}

/// What follows the word that begins a path: nothing, or a segment that names a mode.
fn path_mode(rest: &str) -> Option<PathMode> {
    if rest.is_empty() {
        return Some(PathMode::Configured);
    }
    let word = rest.strip_prefix('/')?;
    Some(word.parse().map_or(PathMode::Misspelled, PathMode::Named))
}

/// Whether the body says that it is JSON: `application/json` in any case, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Mode;
    use hyper::Request;

    #[test]
    fn paths_name_what_is_asked_and_in_which_mode() {
        use PathMode::{Configured, Misspelled, Named};
        let cases = [
            ("/mutate", Some(Route::MutatePods(Configured))),
            ("/mutate/enforce", Some(Route::MutatePods(Named(Mode::Enforce)))),
            ("/mutate/warn", Some(Route::MutatePods(Named(Mode::Warn)))),
            ("/mutate/audit", Some(Route::MutatePods(Named(Mode::Audit)))),
            ("/mutate/misspelt", Some(Route::MutatePods(Misspelled))),
            ("/mutate/Enforce", Some(Route::MutatePods(Misspelled))),
            ("/mutate/", Some(Route::MutatePods(Misspelled))),
            ("/mutate/warn/more", Some(Route::MutatePods(Misspelled))),
            ("/validate/pods", Some(Route::ValidatePods(Configured))),
            ("/validate/pods/warn", Some(Route::ValidatePods(Named(Mode::Warn)))),
            ("/validate/pods/other", Some(Route::ValidatePods(Misspelled))),
            ("/validate/workloads", Some(Route::ValidateWorkloads)),
            ("/", None),
            ("", None),
            ("/mutates", None),
            ("/validate", None),
            ("/validate/", None),
            ("/validate/podsy", None),
            ("/validate/workloads/", None),
            ("/metrics", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Route::of_path(path), expected, "{path}");
        }
    }

    #[test]
    fn other_paths_methods_and_content_types_are_refused_in_this_order() {
        let cases = [
            ("POST", "/mutate", Some("application/json"), None),
            (
                "POST",
                "/mutate?timeout=5s",
                Some("application/json; charset=utf-8"),
                None,
            ),
            ("POST", "/mutate", Some("Application/JSON ;charset=utf-8"), None),
            ("POST", "/mutate", Some("text/plain"), Some(415)),
            ("POST", "/mutate", Some("application/json-patch+json"), Some(415)),
            ("POST", "/mutate", Some(""), Some(415)),
            ("POST", "/mutate", None, Some(415)),
            ("GET", "/mutate", None, Some(405)),
            ("PUT", "/validate/workloads", Some("application/json"), Some(405)),
            ("GET", "/nothing", None, Some(404)),
        ];
        for (method, uri, content_type, expected) in cases {
            let mut request = Request::builder().method(method).uri(uri);
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let refused = Route::of_request(&head).err().map(|reply| reply.status().as_u16());
            assert_eq!(refused, expected, "{method} {uri} {content_type:?}");
        }
        assert_eq!(method_not_allowed("POST").headers()["allow"], "POST");
    }
}
