//! What holds for every pod: an identity that rolegate evaluated is the one that SDKs use, or rolegate says that it might not be.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::calls::Call;

/// Where the agent of EKS Pod Identity listens.
const AGENTS: [&str; 2] = [
    "http://169.254.170.23/v1/credentials",
    "http://[fd00:ec2::23]/v1/credentials",
];

/// Whether a call is the one that the line in the audit log announces.
pub(crate) fn is_announced(call: &Call, record: &Value, flags: &[String]) -> bool {
    let is_agent = |url: &str| AGENTS.contains(&url) || agent_of(flags) == Some(url);
    match call {
        Call::WebIdentity { role, audience, host } => {
            record["role"] == role.as_str()
                && record["audience"] == audience.as_str()
                && partition_of_sts(host).is_some_and(|partition| role.split(':').nth(1) == Some(partition))
        }
        Call::Container(url) => record["action"] == "pod-identity" && is_agent(url),
        Call::Keys(_) | Call::NodeRole | Call::Error(_) => false,
    }
}

/// `--container-credentials-full-uri`.
fn agent_of(flags: &[String]) -> Option<&str> {
    let at = flags
        .iter()
        .position(|flag| flag == "--container-credentials-full-uri")?;
    flags.get(at + 1).map(String::as_str)
}

/// The partition of an endpoint of AWS STS; none for another server.
fn partition_of_sts(host: &str) -> Option<&'static str> {
    let name = host.strip_prefix("sts.")?;
    if name == "amazonaws.com" {
        return Some("aws");
    }
    if name.ends_with(".amazonaws.com.cn") {
        return Some("aws-cn");
    }
    let region = name.strip_suffix(".amazonaws.com")?;
    Some(if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    })
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "property::only_the_evaluated_identity_is_announced",
        || {
            let record = json!({"action": "inject", "role": "arn:aws:iam::111122223333:role/runner", "audience": "sts.amazonaws.com"});
            let call = |role: &str, audience: &str, host: &str| Call::WebIdentity {
                role: role.to_owned(),
                audience: audience.to_owned(),
                host: host.to_owned(),
            };
            let (runner, sts) = ("arn:aws:iam::111122223333:role/runner", "sts.amazonaws.com");
            assert!(is_announced(
                &call(runner, sts, "sts.us-west-2.amazonaws.com"),
                &record,
                &[]
            ));
            for other in [
                call(
                    "arn:aws:iam::111122223333:role/other",
                    sts,
                    "sts.us-west-2.amazonaws.com",
                ),
                call(runner, "amazonaws.com", "sts.us-west-2.amazonaws.com"),
                call(runner, sts, "sts.cn-north-1.amazonaws.com.cn"),
                call(runner, sts, "sts.us-gov-west-1.amazonaws.com"),
                call(runner, sts, "minio.storage.svc:9000"),
                Call::Container("http://169.254.170.23/v1/credentials".to_owned()),
                Call::NodeRole,
                Call::Keys("AKIAIOSFODNN7EXAMPLE".to_owned()),
                Call::Error("no credentials".to_owned()),
            ] {
                assert!(!is_announced(&other, &record, &[]), "{other}");
            }
            let record = json!({"action": "pod-identity", "role": null, "audience": null});
            assert!(is_announced(
                &Call::Container("http://169.254.170.23/v1/credentials".to_owned()),
                &record,
                &[]
            ));
            assert!(!is_announced(
                &Call::Container("http://127.0.0.1:8080/creds".to_owned()),
                &record,
                &[]
            ));
            Ok(())
        },
    )]
}
