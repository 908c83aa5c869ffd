//! Trust policies from AWS IAM, with the official SDK.
//!
//! Each account is a source of its own, because IAM limits calls per account: the account of rolegate's credentials, which STS reports
//! once, and those in `--assume-role`. Roles of any other account cannot be read, which is not evidence against them.
//!
//! `GetRole` takes a name, not an ARN; a wrong path is visible only in its result. Therefore the ARNs are compared byte for byte.

mod editor;
mod ownership;

use std::fmt;
use std::sync::Arc;

use aws_sdk_iam::Client;
use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iam::types::Role;
use futures::future::BoxFuture;
use futures::stream::unfold;
use futures::{FutureExt, StreamExt};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

pub use self::editor::{CurrentRole, RoleEditor, open_editor};
pub(crate) use self::ownership::{managed_by, unique_id_principals};
use super::source::{Answer, Listing, ListingFailure, ProviderAnswer, RoleDocument, RoleSource, namesake_hint};
use crate::aws::{self, AwsSettings, AwsUser, Call, Caller, Fault, Session};
use crate::trust::{AccountId, Issuer, Origin, RoleArn};

/// How many roles a page holds; the most that IAM gives.
const PAGE: i32 = 1000;

/// The sources of role source `iam`, one per account, to be asked in this order. AWS is not called yet.
#[must_use]
pub fn open(settings: &AwsSettings) -> Vec<Arc<dyn RoleSource>> {
    let session = Arc::new(Session::new(settings));
    sources(&session, &settings.assume)
}

/// Whose credentials rolegate has, from STS.
///
/// # Errors
/// One line that says why it is not known.
pub async fn caller(settings: &AwsSettings) -> Result<Caller, Arc<str>> {
    let session = Session::new(settings);
    let caller = session.caller().await;
    caller.cloned().map_err(Fault::into_reason)
}

fn sources(session: &Arc<Session>, assume: &[(AccountId, RoleArn)]) -> Vec<Arc<dyn RoleSource>> {
    let assumed = assume.iter().map(|(account, role)| Whose::Assumed {
        account: account.clone(),
        role: role.clone(),
    });
    // The own account is last: it knows why a role that is in none of them cannot be read.
    assumed
        .chain([Whose::Own])
        .map(|whose| Arc::new(AccountRoles::new(Arc::clone(session), whose)) as Arc<dyn RoleSource>)
        .collect()
}

/// Whose roles a source reads.
#[derive(Clone, Debug)]
enum Whose {
    /// Those of the account of our own credentials.
    Own,
    /// Those of another account.
    Assumed { account: AccountId, role: RoleArn },
}

/// The roles of one account.
struct AccountRoles {
    session: Arc<Session>,
    whose: Whose,
    client: OnceCell<Client>,
}

impl fmt::Debug for AccountRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRoles")
            .field("whose", &self.whose)
            .finish_non_exhaustive()
    }
}

impl RoleSource for AccountRoles {
    fn name(&self) -> &'static str {
        "iam"
    }

    fn read<'a>(&'a self, role: &'a RoleArn, _as_of: Instant) -> BoxFuture<'a, Answer> {
        async move {
            match self.elsewhere(role).await {
                Err(fault) => self.knows(role).unwrap_or_else(|| fault.into_answer()),
                Ok(Some(elsewhere)) => elsewhere,
                Ok(None) => self.read_role(role).await.unwrap_or_else(Fault::into_answer),
            }
        }
        .boxed()
    }

    fn knows(&self, role: &RoleArn) -> Option<Answer> {
        if let Some(reason) = self.session.no_credentials() {
            return Some(Answer::CannotRead(Arc::clone(reason)));
        }
        elsewhere(role, self.account()?, &self.whose)
    }

    fn list(&self) -> Option<Listing<'_>> {
        Some(unfold(Some(None), |marker| self.next_page(marker)).boxed())
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    fn lists_every_role_like(&self, role: &RoleArn) -> bool {
        self.account().is_some_and(|account| account.as_str() == role.account())
    }

    fn reads_providers(&self) -> bool {
        true
    }

    fn provider<'a>(&'a self, role: &'a RoleArn, issuer: &'a Issuer) -> BoxFuture<'a, ProviderAnswer> {
        async move {
            match self.elsewhere(role).await {
                Ok(Some(_)) => ProviderAnswer::NotMine,
                Err(fault) => ProviderAnswer::Failed(fault.into_reason()),
                Ok(None) => match self.read_provider(&role.provider_arn(issuer)).await {
                    Ok(answer) => answer,
                    Err(Fault::Denied(reason)) => ProviderAnswer::NotPermitted(reason),
                    Err(fault) => ProviderAnswer::Failed(fault.into_reason()),
                },
            }
        }
        .boxed()
    }
}

