//! Associations from the EKS API, with the official SDK.

use std::fmt;
use std::sync::Arc;

use aws_sdk_eks::Client;
use aws_sdk_eks::config::http::HttpResponse;
use aws_sdk_eks::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eks::types::{PodIdentityAssociation, PodIdentityAssociationSummary};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use super::source::{ClusterId, Failure, Listed, Page, RemoteAssociations, Scope};
use crate::aws::{self, AwsSettings, Call, Fault, Session};
use crate::trust::{Association, ClusterArn, RoleArn, SessionTags};

/// How many associations a page holds; the most that EKS gives.
const PAGE: i32 = 100;

const LIST: &str = "eks:ListPodIdentityAssociations";
const DESCRIBE: &str = "eks:DescribePodIdentityAssociation";

/// The association source `eks`. AWS is not called yet.
#[must_use]
pub fn open(cluster: ClusterId, settings: &AwsSettings) -> Arc<dyn RemoteAssociations> {
    Arc::new(EksAssociations {
        session: Session::new(settings),
        cluster,
        client: OnceCell::new(),
    })
}

struct EksAssociations {
    session: Session,
    cluster: ClusterId,
    client: OnceCell<Client>,
}

impl fmt::Debug for EksAssociations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EksAssociations")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl RemoteAssociations for EksAssociations {
    fn name(&self) -> &'static str {
        "eks"
    }

    fn page<'a>(&'a self, scope: &'a Scope, token: Option<&'a str>) -> BoxFuture<'a, Result<Page, Failure>> {
        self.list(scope, token).boxed()
    }

    fn describe<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Association>, Failure>> {
        self.read(id).boxed()
    }
}

impl EksAssociations {
    async fn client(&self) -> &Client {
        let region = self.cluster.arn.as_ref().map(ClusterArn::region);
        self.client.get_or_init(|| self.session.eks(region)).await
    }

    async fn list(&self, scope: &Scope, token: Option<&str>) -> Result<Page, Failure> {
        let (namespace, service_account) = match scope {
            Scope::Cluster => (None, None),
            Scope::Namespace(namespace) => (Some(namespace), None),
            Scope::ServiceAccount {
                namespace,
                service_account,
            } => (Some(namespace), Some(service_account)),
        };
        let client = self.client().await;
        let call = || {
            client
                .list_pod_identity_associations()
                .cluster_name(&*self.cluster.name)
                .set_namespace(namespace.map(ToString::to_string))
                .set_service_account(service_account.map(ToString::to_string))
                .max_results(PAGE)
                .set_next_token(token.map(str::to_owned))
                .send()
        };
        let answer = match call().await {
            Err(error) if aws::is_worth_another_try(&error) => call().await,
            answer => answer,
        };
        match answer {
            Ok(page) => {
                let listed = page.associations.unwrap_or_default().into_iter();
                Ok(Page {
                    listed: listed.filter_map(of_summary).collect(),
                    next: page.next_token.filter(|token| !token.is_empty()),
                })
            }
            Err(error) => Err(match self.fault(LIST, &error).await {
                Fault::Absent => Failure::Failed(
                    format!(
                        "{LIST}: EKS has no cluster {} in this account and Region; check --cluster-name, or set --cluster-arn",
                        self.cluster.name
                    )
                    .into(),
                ),
                fault => failure(fault),
            }),
        }
    }

    async fn read(&self, id: &str) -> Result<Option<Association>, Failure> {
        let client = self.client().await;
        let call = || {
            client
                .describe_pod_identity_association()
                .cluster_name(&*self.cluster.name)
                .association_id(id)
                .send()
        };
        let answer = match call().await {
            Err(error) if aws::is_worth_another_try(&error) => call().await,
            answer => answer,
        };
        match answer {
            Ok(answer) => match answer.association {
                Some(association) => of_description(association, &self.cluster).map(Some),
                None => Err(Failure::Failed(
                    format!("{DESCRIBE}: the response contains no association").into(),
                )),
            },
            Err(error) => match self.fault(DESCRIBE, &error).await {
                Fault::Absent => Ok(None),
                fault => Err(failure(fault)),
            },
        }
    }

    async fn fault<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> Fault
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let call = Call {
            action,
            whose: self
                .session
                .known_caller()
                .map_or("rolegate", |caller| caller.arn.as_str()),
            assumed: None,
            origin: self.session.origin().await,
        };
        aws::of(&call, error)
    }
}

fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::Throttled(reason) => Failure::Throttled(reason),
        fault => Failure::Failed(fault.into_reason()),
    }
}

fn of_summary(summary: PodIdentityAssociationSummary) -> Option<Listed> {
    Some(Listed {
        namespace: summary.namespace?.into(),
        service_account: summary.service_account?.into(),
        id: summary.association_id?.into(),
    })
}

fn of_description(found: PodIdentityAssociation, cluster: &ClusterId) -> Result<Association, Failure> {
    let id = found.association_id.unwrap_or_default();
    let incomplete = |what: &str| Failure::Failed(format!("{DESCRIBE}: association {id}: {what}").into());
    let role = |arn: &str, field: &str| {
        RoleArn::parse(arn).map_err(|error| incomplete(&format!("{field} is not a role ARN: {error}")))
    };
    let target = found.target_role_arn.filter(|arn| !arn.is_empty());
    let of_arn = found.association_arn.as_deref().and_then(ClusterArn::of_association);
    Ok(Association {
        cluster: of_arn.or_else(|| cluster.arn.clone()),
        namespace: found.namespace.ok_or_else(|| incomplete("it has no namespace"))?.into(),
        service_account: found
            .service_account
            .ok_or_else(|| incomplete("it has no ServiceAccount"))?
            .into(),
        role: role(&found.role_arn.unwrap_or_default(), "roleArn")?,
        target_role: target.map(|arn| role(&arn, "targetRoleArn")).transpose()?,
        session_tags: match found.disable_session_tags {
            Some(true) => SessionTags::Disabled,
            Some(false) | None => SessionTags::Enabled,
        },
        external_id: found.external_id.map(Into::into),
        id: Some(id.into()),
    })
}
