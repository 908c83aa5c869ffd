//! The EKS Pod Identity associations of the cluster, each evaluated against the trust policies of its roles.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

use crate::args::association_source::AssociationSettings;
use crate::args::aws::AwsAccess;
use crate::associations::{Associations, RemoteSettings, Unread};
use crate::commands::cluster::Cluster;
use crate::commands::judgment::report::Report;
use crate::commands::sources::Found;
use crate::commands::{associations, judgment, output};
use crate::decision::{Judged, Why};
use crate::support::text;
use crate::trust::{Association, Hop, Lint, RoleArn};

/// No admission waits behind these calls, so there can be more of them than while the program serves.
const DESCRIBES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// Enough for the 5,000 associations that a cluster can have.
const PATIENCE: Duration = Duration::from_secs(600);

/// Reads all associations through the sources, once, and says what is missing.
///
/// # Errors
/// Which source could not be read, and why.
pub(super) async fn read(
    settings: &AssociationSettings,
    aws: &AwsAccess,
    cluster: &Cluster,
) -> Result<(Vec<Arc<Association>>, Option<Unread>)> {
    let sources = associations::open(settings, aws, cluster, output::warn).await?;
    let remote = RemoteSettings {
        describes_per_second: DESCRIBES_PER_SECOND,
        ..RemoteSettings::default()
    };
    let associations = Associations::new(settings.cluster.clone(), sources, &remote);
    let now = Instant::now();
    let deadline = now.checked_add(PATIENCE).unwrap_or(now);
    let missing = associations
        .read_all(deadline)
        .await
        .map_err(|reason| anyhow!("cannot read associations: {reason}"))?;
    Ok((associations.all(), missing))
}

/// The report of the role with the worse verdict, with the lints of both.
pub(super) fn judge(association: &Association, entries: &HashMap<RoleArn, Found>) -> Report {
    let primary = of_hop(association, (Hop::Primary, &association.role), entries);
    let Some(target) = &association.target_role else {
        return primary;
    };
    let target = of_hop(association, (Hop::Target, target), entries);
    // Of two equal verdicts, that of the first hop, which fails first.
    if target.exit() > primary.exit() {
        target.with_lints_of(primary)
    } else {
        primary.with_lints_of(target)
    }
}

fn of_hop(association: &Association, (hop, role): (Hop, &RoleArn), entries: &HashMap<RoleArn, Found>) -> Report {
    match entries.get(role) {
        None => {
            let judged = Judged::unknown(role.clone(), Why::Unreadable("it was not read".to_owned()));
            Report::of_hop(&judged, association, hop, Vec::new(), None)
        }
        Some(found) => {
            let origin = found.entry.source.map(|source| format!("role source {source}"));
            judgment::of_hop(association, (hop, role), &found.entry.trust, origin)
        }
    }
}

/// Its ServiceAccount has a role annotation, too.
pub(super) fn both(association: &Association) -> Lint {
    Lint {
        code: "annotation-and-association",
        message: format!(
            "ServiceAccount {} has a role annotation and an EKS Pod Identity association; new pods use the association",
            name(association)
        ),
    }
}

/// Its ServiceAccount was not found.
pub(super) fn no_account(association: &Association) -> Lint {
    Lint {
        code: "no-service-account",
        message: format!(
            "ServiceAccount {} does not exist; the association applies once it does",
            name(association)
        ),
    }
}

fn name(association: &Association) -> String {
    format!(
        "{}/{}",
        text::value(&association.namespace),
        text::value(&association.service_account)
    )
}
