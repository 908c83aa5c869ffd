//! The program with a few ServiceAccounts and roles, and what it answers for a pod.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{Folder, ISSUER, Program, policy_with};
use crate::reviews;
use crate::rows::Row;

/// The namespace of every pod.
pub(crate) const NAMESPACE: &str = "jobs";

/// The ServiceAccounts, with the role that each is annotated with.
pub(crate) const ACCOUNTS: [(&str, Option<&str>); 6] = [
    // The role trusts it.
    ("runner", Some("arn:aws:iam::111122223333:role/runner")),
    // The role trusts another ServiceAccount.
    ("stranger", Some("arn:aws:iam::111122223333:role/stranger")),
    // The role trusts it for the audience `amazonaws.com` only.
    ("audience", Some("arn:aws:iam::111122223333:role/audience")),
    // The role does not exist.
    ("missing", Some("arn:aws:iam::111122223333:role/missing")),
    // The role trusts it, and is in partition aws-cn.
    ("china", Some("arn:aws-cn:iam::111122223333:role/china")),
    ("none", None),
];

/// What rolegate did with a pod.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Value,
    /// The line in the audit log.
    pub(crate) record: Value,
    /// The pod with the patch; none when it was refused.
    pub(crate) pod: Option<Value>,
}

impl Answer {
    pub(crate) fn warnings(&self) -> Vec<&str> {
        let warnings = self.response["warnings"].as_array();
        warnings.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether a warning says that the identity is not used, or might not be.
    pub(crate) fn warns_that_it_is_not_used(&self) -> bool {
        self.warnings()
            .iter()
            .any(|warning| warning.contains("(identity-not-used)"))
    }
}

/// The programs, one per set of flags.
#[derive(Default)]
pub(crate) struct Webhooks {
    started: Mutex<BTreeMap<Vec<String>, Webhook>>,
}

struct Webhook {
    _folder: Folder,
    program: Program,
    audit_log: PathBuf,
}

impl Webhooks {
    /// Sends the row's pod to `/mutate/enforce` and applies the patch.
    pub(crate) fn admit(&self, row: &Row) -> Answer {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut started = self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let webhook = started
            .entry(row.flags.clone())
            .or_insert_with(|| Webhook::start(&row.flags));
        let mut pod = pod_of(row);
        let mut review = reviews::creation(&pod);
        let uid = format!("705ab4f5-6393-11e8-b7cc-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
        review["request"]["uid"] = json!(uid);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let response = runtime.block_on(webhook.program.review("/mutate/enforce", &review));
        let record = webhook.record(&uid);
        if response["allowed"] == false {
            return Answer {
                response,
                record,
                pod: None,
            };
        }
        if let Some(patch) = response["patch"].as_str() {
            let patch = standard_base64(patch);
            let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON patch");
            json_patch::patch(&mut pod, &patch).expect("a patch that applies");
        }
        Answer {
            response,
            record,
            pod: Some(pod),
        }
    }
}

impl Webhook {
    fn start(flags: &[String]) -> Self {
        let folder = Folder::new();
        for (name, role) in ACCOUNTS {
            let annotation = role.map(|role| ("eks.amazonaws.com/role-arn", role));
            folder.account(NAMESPACE, name, annotation.as_slice());
        }
        folder.role("runner", &Folder::trusting(NAMESPACE, "runner"));
        folder.role("stranger", &Folder::trusting("production", "api"));
        folder.role("audience", &trusting("amazonaws.com"));
        // For roles that pods name themselves.
        folder.role("other", &trusting("sts.amazonaws.com"));
        let mut china = Folder::trusting(NAMESPACE, "china");
        china["Statement"][0]["Principal"]["Federated"] =
            json!(format!("arn:aws-cn:iam::111122223333:oidc-provider/{ISSUER}"));
        folder.role("china", &china);
        let audit_log = folder.path().join("audit.log");
        let mut all = vec!["--audit-log", audit_log.to_str().unwrap()];
        all.extend(flags.iter().map(String::as_str));
        let program = Program::serve(&folder, &all);
        Self {
            program,
            audit_log,
            _folder: folder,
        }
    }

    /// The line of a review, which is written a moment after the answer.
    fn record(&self, uid: &str) -> Value {
        let begun = Instant::now();
        loop {
            let log = fs::read_to_string(&self.audit_log).unwrap_or_default();
            let line = log
                .lines()
                .find(|line| line.contains(uid))
                .and_then(|line| serde_json::from_str(line).ok());
            if let Some(record) = line {
                return record;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "the audit log has no line for {uid}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A trust policy for every ServiceAccount of the namespace, for tokens of this audience.
fn trusting(audience: &str) -> Value {
    policy_with(json!({
        "StringLike": {format!("{ISSUER}:sub"): format!("system:serviceaccount:{NAMESPACE}:*")},
        "StringEquals": {format!("{ISSUER}:aud"): audience},
    }))
}

/// The pod as the API server sends it: the row's part of the specification, with what its defaults and the admission plugin
/// ServiceAccount add.
pub(crate) fn pod_of(row: &Row) -> Value {
    assert!(
        ACCOUNTS.iter().any(|(name, _)| *name == row.service_account),
        "{:?} has an unknown ServiceAccount",
        row.name
    );
    let mut pod = reviews::job_pod(NAMESPACE, &row.service_account);
    if !row.annotations.is_empty() {
        pod["metadata"]["annotations"] = json!(row.annotations);
    }
    let api_access = pod["spec"]["volumes"][0].take();
    pod["spec"]["volumes"] = json!([]);
    for (field, value) in row.pod.as_object().expect("an object") {
        pod["spec"][field] = value.clone();
    }
    let gets_api_access = row.pod["automountServiceAccountToken"] != false;
    if gets_api_access {
        let volumes = pod["spec"]["volumes"].as_array_mut().expect("a list");
        volumes.push(api_access.clone());
    }
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"][list].as_array_mut();
        for (index, container) in containers.into_iter().flatten().enumerate() {
            if container["name"].is_null() {
                container["name"] = json!(if index == 0 {
                    "main".to_owned()
                } else {
                    format!("main-{index}")
                });
            }
            container["image"] = json!("public.ecr.aws/docker/library/busybox:1.37");
            if gets_api_access {
                add_api_access(container, &api_access["name"]);
            }
        }
    }
    pod
}

/// The plugin leaves a container alone that mounts something at the same path.
fn add_api_access(container: &mut Value, volume: &Value) {
    const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    if container["volumeMounts"].is_null() {
        container["volumeMounts"] = json!([]);
    }
    let mounts = container["volumeMounts"].as_array_mut().expect("a list");
    if mounts.iter().all(|mount| mount["mountPath"] != PATH) {
        mounts.push(json!({"name": volume, "readOnly": true, "mountPath": PATH}));
    }
}

/// The patch in a response is in base64 with the standard alphabet.
fn standard_base64(text: &str) -> Vec<u8> {
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    crate::base64::decode(&text).expect("base64")
}
