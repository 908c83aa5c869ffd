//! Rejects truncated responses. The SDK reads XML that ends in the middle as if it were complete: half a list of roles would be a
//! list without the others, half a policy a policy. So the last tag is checked.

use aws_sdk_iam::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_iam::error::BoxError;

/// How the response of every action ends: `</GetRoleResponse>`.
const LAST_TAG: &[u8] = b"Response>";

/// The error message for a response without its end.
pub(crate) const TRUNCATED: &str = "the response is truncated";

/// Turns a response without its end into an error.
#[derive(Debug)]
pub(crate) struct RejectTruncated;

impl Intercept for RejectTruncated {
    fn name(&self) -> &'static str {
        "RejectTruncated"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _runtime_components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let is_complete = |body: &[u8]| body.trim_ascii_end().ends_with(LAST_TAG);
        if answer.status().is_success() && !answer.body().bytes().is_some_and(is_complete) {
            return Err(TRUNCATED.into());
        }
        Ok(())
    }
}
