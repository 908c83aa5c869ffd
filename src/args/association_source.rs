//! `--association-source`: where EKS Pod Identity associations are read from, and of which cluster.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::usage::UsageError;
use super::values;
use crate::associations::ClusterId;
use crate::trust::{ClusterArn, is_cluster_name};

/// The associations of the cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "EKS Pod Identity associations")]
pub(crate) struct AssociationArgs {
    /// Sources to read EKS Pod Identity associations from, in this order: eks, ack, crossplane, files=DIR
    ///
    /// May be repeated or separated by commas. If a source does not know an association, the next one is used. Requires --cluster-name
    /// or --cluster-arn. Default: none; associations are not read.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', hide_possible_values = true, value_parser = values::suggesting::<AssociationSourceSpec>(&["eks", "ack", "crossplane", "files="]))]
    association_source: Vec<AssociationSourceSpec>,

    /// Name of the EKS cluster whose associations are read
    ///
    /// Associations of other clusters are ignored.
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster_name: Option<String>,

    /// ARN of the EKS cluster, instead of its name
    ///
    /// Source eks calls the EKS API in the Region of this ARN.
    #[arg(long, value_name = "ARN", value_parser = ClusterArn::from_str)]
    cluster_arn: Option<ClusterArn>,
}

/// What associations are read from, and of which cluster.
#[derive(Clone, Debug)]
pub(crate) struct AssociationSettings {
    /// At least one, in the order in which they are asked.
    pub(crate) sources: Vec<AssociationSourceSpec>,
    pub(crate) cluster: ClusterId,
}

impl AssociationArgs {
    /// Checks what no value parser can see.
    pub(super) fn validate(&self, standalone: bool) -> Result<(), UsageError> {
        let is_named = self.cluster_name.is_some() || self.cluster_arn.is_some();
        if let Some(source) = self.association_source.first()
            && !is_named
        {
            return Err(UsageError::missing(format!(
                "--association-source {source} requires --cluster-name or --cluster-arn"
            )));
        }
        if is_named && self.association_source.is_empty() {
            return Err(UsageError::missing(
                "--cluster-name and --cluster-arn require --association-source",
            ));
        }
        if let (Some(name), Some(arn)) = (&self.cluster_name, &self.cluster_arn)
            && name != arn.name()
        {
            return Err(UsageError::conflict(format!(
                "--cluster-name {name} and --cluster-arn {arn} name different clusters"
            )));
        }
        for source in [AssociationSourceSpec::Ack, AssociationSourceSpec::Crossplane] {
            if standalone && self.association_source.contains(&source) {
                return Err(UsageError::conflict(format!(
                    "--association-source {source} reads objects of a cluster, but --standalone runs without one"
                )));
            }
        }
        Ok(())
    }

    /// None without a source.
    pub(crate) fn settings(self) -> Option<AssociationSettings> {
        let Self {
            association_source,
            cluster_name,
            cluster_arn,
        } = self;
        if association_source.is_empty() {
            return None;
        }
        let name = cluster_arn.as_ref().map(|arn| arn.name().to_owned()).or(cluster_name)?;
        Some(AssociationSettings {
            sources: association_source,
            cluster: ClusterId {
                name: name.into(),
                arn: cluster_arn,
            },
        })
    }
}

/// A value of `--association-source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AssociationSourceSpec {
    /// The EKS API.
    Eks,
    /// Objects of the ACK EKS controller.
    Ack,
    /// Objects of Crossplane's AWS provider.
    Crossplane,
    /// A directory of JSON files.
    Files(PathBuf),
}

impl FromStr for AssociationSourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None if text == "eks" => Ok(Self::Eks),
            None if text == "ack" => Ok(Self::Ack),
            None if text == "crossplane" => Ok(Self::Crossplane),
            Some(("files", directory)) if !directory.is_empty() => Ok(Self::Files(directory.into())),
            _ => Err("expected eks, ack, crossplane or files=DIR".to_owned()),
        }
    }
}

impl fmt::Display for AssociationSourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eks => f.write_str("eks"),
            Self::Ack => f.write_str("ack"),
            Self::Crossplane => f.write_str("crossplane"),
            Self::Files(directory) => write!(f, "files={}", directory.display()),
        }
    }
}

fn cluster_name(text: &str) -> Result<String, String> {
    if is_cluster_name(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "expected the name of an EKS cluster: up to 100 letters, digits, - and _, beginning with a letter or digit"
                .to_owned(),
        )
    }
}
