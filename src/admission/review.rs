//! Requests and responses of AdmissionReview, `admission.k8s.io/v1`: the only module that knows the wire format.
//!
//! The types are our own: the request borrows from the body and deserializes the object directly into the view that the caller
//! needs, and the response writes `patch` as the base64 text that the API documents.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::pod::Warning;
use crate::pod::inject::Patch;
use crate::pod::json::{self, Read, Reader, Taken, Text, read_fields, write_text};
use crate::support::text;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What the API documents as operations.
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];

/// The API server drops what exceeds this many characters of warnings in all.
const WARNINGS_CHARACTERS: usize = 4096;

/// The `request` of an AdmissionReview, its object as `O`. The objects are boxed because the request is moved several times while it
/// is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
pub struct AdmissionRequest<'a, O> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    kind: Option<GroupKind<'a>>,
    #[serde(borrow, default)]
    sub_resource: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    namespace: Text<'a>,
    #[serde(borrow, default)]
    operation: Text<'a>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(default = "none")]
    object: Option<Box<O>>,
    #[serde(default = "none")]
    old_object: Option<Box<O>>,
}

/// The type of an object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct GroupKind<'a> {
    #[serde(borrow, default)]
    group: Text<'a>,
    #[serde(borrow, default)]
    version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
}

/// The operation on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is created.
    Create,
    /// It is changed.
    Update,
    /// Deleted or connected to.
    Other,
}

impl<O> AdmissionRequest<'_, O> {
    /// Copied to the response.
    pub fn uid(&self) -> &str {
        self.uid.as_str()
    }
    /// The object's kind, and its API group (empty for the core group).
    pub(crate) fn group_and_kind(&self) -> (&str, &str) {
        self.kind
            .as_ref()
            .map_or(("", ""), |kind| (kind.group.as_str(), kind.kind.as_str()))
    }
    /// The version of the object's API group.
    pub(crate) fn version(&self) -> &str {
        self.kind.as_ref().map_or("", |kind| kind.version.as_str())
    }
    /// Empty, or `ephemeralcontainers`, `status` …
    pub(crate) fn sub_resource(&self) -> &str {
        self.sub_resource.as_str()
    }
    /// The object's name; empty when the API server has not generated it yet.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }
    /// The object's namespace; empty for objects without one.
    pub fn namespace(&self) -> &str {
        self.namespace.as_str()
    }
    /// The operation.
    pub fn operation(&self) -> Operation {
        match self.operation.as_str() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            _ => Operation::Other,
        }
    }
    /// Whether it is a dry run, which must have no side effects.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }
    /// The new object.
    pub fn object(&self) -> Option<&O> {
        self.object.as_deref()
    }
    /// The existing object.
    pub(crate) fn old_object(&self) -> Option<&O> {
        self.old_object.as_deref()
    }
}

/// Why a body is not a review that can be answered. `Display` is one line for the operator who configured the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// No body at all.
    #[error("the body is empty: expected an {} of {}", KIND, API_VERSION)]
    Empty,
    /// Not UTF-8, as JSON must be.
    #[error("the body is not UTF-8, as JSON must be")]
    NotUtf8,
    /// Not JSON, or not of the expected shape.
    #[error("the body is not an {} of {}: {}", KIND, API_VERSION, text::value(.0))]
    Malformed(String),
    /// Another kind or version than `admission.k8s.io/v1 AdmissionReview`.
    #[error(
        "the body {}: only {} of {} is served; set admissionReviewVersions: [v1]",
        found(.api_version, .kind), KIND, API_VERSION
    )]
    WrongReview {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
    },
    /// A part is missing.
    #[error("the {} has no {}", KIND, .0)]
    Missing(&'static str),
    /// The object is of a kind that this path does not evaluate.
    #[error("the object is \"{}\": this path evaluates {}", text::value(.got), .expected)]
    WrongObject {
        /// The object's kind.
        got: String,
        /// The kinds that this path evaluates.
        expected: &'static str,
    },
}

/// The kind and API version of the body, as far as it has them.
fn found(api_version: &str, kind: &str) -> String {
    match (text::value(kind).as_str(), text::value(api_version).as_str()) {
        ("", "") => "names neither kind nor apiVersion".to_owned(),
        ("", version) => format!("is of \"{version}\" and names no kind"),
        (kind, "") => format!("is \"{kind}\" and names no apiVersion"),
        (kind, version) => format!("is \"{kind}\" of \"{version}\""),
    }
}

