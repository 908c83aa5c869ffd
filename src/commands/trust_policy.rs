//! `rolegate trust-policy`: prints a trust policy that trusts a ServiceAccount or its EKS Pod Identity association, in addition to everyone
//! it trusted before.
//!
//! With a role or a document, it prints that document with the smallest addition, and a diff to standard error. `--apply` writes it after
//! asking for confirmation, unless the role has changed in the meantime.

#[cfg(feature = "aws")]
mod apply;
mod preview;

use std::path::Path;

use anyhow::{Result, anyhow};

#[cfg(feature = "aws")]
use self::apply::apply;
use super::cluster::Cluster;
use super::exit::Exit;
use super::{input, output, runtime, sources};
use crate::args::aws::AwsAccess;
use crate::args::identity::WebIdentitySettings;
use crate::args::role_source::RoleSourceSpec;
use crate::args::trust_policy::{Action, NewTrust, PolicyEdit, PolicyFormat, Present, TrustPolicyArgs};
use crate::support::text;
use crate::trust::unwrapped;
use crate::trust::{Addition, Grant, to_terraform};
use crate::trust::{Issuer, RoleArn};

/// Runs the command.
pub(super) fn run(args: TrustPolicyArgs) -> Result<Exit> {
    let PolicyEdit {
        addition,
        identity:
            WebIdentitySettings {
                issuer,
                namespace,
                service_account,
                audience,
                cluster,
            },
        source,
        action,
    } = args.edit().map_err(|missing| anyhow!(missing))?;
    let runtime = runtime::on_this_thread()?;
    let cluster = Cluster::new(cluster);
    let (addition, region) = match addition {
        NewTrust::WebIdentity(account) => {
            let identity = runtime.block_on(cluster.web_identity(issuer, namespace, &service_account, audience))?;
            let grant = account.grant(identity).map_err(|missing| anyhow!(missing))?;
            warn_of_issuer(&grant.identity.issuer);
            warn_of_partition(&grant);
            let region = grant.identity.issuer.region().map(str::to_owned);
            (Addition::WebIdentity(grant), region)
        }
        NewTrust::PodIdentity(association) => {
            let namespace = runtime.block_on(cluster.namespace(namespace))?;
            let region = association.region().to_owned();
            let grant = association.grant(namespace, service_account);
            (Addition::PodIdentity(grant), Some(region))
        }
    };
    let (specs, aws) = source.sources(RoleSourceSpec::Iam);
    let aws = aws.access(region.as_deref(), sources::reader());
    match action {
        Action::Apply { role, confirm } => apply(&runtime, &addition, &role, &specs, &aws, confirm),
        Action::Print { present, format } => {
            let document = match present {
                Present::None => return print(&addition.policy(), format, Exit::Yes),
                Present::Document(file) => of_file(&file)?,
                Present::Role(role) => runtime.block_on(of_role(&role, &specs, &aws, &cluster))?,
            };
            let merged = preview::merged(&addition, &document.text, &document.name)?;
            let exit = preview::show(&merged, &addition);
            print(&merged.json, format, exit)
        }
    }
}

/// Without the feature there is no client of IAM.
#[cfg(not(feature = "aws"))]
fn apply(
    _: &tokio::runtime::Runtime,
    _: &Addition,
    _: &RoleArn,
    _: &[RoleSourceSpec],
    _: &AwsAccess,
    _: crate::args::trust_policy::Confirm,
) -> Result<Exit> {
    Err(anyhow!(sources::WITHOUT_AWS))
}

fn warn_of_issuer(issuer: &Issuer) {
    if let Some(why) = issuer.unreachable() {
        output::warn(&format!("the issuer {issuer}: {why}"));
    }
}

/// A provider in another partition than the issuer's Region cannot exist.
fn warn_of_partition(grant: &Grant) {
    let issuer = &grant.identity.issuer;
    if issuer.region().is_some() && issuer.partition() != grant.partition.as_str() {
        output::warn(&format!(
            "the issuer's Region is in partition {}, the role in {}",
            issuer.partition(),
            grant.partition
        ));
    }
}

/// A policy that was read.
struct Document {
    text: String,
    /// Its name in messages.
    name: String,
}

fn of_file(file: &Path) -> Result<Document> {
    let text = input::read("--merge", file)?;
    let (document, _) = unwrapped(&text);
    Ok(Document {
        text: decoded(document.trim()),
        name: input::name(file),
    })
}

async fn of_role(role: &RoleArn, specs: &[RoleSourceSpec], aws: &AwsAccess, cluster: &Cluster) -> Result<Document> {
    let (source, document) = sources::document(specs, aws, cluster, role).await?;
    Ok(Document {
        text: decoded(&document.policy),
        name: format!("{role} (role source {source})"),
    })
}

/// IAM returns policies percent-encoded. Only percent escapes are decoded; `+` stays `+`.
fn decoded(document: &str) -> String {
    if document.trim_start().starts_with('%') {
        percent_encoding::percent_decode_str(document)
            .decode_utf8_lossy()
            .into_owned()
    } else {
        document.to_owned()
    }
}

fn print(json: &str, format: PolicyFormat, exit: Exit) -> Result<Exit> {
    let printed = match format {
        PolicyFormat::Json => json.to_owned(),
        PolicyFormat::Terraform => to_terraform(json).map_err(|error| anyhow!("{error}"))?,
    };
    output::print(&format!("{}\n", text::json::escape(&printed)))?;
    Ok(exit.max(preview::show_size(json)))
}
