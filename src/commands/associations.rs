//! Opens the sources in `--association-source`.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::cluster::Cluster;
use super::input;
#[cfg(feature = "aws")]
use super::sources::aws_settings;
use crate::args::association_source::{AssociationSettings, AssociationSourceSpec};
use crate::args::aws::AwsAccess;
use crate::associations::files::{FileAssociations, WhenMissing};
use crate::associations::objects::AssociationObjects;
use crate::associations::{ClusterId, Source};
use crate::kubernetes::list_watch::WatchTiming;

/// Opens the sources in their order, and warns about files that have only associations of other clusters.
/// For the last one, a ServiceAccount that it does not know has no association.
///
/// # Errors
/// Which source cannot be opened, and why.
pub(super) async fn open(
    settings: &AssociationSettings,
    aws: &AwsAccess,
    cluster: &Cluster,
    warn: impl Fn(&str),
) -> Result<Vec<Source>> {
    let last = settings.sources.len().saturating_sub(1);
    let mut sources = Vec::with_capacity(settings.sources.len());
    for (place, spec) in settings.sources.iter().enumerate() {
        let when_missing = if place == last {
            WhenMissing::Absent
        } else {
            WhenMissing::Unlisted
        };
        sources.push(open_one(spec, settings.cluster.clone(), when_missing, aws, cluster, &warn).await?);
    }
    Ok(sources)
}

async fn open_one(
    spec: &AssociationSourceSpec,
    id: ClusterId,
    when_missing: WhenMissing,
    aws: &AwsAccess,
    cluster: &Cluster,
    warn: &impl Fn(&str),
) -> Result<Source> {
    Ok(match spec {
        AssociationSourceSpec::Eks => eks(id, aws)?,
        AssociationSourceSpec::Files(directory) => {
            let step = "create it, or set other sources with --association-source";
            input::check_directory("association source files=", directory, step)?;
            let files = FileAssociations::open(directory, id, when_missing)?;
            if let Some(problem) = files.only_of_others() {
                warn(&problem);
            }
            Source::Held(Arc::new(files))
        }
        AssociationSourceSpec::Ack => Source::Held(Arc::new(AssociationObjects::ack(
            client(spec, cluster).await?,
            id,
            WatchTiming::default(),
        ))),
        AssociationSourceSpec::Crossplane => Source::Held(Arc::new(AssociationObjects::crossplane(
            client(spec, cluster).await?,
            &id,
            WatchTiming::default(),
        ))),
    })
}

async fn client(spec: &AssociationSourceSpec, cluster: &Cluster) -> Result<kube::Client> {
    cluster
        .client("read associations from", "set --kubeconfig FILE or run in a pod")
        .await
        .with_context(|| format!("association source {spec}"))
}

#[cfg(feature = "aws")]
fn eks(cluster: ClusterId, aws: &AwsAccess) -> Result<Source> {
    Ok(Source::Remote(crate::associations::eks::open(
        cluster,
        &aws_settings(aws),
    )))
}

#[cfg(not(feature = "aws"))]
fn eks(_cluster: ClusterId, _aws: &AwsAccess) -> Result<Source> {
    Err(anyhow::anyhow!(super::sources::WITHOUT_AWS))
}