/// The error for an object that a path does not evaluate.
#[must_use]
pub(crate) fn wrong_object((group, kind): (&str, &str), expected: &'static str) -> ReviewError {
    if kind.is_empty() {
        return ReviewError::Missing("request.kind");
    }
    let got = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}.{group}")
    };
    ReviewError::WrongObject { got, expected }
}

/// Reads a review whose object is an `O`.
///
/// # Errors
/// [`ReviewError`]; to be answered with 400.
pub fn parse<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Result<AdmissionRequest<'a, O>, ReviewError> {
    request_of(read(text_of(body)?)?)
}

/// The same for an object that can be read quickly.
///
/// # Errors
/// As for [`parse`].
pub(crate) fn parse_quickly<'a, O: Deserialize<'a> + Read<'a>>(
    body: &'a [u8],
) -> Result<AdmissionRequest<'a, O>, ReviewError> {
    let text = text_of(body)?;
    match json::read(text) {
        Some(review) => request_of(review),
        None => request_of(read(text)?),
    }
}

fn text_of(body: &[u8]) -> Result<&str, ReviewError> {
    if body.is_empty() {
        return Err(ReviewError::Empty);
    }
    std::str::from_utf8(body).map_err(|_| ReviewError::NotUtf8)
}

fn read<'a, O: Deserialize<'a>>(text: &'a str) -> Result<Review<'a, O>, ReviewError> {
    serde_json::from_str(text)
        .map(|Object(review)| review)
        .map_err(|error| wrong_review(text).unwrap_or(ReviewError::Malformed(error.to_string())))
}

fn request_of<O>(review: Review<'_, O>) -> Result<AdmissionRequest<'_, O>, ReviewError> {
    if review.api_version.as_str() != API_VERSION || review.kind.as_str() != KIND {
        return Err(ReviewError::WrongReview {
            api_version: review.api_version.as_str().to_owned(),
            kind: review.kind.as_str().to_owned(),
        });
    }
    let Object(request) = review.request.ok_or(ReviewError::Missing("request"))?;
    if request.uid.as_str().is_empty() {
        return Err(ReviewError::Missing("request.uid"));
    }
    // Unknown operations are rejected: treating them as no-ops would admit the object unchecked.
    if !OPERATIONS.contains(&request.operation.as_str()) {
        return Err(ReviewError::Missing(
            "request.operation of CREATE, UPDATE, DELETE or CONNECT",
        ));
    }
    Ok(request)
}

/// An object that does not match its view might be of another kind, which is a better error than the field that did not match.
fn wrong_review(text: &str) -> Option<ReviewError> {
    let Object(review) = serde_json::from_str::<Object<Review<'_, IgnoredAny>>>(text).ok()?;
    if review.api_version.as_str() == API_VERSION && review.kind.as_str() == KIND {
        return None;
    }
    Some(ReviewError::WrongReview {
        api_version: review.api_version.as_str().to_owned(),
        kind: review.kind.as_str().to_owned(),
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
struct Review<'a, O> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default = "none")]
    request: Option<Object<AdmissionRequest<'a, O>>>,
}

/// A JSON object: serde would read an array into a struct, too, its elements in the order of the fields.
#[derive(Debug)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<O> Default for Review<'_, O> {
    fn default() -> Self {
        Self {
            api_version: Text::default(),
            kind: Text::default(),
            request: None,
        }
    }
}

impl<'a, O: Read<'a>> Read<'a> for Review<'a, O> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        read_fields!(reader, self, {
            "kind" => kind,
            "apiVersion" => api_version,
            "request" => request,
        })
    }
}

impl<O> Default for Object<AdmissionRequest<'_, O>> {
    fn default() -> Self {
        Self(AdmissionRequest {
            uid: Text::default(),
            kind: None,
            sub_resource: Text::default(),
            name: Text::default(),
            namespace: Text::default(),
            operation: Text::default(),
            dry_run: None,
            object: None,
            old_object: None,
        })
    }
}

impl<'a, O: Read<'a>> Read<'a> for Object<AdmissionRequest<'a, O>> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        read_fields!(reader, self.0, {
            "uid" => uid,
            "kind" => kind,
            "subResource" => sub_resource,
            "name" => name,
            "namespace" => namespace,
            "operation" => operation,
            "dryRun" => dry_run,
            "object" => object,
            "oldObject" => old_object,
        })
    }
}

