//! What an error of the SDK means, and the words that tell what to do about it.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};

use crate::support::text;

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `NoSuchEntity`.
    Absent,
    /// AWS asks to be left alone for a while.
    Throttled(Arc<str>),
    /// The credentials are good, and this call is not allowed to them.
    Denied(Arc<str>),
    /// Anything else.
    Failed(Arc<str>),
}

/// The longest text of AWS that is passed on, in characters: reasons end up in warnings to authors.
const LONGEST: usize = 300;

const THROTTLING: [&str; 9] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "Throttled",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
];
const DENIED: [&str; 4] = [
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "NotAuthorized",
];
const EXPIRED: [&str; 2] = ["ExpiredToken", "ExpiredTokenException"];
const CLOCK: [&str; 3] = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"];
const SIGNATURE: [&str; 3] = [
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
];
const UNKNOWN_KEY: [&str; 4] = [
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "MissingAuthenticationToken",
];

/// Sorts the error of a call. `action` as in a policy (`iam:GetRole`), `whose` says whose credentials asked.
pub(super) fn of<E>(action: &str, whose: &str, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            answered(action, whose, answer.err().code(), answer.err().message(), status)
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            match status {
                429 => throttled(action, "429"),
                200..300 => Fault::failed(format!(
                    "{action}: the answer is cut short or not what IAM writes; tried again by itself"
                )),
                _ => unavailable(action, &status.to_string()),
            }
        }
        SdkError::TimeoutError(_) => Fault::failed(format!(
            "{action}: AWS did not answer in time; check the way to the endpoint (NAT, VPC endpoint, proxy, NetworkPolicy)"
        )),
        SdkError::DispatchFailure(failure) => {
            let said = chain(error);
            if is_about_credentials(&said) {
                return credentials(action, &said);
            }
            if failure.is_timeout() {
                return Fault::failed(format!(
                    "{action}: AWS did not answer in time; check the way to the endpoint (NAT, VPC endpoint, proxy, \
                     NetworkPolicy)"
                ));
            }
            Fault::failed(format!("{action}: no connection to AWS: {}", shortened(&said)))
        }
        _ => {
            let said = chain(error);
            if said.contains("cut short") {
                return Fault::failed(format!(
                    "{action}: the answer is cut short or not what IAM writes; tried again by itself"
                ));
            }
            if is_about_credentials(&said) {
                return credentials(action, &said);
            }
            Fault::failed(format!("{action}: {}", shortened(&said)))
        }
    }
}

/// Whether the same call is worth another try at once: a connection that was cut is no news of AWS, and after a clock's
/// error the SDK has learnt the time from the answer.
pub(super) fn is_worth_another_try<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::DispatchFailure(failure) => failure.is_io(),
        SdkError::ServiceError(answer) => answer
            .err()
            .code()
            .is_some_and(|code| CLOCK.contains(&code) || SIGNATURE.contains(&code)),
        _ => false,
    }
}

impl Fault {
    fn failed(reason: String) -> Self {
        Self::Failed(reason.into())
    }
}

fn answered(action: &str, whose: &str, code: Option<&str>, message: Option<&str>, status: u16) -> Fault {
    let said = shortened(message.unwrap_or_default());
    let Some(code) = code else {
        return match status {
            429 => throttled(action, "429"),
            _ => unavailable(action, &status.to_string()),
        };
    };
    let is = |codes: &[&str]| codes.contains(&code);
    match code {
        "NoSuchEntity" | "NoSuchEntityException" => Fault::Absent,
        _ if is(&THROTTLING) || status == 429 => throttled(action, code),
        _ if is(&DENIED) => {
            Fault::Denied(format!("{action} is not allowed to {whose}: allow it in their IAM policy ({said})").into())
        }
        _ if is(&EXPIRED) => Fault::failed(format!(
            "{action}: the credentials of rolegate have expired ({code}); renew them"
        )),
        _ if is(&CLOCK)
            || is(&SIGNATURE)
                && said.contains("Signature ")
                && (said.contains("expired") || said.contains("not yet current")) =>
        {
            Fault::failed(format!(
                "{action}: the clock of rolegate's node is off ({code}: {said}); set it by NTP"
            ))
        }
        _ if is(&SIGNATURE) => Fault::failed(format!(
            "{action}: AWS does not accept the signature ({code}); check the secret key"
        )),
        _ if is(&UNKNOWN_KEY) => Fault::failed(format!(
            "{action}: AWS does not know the credentials of rolegate ({code}); renew them"
        )),
        _ if status >= 500 => unavailable(action, code),
        _ => Fault::failed(format!("{action}: {code}: {said}")),
    }
}

fn throttled(action: &str, code: &str) -> Fault {
    Fault::Throttled(format!("{action}: AWS is being asked too often ({code}); tried again more slowly").into())
}

fn unavailable(action: &str, code: &str) -> Fault {
    Fault::failed(format!(
        "{action}: AWS has an error of its own ({code}); tried again by itself"
    ))
}

fn is_about_credentials(said: &str) -> bool {
    said.contains("credential") || said.contains("identity resolver") || said.contains("no providers in chain")
}

fn credentials(action: &str, said: &str) -> Fault {
    let denied = ["AccessDenied", "InvalidIdentityToken", "Not authorized"];
    let next = if denied.iter().any(|word| said.contains(word)) {
        "may not assume its role; check who the role trusts"
    } else if said.contains("ExpiredToken") {
        "has an expired token; check the token's volume"
    } else {
        // What the SDK adds is the list of places where it looked.
        return Fault::failed(format!(
            "{action}: rolegate has no AWS credentials; give its ServiceAccount a role"
        ));
    };
    Fault::failed(format!("{action}: rolegate {next} ({})", shortened(said)))
}

/// An error and its causes on one line, each said once.
fn chain(error: &dyn Error) -> String {
    let mut said = text::line(&error.to_string()).into_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        let more = text::line(&cause_text);
        if !said.contains(&*more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said
}

fn shortened(said: &str) -> String {
    text::truncate(&text::escape(said), LONGEST).into_owned()
}
