//! What all rows share, and the test of a row.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rolegate::certs::issue::{Authority, SubjectName};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admission::{Answer, Webhooks};
use crate::calls::Call;
use crate::container::{self, Program};
use crate::kubelet;
use crate::network::{self, Network, Run};
use crate::property;
use crate::rows::Row;
use crate::servers;
use crate::support::aws_sdks::{AwsSdk, aws_sdks};
use crate::support::tools::Missing;

/// The variables that images and runtimes set.
const IMAGE: [(&str, &str); 2] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOSTNAME", "report-x7k2p"),
];

/// What all rows share.
pub(crate) struct Rig {
    // Ended before the folder is removed.
    networks: Mutex<Vec<Network>>,
    pub(crate) webhooks: Webhooks,
    sdks: [AwsSdk; 3],
    authorities: String,
    folder: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Result<Self, Missing> {
        if fs::metadata("/proc/self").map_or(true, |process| process.uid() != 0) {
            return Err(Missing::Tool("containers need root".to_owned()));
        }
        for (program, argument) in [("runc", "--version"), ("unshare", "--version"), ("ip", "-Version")] {
            if !Command::new(program)
                .arg(argument)
                .output()
                .is_ok_and(|output| output.status.success())
            {
                return Err(Missing::Tool(format!("{program} is missing")));
            }
        }
        let sdks = aws_sdks()?;
        let folder = tempfile::Builder::new().prefix("rolegate-sdk-").tempdir().unwrap();
        let (now, validity) = (SystemTime::now(), Duration::from_secs(24 * 3600));
        let authority = Authority::generate("test", now, validity).unwrap();
        let names: Vec<SubjectName> = servers::TLS_NAMES
            .iter()
            .map(|name| SubjectName::parse(name).unwrap())
            .collect();
        let leaf = authority.issue(&names, now, validity).unwrap();
        fs::write(folder.path().join(network::CERTIFICATE), leaf.certificate_pem()).unwrap();
        fs::write(folder.path().join(network::KEY), leaf.key_pem()).unwrap();
        Ok(Self {
            networks: Mutex::default(),
            webhooks: Webhooks::default(),
            sdks,
            authorities: authority.certificate_pem().to_owned(),
            folder,
        })
    }

    /// Runs a program in a container of an admitted pod.
    pub(crate) fn run(&self, row: &Row, pod: &Value, container: &Value, program: &Program<'_>) -> Run {
        let folder = tempfile::Builder::new().tempdir_in(self.folder.path()).unwrap();
        let mut variables: BTreeMap<String, String> =
            IMAGE.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        variables.extend(row.image.clone());
        variables.extend(kubelet::environment(row, pod, container));
        let mounts = kubelet::mounts(row, pod, container, &folder.path().join("volumes"));
        container::write_bundle(folder.path(), program, &variables, &mounts, &self.authorities);
        self.in_network(folder.path())
    }

    fn in_network(&self, bundle: &Path) -> Run {
        let idle = self.networks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut network = idle.unwrap_or_else(|| Network::start(self.folder.path()));
        let run = network.run(bundle);
        self.networks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(network);
        run
    }
}

/// The test of a row. Everything that differs is reported together.
pub(crate) fn sdks_use_what_was_evaluated(rig: &Rig, row: &Row) {
    let answer = rig.webhooks.admit(row);
    let mut differences = differences_of_answer(row, &answer);
    if let Some(pod) = &answer.pod {
        let calls: Result<Vec<(&str, Call)>, String> = rig
            .sdks
            .iter()
            .map(|sdk| Ok((sdk.name, call(rig, row, pod, sdk)?)))
            .collect();
        match calls {
            Ok(calls) => {
                differences.extend(differences_of_calls(row, &calls));
                differences.extend(differences_of_property(row, &answer, &calls));
            }
            Err(why) => differences.push(format!("calls: {why}")),
        }
    }
    assert!(
        differences.is_empty(),
        "{}\n\nanswer: {:#}\naudit log: {}",
        differences.join("\n"),
        json!({"allowed": answer.response["allowed"], "status": answer.response["status"], "warnings": answer.response["warnings"]}),
        answer.record
    );
}