impl AccountRoles {
    fn new(session: Arc<Session>, whose: Whose) -> Self {
        Self {
            session,
            whose,
            client: OnceCell::new(),
        }
    }

    /// The account, as far as it is known without asking.
    fn account(&self) -> Option<&AccountId> {
        match &self.whose {
            Whose::Own => self.session.known_caller().map(|caller| &caller.account),
            Whose::Assumed { account, .. } => Some(account),
        }
    }

    /// The answer for a role that is not of this account.
    async fn elsewhere(&self, role: &RoleArn) -> Result<Option<Answer>, Fault> {
        self.check_caller().await?;
        Ok(self.account().and_then(|account| elsewhere(role, account, &self.whose)))
    }

    /// Asks STS whose credentials rolegate has: without it, the roles of its own account are not known to be. A person's are
    /// checked in any case, so that missing ones are not blamed on the role that they would assume.
    async fn check_caller(&self) -> Result<(), Fault> {
        match (&self.whose, self.session.user()) {
            (Whose::Assumed { .. }, AwsUser::Pod) => Ok(()),
            _ => self.session.caller().await.map(drop),
        }
    }

    async fn client(&self) -> &Client {
        let assume = match &self.whose {
            Whose::Own => None,
            Whose::Assumed { role, .. } => Some(role),
        };
        self.client.get_or_init(|| self.session.iam(assume)).await
    }

    /// The role of this name, whatever its path; none when there is none.
    async fn get_role(&self, role: &RoleArn) -> Result<Option<Role>, Fault> {
        let client = self.client().await;
        let called = twice(|| client.get_role().role_name(role.name()).send()).await;
        match called {
            Ok(answer) => match answer.role {
                Some(found) => Ok(Some(found)),
                None => Err(self.again("iam:GetRole", "the response contains no role").await),
            },
            Err(error) => match self.fault("iam:GetRole", &error).await {
                Fault::Absent => Ok(None),
                fault => Err(fault),
            },
        }
    }

    async fn read_role(&self, role: &RoleArn) -> Result<Answer, Fault> {
        let Some(found) = self.get_role(role).await? else {
            return Ok(Answer::NoSuchRole { hint: None });
        };
        if found.arn != role.as_str() {
            let namesake = RoleArn::parse(&found.arn).ok();
            return Ok(Answer::NoSuchRole {
                hint: namesake.as_ref().map(namesake_hint),
            });
        }
        let Some(document) = document(found) else {
            return Err(self.again("iam:GetRole", "the response contains no trust policy").await);
        };
        Ok(Answer::Role(RoleDocument {
            origin: Origin::Stored,
            // The SDK does not distinguish a role without tags from a response without them; GetRole returns all tags.
            tags: Some(document.tags.unwrap_or_default()),
            ..document
        }))
    }

    async fn next_page(
        &self,
        marker: Option<Option<String>>,
    ) -> Option<(
        Result<Vec<(RoleArn, RoleDocument)>, ListingFailure>,
        Option<Option<String>>,
    )> {
        let marker = marker?;
        let page = self.page(marker.clone()).await;
        Some(match page {
            Ok((roles, next)) => (Ok(roles), next.map(Some)),
            Err(fault) => (Err(fault.into_listing_failure()), Some(marker)),
        })
    }

    async fn page(&self, marker: Option<String>) -> Result<(Vec<(RoleArn, RoleDocument)>, Option<String>), Fault> {
        self.check_caller().await?;
        let client = self.client().await;
        let called = twice(|| client.list_roles().max_items(PAGE).set_marker(marker.clone()).send()).await;
        let page = match called {
            Ok(page) => page,
            Err(error) => return Err(self.fault("iam:ListRoles", &error).await),
        };
        let next = match (page.is_truncated, page.marker) {
            (false, _) => None,
            (true, Some(next)) => Some(next),
            (true, None) => {
                let what = "the response does not contain the start of the next page";
                return Err(self.again("iam:ListRoles", what).await);
            }
        };
        let roles = page.roles.into_iter().filter_map(|role| {
            // What no annotation may name (service-linked roles) is left out.
            let arn = RoleArn::parse(&role.arn).ok()?;
            Some((arn, document(role)?))
        });
        Ok((roles.collect(), next))
    }

