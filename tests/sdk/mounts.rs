//! Whether runc can start the containers with their mounts.

use serde_json::{Value, json};

use crate::admission::pod_of;
use crate::container::Program;
use crate::network::Run;
use crate::rig::{Rig, containers};
use crate::rows::Row;

/// Where the token is mounted, and the volume.
const PATH: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
const VOLUME: &str = "aws-iam-token";

/// Every container of an admitted pod starts.
pub(crate) fn runc_starts_every_container(rig: &Rig, row: &Row) {
    let answer = rig.webhooks.admit(row);
    let pod = answer.pod.unwrap_or_else(|| panic!("refused: {}", answer.record));
    for container in containers(&pod) {
        let run = rig.run(row, &pod, container, &Program::True);
        assert_eq!(run.status, Some(0), "container {}: {}", container["name"], run.stderr);
    }
}

/// The container of a pod that is refused because the token cannot be mounted starts without that mount, and does not start with it.
pub(crate) fn runc_cannot_mount_the_token(rig: &Rig, row: &Row) {
    assert_eq!(row.expect.refused.as_deref(), Some("conflict"));
    let run = |pod: &Value| -> Run {
        let container = containers(pod).next().expect("a container");
        rig.run(row, pod, container, &Program::True)
    };
    let pod = pod_of(row);
    let without = run(&pod);
    assert_eq!(without.status, Some(0), "without the token: {}", without.stderr);
    let with = run(&with_token(pod));
    assert!(
        with.status != Some(0) && with.stderr.contains("error mounting"),
        "with the token: {with:?}"
    );
}

/// The pod with the mount that rolegate would add to its first container.
fn with_token(mut pod: Value) -> Value {
    let volume = json!({"name": VOLUME, "projected": {"sources": [
        {"serviceAccountToken": {"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}}
    ]}});
    pod["spec"]["volumes"].as_array_mut().expect("a list").insert(0, volume);
    let mounts = pod["spec"]["containers"][0]["volumeMounts"]
        .as_array_mut()
        .expect("a list");
    mounts.push(json!({"name": VOLUME, "readOnly": true, "mountPath": PATH}));
    pod
}