impl<'a> Read<'a> for GroupKind<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        read_fields!(reader, self, {
            "group" => group,
            "version" => version,
            "kind" => kind,
        })
    }
}

/// `Option::default` without the bound that deriving it would put on `O`.
fn none<T>() -> Option<T> {
    None
}

/// The response to a review.
#[derive(Debug, Default)]
pub struct AdmissionResponse<'a> {
    /// The request's uid.
    pub uid: &'a str,
    /// Why it is refused (403); none if it is admitted.
    pub refusal: Option<&'a str>,
    /// What is added to the object.
    pub patch: Option<&'a Patch>,
    /// Shown to the user who created the object.
    pub warnings: &'a [Warning],
    /// For the API server's audit log; the server puts the webhook's name before each key.
    pub audit: AuditAnnotations<'a>,
}

/// Audit annotations. They hold the same values when the webhook is called again for the same pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditAnnotations<'a> {
    /// ARN of the role.
    pub role: Option<&'a str>,
    /// The verdict's word.
    pub verdict: Option<&'a str>,
    /// The cause's word.
    pub cause: Option<&'a str>,
    /// The mode's word.
    pub mode: Option<&'a str>,
}

impl AdmissionResponse<'_> {
    /// The AdmissionReview to send back.
    #[must_use]
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let patch = self.patch.map_or(0, |patch| patch.as_json().len());
        let mut json = Vec::with_capacity(USUAL_ANSWER + patch + patch / 3);
        let out = &mut json;
        out.extend_from_slice(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#);
        write_text(out, self.uid);
        match self.refusal {
            None => out.extend_from_slice(br#","allowed":true"#),
            Some(message) => {
                out.extend_from_slice(br#","allowed":false,"status":{"status":"Failure","message":"#);
                write_text(out, message);
                out.extend_from_slice(br#","reason":"Forbidden","code":403}"#);
            }
        }
        self.write_warnings(out);
        self.audit.write(out);
        // `patchType` without a patch fails the call.
        if let Some(patch) = self.patch.filter(|patch| !patch.is_empty()) {
            write_patch(out, patch.as_json());
        }
        out.extend_from_slice(b"}}");
        json
    }

    fn write_warnings(&self, out: &mut Vec<u8>) {
        let mut before = br#","warnings":["#.as_slice();
        for warning in within_limit(self.warnings) {
            out.extend_from_slice(before);
            write_text(out, warning);
            before = b",";
        }
        if before == b"," {
            out.push(b']');
        }
    }
}

/// Room for a response without its patch: an ARN, a uid and the words around them.
const USUAL_ANSWER: usize = 640;

/// Base64 needs no escapes.
fn write_patch(out: &mut Vec<u8>, patch: &[u8]) {
    out.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
    let start = out.len();
    // Four characters for every three bytes begun.
    out.resize(start + patch.len().div_ceil(3) * 4, b'=');
    // INVARIANT: the buffer is exactly as long as the encoded patch, so encoding cannot fail.
    let buffer = out.get_mut(start..).unwrap_or_default();
    let _ = STANDARD.encode_slice(patch, buffer);
    out.push(b'"');
}

/// The longest run of first warnings that the API server takes whole.
fn within_limit(warnings: &[Warning]) -> impl Iterator<Item = &str> {
    let mut left = WARNINGS_CHARACTERS;
    warnings.iter().map(Warning::as_str).take_while(move |text| {
        let length = text.chars().count();
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    })
}

impl AuditAnnotations<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let entries = [
            (br#""role":"#.as_slice(), self.role),
            (br#""verdict":"#, self.verdict),
            (br#""cause":"#, self.cause),
            (br#""mode":"#, self.mode),
        ];
        let mut before = br#","auditAnnotations":{"#.as_slice();
        for (key, value) in entries {
            let Some(value) = value else { continue };
            out.extend_from_slice(before);
            out.extend_from_slice(key);
            write_text(out, value);
            before = b",";
        }
        if before == b"," {
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod differential;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn error_of(body: &[u8]) -> String {
        parse::<IgnoredAny>(body).map(|_| ()).unwrap_err().to_string()
    }

    fn review(request: Value) -> Vec<u8> {
        serde_json::to_vec(&json!({"apiVersion": API_VERSION, "kind": KIND, "request": request})).unwrap()
    }

    #[test]
    fn a_request_is_read_with_absent_and_null_parts_alike() {
        let body = review(
            json!({"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": "jobs", "name": null, "dryRun": true, "object": {"a": 1}, "oldObject": null}),
        );
        let request = parse::<Value>(&body).unwrap();
        assert_eq!(
            (
                request.uid(),
                request.group_and_kind(),
                request.namespace(),
                request.name()
            ),
            ("u", ("", "Pod"), "jobs", "")
        );
        assert_eq!(request.operation(), Operation::Create);
        assert!(request.is_dry_run());
        assert_eq!(request.object(), Some(&json!({"a": 1})));
        assert_eq!(request.old_object(), None);
    }

    #[test]
    fn a_body_that_is_not_a_review_is_reported_as_such() {
        for (body, words) in [
            (&b""[..], "the body is empty"),
            (b"\xff\xfe{}", "not UTF-8"),
            (b"{", "EOF while parsing"),
            (b"[]", "invalid type"),
            (
                b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":[\"u\"]}",
                "invalid type",
            ),
            (
                b"{\"apiVersion\":\"admission.k8s.io/v1beta1\",\"kind\":\"AdmissionReview\"}",
                "admissionReviewVersions: [v1]",
            ),
            (b"{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", "the body is \"Pod\" of \"v1\": only"),
            (b"{}", "the body names neither kind nor apiVersion: only AdmissionReview of admission.k8s.io/v1 is served"),
            (b"{\"kind\":\"Pod\"}", "the body is \"Pod\" and names no apiVersion: only"),
            (
                b"{\"apiVersion\":\"admission.k8s.io/v1\"}",
                "the body is of \"admission.k8s.io/v1\" and names no kind: only",
            ),
            (
                b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}",
                "has no request",
            ),
            (
                b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{}}",
                "has no request.uid",
            ),
            (
                b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":\"u\"}}",
                "has no request.operation of CREATE",
            ),
            (
                b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":\"u\",\"operation\":\"create\"}}",
                "has no request.operation of CREATE",
            ),
        ] {
            assert!(error_of(body).contains(words), "{} lacks {words}", error_of(body));
        }
    }

    #[test]
    fn a_wrong_version_is_reported_even_when_its_object_does_not_deserialize() {
        let body =
            br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u","object":7}}"#;
        let error = parse::<String>(body).unwrap_err();
        assert!(matches!(error, ReviewError::WrongReview { .. }), "{error}");
    }

    #[test]
    fn an_error_stays_readable_however_long_what_it_quotes() {
        let body = review(json!({"uid": "u", "operation": "x".repeat(100_000), "dryRun": "y".repeat(100_000)}));
        let error = error_of(&body);
        assert!(error.chars().count() < 300, "{error}");
        assert!(error.contains("expected a boolean"), "{error}");
        assert_eq!(
            wrong_object(("", ""), "pods").to_string(),
            "the AdmissionReview has no request.kind"
        );
    }

    #[test]
    fn endless_brackets_are_an_error_and_not_an_overflow() {
        let body = [review(json!({"uid": "u"})), b"[".repeat(100_000)].concat();
        assert!(parse::<IgnoredAny>(&body).is_err());
        let open = format!(
            r#"{{"apiVersion":"{API_VERSION}","kind":"{KIND}","request":{{"uid":"u","object":{}"#,
            "[".repeat(100_000)
        );
        assert!(parse::<IgnoredAny>(open.as_bytes()).is_err());
    }

    #[test]
    fn an_admission_without_patch_names_neither_patch_nor_its_type() {
        let response = AdmissionResponse {
            uid: "u",
            ..AdmissionResponse::default()
        };
        let json: Value = serde_json::from_slice(&response.to_json()).unwrap();
        assert_eq!(
            json,
            json!({"apiVersion": API_VERSION, "kind": KIND, "response": {"uid": "u", "allowed": true}})
        );
    }

    #[test]
    fn a_refusal_is_a_403_with_its_message() {
        let audit = AuditAnnotations {
            mode: Some("enforce"),
            ..AuditAnnotations::default()
        };
        let response = AdmissionResponse {
            uid: "u",
            refusal: Some("no"),
            audit,
            ..AdmissionResponse::default()
        };
        let json: Value = serde_json::from_slice(&response.to_json()).unwrap();
        assert_eq!(
            json["response"],
            json!({"uid": "u", "allowed": false, "auditAnnotations": {"mode": "enforce"},
                "status": {"status": "Failure", "message": "no", "reason": "Forbidden", "code": 403}})
        );
    }
}
