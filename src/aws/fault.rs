//! What an error of the SDK means, and what to do about it.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};

use super::error_text::{chain, shortened};
use super::origin::{NoCredentials, Origin};
use super::reject_truncated::TRUNCATED;
use super::settings::AwsUser;
use crate::trust::RoleArn;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `NoSuchEntity`, `ResourceNotFoundException`.
    Absent,
    /// AWS throttles.
    Throttled(Arc<str>),
    /// The credentials are valid, and do not allow this call.
    Denied(Arc<str>),
    /// There are no credentials, or AWS does not accept them: they have expired, for example.
    Credentials(Arc<str>),
    /// Anything else.
    Failed(Arc<str>),
}

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

/// A call, as its errors name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// As in a policy: `iam:GetRole`.
    pub(crate) action: &'a str,
    /// Whose credentials made the call.
    pub(crate) whose: &'a str,
    /// The role that was assumed for it.
    pub(crate) assumed: Option<&'a RoleArn>,
    /// Where rolegate's own credentials come from.
    pub(crate) origin: &'a Origin,
}

/// Sorts the error of a call.
pub(crate) fn of<E>(call: &Call<'_>, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let Call { action, .. } = call;
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            call.answered(answer.err().code(), answer.err().message(), status)
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            match status {
                429 => call.throttled("429"),
                200..300 => call.truncated(),
                _ => call.unavailable(&status.to_string()),
            }
        }
        SdkError::TimeoutError(_) => call.timed_out(),
        SdkError::DispatchFailure(failure) => {
            if let Some(fault) = call.without_credentials(error) {
                return fault;
            }
            if failure.is_timeout() {
                return call.timed_out();
            }
            Fault::failed(format!("{action}: no connection to AWS: {}", shortened(&chain(error))))
        }
        _ => {
            let message = chain(error);
            if message.contains(TRUNCATED) {
                return call.truncated();
            }
            if let Some(fault) = call.without_credentials(error) {
                return fault;
            }
            Fault::failed(format!("{action}: {}", shortened(&message)))
        }
    }
}

/// Whether to retry a call at once: a broken connection is not evidence of a failure at AWS, and after an error about the clock the
/// SDK has taken the time from the response.
pub(crate) fn is_worth_another_try<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
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
    /// One line for people.
    pub(crate) fn into_reason(self) -> Arc<str> {
        match self {
            Self::Absent => "it does not exist".into(),
            Self::Throttled(reason) | Self::Denied(reason) | Self::Credentials(reason) | Self::Failed(reason) => reason,
        }
    }

    fn failed(reason: String) -> Self {
        Self::Failed(reason.into())
    }

    fn credentials(reason: String) -> Self {
        Self::Credentials(reason.into())
    }
}

