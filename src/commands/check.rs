//! `rolegate check`: evaluates one web identity, or a stream of requests.

mod association;
mod batch;
mod hops;
mod line;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::cluster::Cluster;
use super::exit::Exit;
use super::judgment::report::Report;
use super::{input, judgment, output, runtime, sources};
use crate::args::check::{Check, CheckArgs};
use crate::args::identity::WebIdentitySettings;
use crate::args::role_source::{RoleSourceSpec, SourceArgs};
use crate::roles::{KnownProvider, Trust};
use crate::trust::unwrapped;
use crate::trust::{Policy, RoleArn, WebIdentity, lint_issuer};

/// Runs the command.
pub(super) fn run(args: CheckArgs) -> Result<Exit> {
    let check = args
        .check()
        .context("--role-arn and --service-account are required, or --association, or --batch")?;
    match check {
        Check::Batch(file) => batch::run(&file),
        Check::Association(check) => hops::run(*check),
        Check::One {
            role,
            identity,
            policy,
            source,
            format,
        } => {
            let runtime = runtime::on_this_thread()?;
            let WebIdentitySettings {
                issuer,
                namespace,
                service_account,
                audience,
                cluster,
            } = *identity;
            let cluster = Cluster::new(cluster);
            let identity = runtime.block_on(cluster.web_identity(issuer, namespace, &service_account, audience))?;
            let lint = lint_issuer(&identity.issuer);
            let report = match policy {
                Some(file) => from_file(&file, role, identity)?,
                None => runtime.block_on(from_sources(source, &cluster, role, identity))?,
            };
            let report = report.with_lint(lint);
            output::report(format, &report, Report::text)?;
            Ok(report.exit())
        }
    }
}

fn from_file(file: &Path, role: RoleArn, identity: WebIdentity) -> Result<Report> {
    let text = input::read("--policy", file)?;
    let (document, origin) = unwrapped(&text);
    let name = Some(input::name(file));
    Ok(match Policy::parse_encoded(&document) {
        Ok(policy) => {
            let trust = Trust::Policy {
                policy: Arc::new(policy.of_origin(origin)),
                tags: None,
            };
            judgment::of_role(role, &trust, &KnownProvider::Unknown, identity, name)
        }
        Err(error) => Report::malformed(role, identity, &error.to_string(), name),
    })
}

async fn from_sources(source: SourceArgs, cluster: &Cluster, role: RoleArn, identity: WebIdentity) -> Result<Report> {
    let (specs, aws) = source.sources(RoleSourceSpec::Iam);
    let aws = aws.access(identity.issuer.region(), sources::reader());
    let found = sources::read(&specs, &aws, cluster, &role, &identity.issuer).await?;
    let origin = match found.entry.source {
        Some(source) => format!("role source {source}"),
        None => format!("not read from {}", sources::named(&specs)),
    };
    Ok(judgment::of_role(
        role,
        &found.entry.trust,
        &found.provider,
        identity,
        Some(origin),
    ))
}