    async fn read_provider(&self, arn: &str) -> Result<ProviderAnswer, Fault> {
        let client = self.client().await;
        let called = twice(|| {
            client
                .get_open_id_connect_provider()
                .open_id_connect_provider_arn(arn)
                .send()
        })
        .await;
        match called {
            Ok(provider) => Ok(ProviderAnswer::Provider {
                client_ids: provider
                    .client_id_list
                    .unwrap_or_default()
                    .into_iter()
                    .map(Into::into)
                    .collect(),
            }),
            Err(error) => match self.fault("iam:GetOpenIDConnectProvider", &error).await {
                Fault::Absent => Ok(ProviderAnswer::NoSuchProvider),
                fault => Err(fault),
            },
        }
    }

    async fn fault<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> Fault
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        aws::of(&self.call(action).await, error)
    }

    /// A transient failure: the response to a call makes no sense.
    async fn again(&self, action: &str, what: &str) -> Fault {
        self.call(action).await.again(what)
    }

    async fn call<'a>(&'a self, action: &'a str) -> Call<'a> {
        let (whose, assumed) = match &self.whose {
            Whose::Own => {
                let caller = self.session.known_caller();
                (caller.map_or("rolegate", |caller| caller.arn.as_str()), None)
            }
            Whose::Assumed { role, .. } => (role.as_str(), Some(role)),
        };
        Call {
            action,
            whose,
            assumed,
            origin: self.session.origin().await,
        }
    }
}

/// The answer for a role of another account than this one; none for a role of this account.
fn elsewhere(role: &RoleArn, account: &AccountId, whose: &Whose) -> Option<Answer> {
    if role.account() == account.as_str() {
        return None;
    }
    Some(match whose {
        Whose::Assumed { .. } => Answer::NotMine,
        Whose::Own => Answer::CannotRead(
            format!(
                "account {} is not readable: rolegate's credentials are of {account}; give it a role there with \
                 --assume-role {}=ROLE_ARN",
                role.account(),
                role.account()
            )
            .into(),
        ),
    })
}

fn document(role: Role) -> Option<RoleDocument> {
    let tags = role
        .tags
        .map(|tags| tags.into_iter().map(|tag| (tag.key, tag.value)).collect());
    Some(RoleDocument {
        origin: Origin::Stored,
        policy: role.assume_role_policy_document?.into(),
        tags,
    })
}

/// Calls, and calls once more when that may help at once.
async fn twice<T, E, F>(mut call: impl FnMut() -> F) -> Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    match call().await {
        Err(error) if aws::is_worth_another_try(&error) => call().await,
        answer => answer,
    }
}

impl Fault {
    fn into_answer(self) -> Answer {
        match self {
            Self::Absent => Answer::NoSuchRole { hint: None },
            Self::Throttled(reason) => Answer::Throttled(reason),
            Self::Denied(reason) | Self::Credentials(reason) | Self::Failed(reason) => Answer::Failed(reason),
        }
    }

    fn into_listing_failure(self) -> ListingFailure {
        match self {
            Self::Throttled(reason) => ListingFailure::Throttled(reason),
            Self::Denied(reason) => ListingFailure::Denied(reason),
            Self::Credentials(reason) => ListingFailure::Credentials(reason),
            fault => ListingFailure::Failed(fault.into_reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listing_without_credentials_is_not_worth_another_try() {
        let settings = AwsSettings {
            assume: Vec::new(),
            region: Some("us-west-2".to_owned()),
            profile: Some("a-profile-that-does-not-exist".to_owned()),
            user: AwsUser::Person,
        };
        let source = AccountRoles::new(Arc::new(Session::new(&settings)), Whose::Own);
        let mut listing = source.list().unwrap();
        // The second one does not look for credentials again.
        for _ in 0..2 {
            let failure = listing.next().await.unwrap().unwrap_err();
            assert!(matches!(failure, ListingFailure::Credentials(_)), "{failure:?}");
            assert!(
                failure.reason().contains("a-profile-that-does-not-exist"),
                "{failure:?}"
            );
        }
    }
}