impl Call<'_> {
    fn answered(&self, code: Option<&str>, message: Option<&str>, status: u16) -> Fault {
        let Self {
            action, whose, origin, ..
        } = self;
        let message = shortened(message.unwrap_or_default());
        let Some(code) = code else {
            return match status {
                429 => self.throttled("429"),
                // A body that cannot be read, where the SDK does not take that for a broken response.
                200..300 => self.truncated(),
                _ => self.unavailable(&status.to_string()),
            };
        };
        let is = |codes: &[&str]| codes.contains(&code);
        match code {
            "NoSuchEntity" | "NoSuchEntityException" | "ResourceNotFoundException" => Fault::Absent,
            _ if is(&THROTTLING) || status == 429 => self.throttled(code),
            _ if is(&DENIED) => Fault::Denied(
                format!("{action} is not allowed to {whose}: allow it in their IAM policy ({message})").into(),
            ),
            _ if is(&EXPIRED) => Fault::credentials(format!(
                "{action}: {} have expired ({code}); renew them",
                origin.credentials()
            )),
            _ if is(&CLOCK)
                || is(&SIGNATURE)
                    && message.contains("Signature ")
                    && (message.contains("expired") || message.contains("not yet current")) =>
            {
                let clock = match origin.user() {
                    AwsUser::Pod => "the clock of rolegate's node",
                    AwsUser::Person => "the clock of this machine",
                };
                Fault::failed(format!(
                    "{action}: {clock} is off ({code}: {message}); synchronize it with NTP"
                ))
            }
            _ if is(&SIGNATURE) => Fault::credentials(format!(
                "{action}: AWS does not accept the signature ({code}); check the secret key"
            )),
            _ if is(&UNKNOWN_KEY) => Fault::credentials(format!(
                "{action}: AWS does not know {} ({code}); renew them",
                origin.credentials()
            )),
            _ if status >= 500 => self.unavailable(code),
            _ => Fault::failed(format!("{action}: {code}: {message}")),
        }
    }

    fn throttled(&self, code: &str) -> Fault {
        let next = match self.origin.user() {
            AwsUser::Pod => "retrying at a lower rate",
            AwsUser::Person => "run the command again later",
        };
        Fault::Throttled(format!("{}: AWS is throttling requests ({code}); {next}", self.action).into())
    }

    fn unavailable(&self, code: &str) -> Fault {
        self.again(&format!("AWS returned a server error ({code})"))
    }

    fn truncated(&self) -> Fault {
        let service = self.action.split(':').next().unwrap_or_default().to_uppercase();
        self.again(&format!("{TRUNCATED} or is not a response from {service}"))
    }

    fn timed_out(&self) -> Fault {
        Fault::failed(format!(
            "{}: AWS did not respond in time; check the network path to the endpoint (NAT, VPC endpoint, proxy, NetworkPolicy)",
            self.action
        ))
    }

    /// A transient failure.
    pub(crate) fn again(&self, what: &str) -> Fault {
        let next = match self.origin.user() {
            AwsUser::Pod => "retrying automatically",
            AwsUser::Person => "run the command again",
        };
        Fault::failed(format!("{}: {what}; {next}", self.action))
    }

    fn without_credentials(&self, error: &(dyn Error + 'static)) -> Option<Fault> {
        let NoCredentials { reason, is_lasting } = self.origin.explain(self.action, self.assumed, error)?;
        Some(if is_lasting {
            Fault::credentials(reason)
        } else {
            Fault::failed(reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_credentials_is_one_and_not_any_failure() {
        let call = Call {
            action: "iam:ListRoles",
            whose: "rolegate",
            assumed: None,
            origin: &Origin::Pod,
        };
        for code in EXPIRED.iter().chain(&UNKNOWN_KEY).chain(&SIGNATURE) {
            let fault = call.answered(Some(code), None, 403);
            assert!(matches!(fault, Fault::Credentials(_)), "{code}: {fault:?}");
        }
        for code in DENIED {
            let fault = call.answered(Some(code), None, 403);
            assert!(matches!(fault, Fault::Denied(_)), "{code}: {fault:?}");
        }
        // What the SDK corrects with the time of the response, and what passes.
        let expired = Some("Signature expired: 20261129T000000Z is now earlier than 20261129T001000Z");
        for (code, message) in [
            ("RequestExpired", None),
            ("SignatureDoesNotMatch", expired),
            ("InternalFailure", None),
        ] {
            let fault = call.answered(Some(code), message, 403);
            assert!(matches!(fault, Fault::Failed(_)), "{code}: {fault:?}");
        }
    }

    #[test]
    fn credentials_that_are_missing_are_not_a_failure_that_passes() {
        use aws_credential_types::provider::error::CredentialsError;

        let call = Call {
            action: "iam:ListRoles",
            whose: "rolegate",
            assumed: None,
            origin: &Origin::Pod,
        };
        let missing = call.without_credentials(&CredentialsError::not_loaded_no_source());
        assert!(matches!(missing, Some(Fault::Credentials(_))), "{missing:?}");
        let unreachable = call.without_credentials(&CredentialsError::provider_error("connection refused"));
        assert!(matches!(unreachable, Some(Fault::Failed(_))), "{unreachable:?}");
    }
}