/// The requests of the SDK, or the reason why its program was killed.
fn call(rig: &Rig, row: &Row, pod: &Value, sdk: &AwsSdk) -> Result<Call, String> {
    let run = rig.run(row, pod, container_of(row, pod), &Program::Sdk(sdk));
    match run.status {
        Some(0) => Ok(Call::of(&run.arrivals, &run.stdout)),
        Some(status) => Err(format!("{} ended with {status}: {}", sdk.name, run.stderr)),
        None => Err(format!("{} did not end: {:?}", sdk.name, run.arrivals)),
    }
}

/// The container that is run.
fn container_of<'p>(row: &Row, pod: &'p Value) -> &'p Value {
    containers(pod)
        .find(|container| {
            row.container
                .as_ref()
                .is_none_or(|name| container["name"] == name.as_str())
        })
        .expect("the row's container")
}

/// The pod's containers, then its init containers.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |list: &str| pod["spec"][list].as_array().into_iter().flatten();
    of("containers").chain(of("initContainers"))
}

fn differences_of_answer(row: &Row, answer: &Answer) -> Vec<String> {
    let expect = &row.expect;
    let refused = match answer.pod {
        Some(_) => Value::Null,
        None if answer.record["cause"].is_null() => answer.record["verdict"].clone(),
        None => answer.record["cause"].clone(),
    };
    let fields = [
        ("refused", refused, json!(expect.refused)),
        ("role", answer.record["role"].clone(), json!(expect.role)),
        ("audience", answer.record["audience"].clone(), json!(expect.audience)),
        ("verdict", answer.record["verdict"].clone(), json!(expect.verdict)),
        (
            "notUsed",
            json!(answer.warns_that_it_is_not_used()),
            json!(expect.not_used),
        ),
    ];
    let differs = fields.into_iter().filter(|(_, is, should_be)| is != should_be);
    differs
        .map(|(field, is, should_be)| format!("answer: {field} is {is}, expected {should_be}"))
        .collect()
}

fn differences_of_calls(row: &Row, calls: &[(&str, Call)]) -> Option<String> {
    let agrees = |(sdk, call): &(&str, Call)| {
        let says = row.says.get(*sdk);
        let error_agrees = match call {
            Call::Error(error) => says.is_some_and(|says| error.contains(says.as_str())),
            _ => true,
        };
        error_agrees && row.calls.get(*sdk) == Some(&call.to_string())
    };
    if calls.iter().all(agrees) {
        return None;
    }
    let found: BTreeMap<&str, String> = calls.iter().map(|(sdk, call)| (*sdk, call.to_string())).collect();
    let says: BTreeMap<&str, &String> = calls
        .iter()
        .filter_map(|(sdk, call)| match call {
            Call::Error(error) => Some((*sdk, error)),
            _ => None,
        })
        .collect();
    Some(format!(
        "calls: the SDKs did {}\n       expected {}",
        json!({"calls": found, "says": says}),
        json!({"calls": row.calls, "says": row.says})
    ))
}

fn differences_of_property(row: &Row, answer: &Answer, calls: &[(&str, Call)]) -> Option<String> {
    let others: Vec<String> = calls
        .iter()
        .filter(|(_, call)| !property::is_announced(call, &answer.record, &row.flags))
        .map(|(sdk, call)| format!("{sdk}: {call}"))
        .collect();
    let is_silent = !others.is_empty() && answer.warnings().is_empty();
    match (is_silent, &row.by_design) {
        (true, None) => Some(format!(
            "property: admitted without a warning, but {}",
            others.join(", ")
        )),
        (false, Some(why)) => Some(format!("property: byDesign is not needed ({why})")),
        _ => None,
    }
}
