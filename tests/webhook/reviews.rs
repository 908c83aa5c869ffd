//! AdmissionReviews as an API server of 1.36 sends them: defaults filled in, `managedFields`, the token volume of the
//! ServiceAccount admission plugin, `generateName` without a name.

use serde_json::{Value, json};

/// The pod of a Job.
pub fn job_pod(namespace: &str, service_account: &str) -> Value {
    pod(
        namespace,
        service_account,
        json!({
            "generateName": "report-",
            "labels": {
                "batch.kubernetes.io/controller-uid": "0d5b1e3f-2a51-4f2c-8a55-2a8a3b0c7a11",
                "batch.kubernetes.io/job-name": "report",
                "controller-uid": "0d5b1e3f-2a51-4f2c-8a55-2a8a3b0c7a11",
                "job-name": "report"
            },
            "annotations": {"batch.kubernetes.io/job-tracking": ""},
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "ownerReferences": [owner("batch/v1", "Job", "report")],
        }),
    )
}

/// The pod of a CronJob's Job.
pub fn cron_job_pod(namespace: &str, service_account: &str) -> Value {
    let mut pod = job_pod(namespace, service_account);
    pod["metadata"]["generateName"] = json!("nightly-29384756-");
    pod["metadata"]["ownerReferences"] = json!([owner("batch/v1", "Job", "nightly-29384756")]);
    pod
}

/// The pod of a Deployment.
pub fn deployment_pod(namespace: &str, service_account: &str) -> Value {
    pod(
        namespace,
        service_account,
        json!({
            "generateName": "web-6d4cf56db6-",
            "labels": {"app": "web", "pod-template-hash": "6d4cf56db6"},
            "ownerReferences": [owner("apps/v1", "ReplicaSet", "web-6d4cf56db6")],
        }),
    )
}

/// The pod of a StatefulSet, whose name is known.
pub fn stateful_set_pod(namespace: &str, service_account: &str) -> Value {
    pod(
        namespace,
        service_account,
        json!({
            "name": "db-0",
            "generateName": "db-",
            "labels": {"app": "db", "statefulset.kubernetes.io/pod-name": "db-0"},
            "ownerReferences": [owner("apps/v1", "StatefulSet", "db")],
        }),
    )
}

/// The review of a pod's creation.
pub fn creation(pod: &Value) -> Value {
    review("CREATE", pod, &Value::Null)
}

/// The review of what `kubectl debug` does.
pub fn ephemeral(old: &Value, new: &Value) -> Value {
    let mut review = review("UPDATE", new, old);
    review["request"]["subResource"] = json!("ephemeralcontainers");
    review["request"]["requestSubResource"] = json!("ephemeralcontainers");
    review
}

/// The review of a workload or a ServiceAccount that is applied.
pub fn applied(group: &str, version: &str, kind: &str, resource: &str, object: &Value) -> Value {
    let mut review = review("CREATE", object, &Value::Null);
    let kind = json!({"group": group, "version": version, "kind": kind});
    let resource = json!({"group": group, "version": version, "resource": resource});
    review["request"]["kind"] = kind.clone();
    review["request"]["requestKind"] = kind;
    review["request"]["resource"] = resource.clone();
    review["request"]["requestResource"] = resource;
    review
}

fn review(operation: &str, object: &Value, old: &Value) -> Value {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": object["metadata"]["name"].as_str().unwrap_or_default(),
            "namespace": object["metadata"]["namespace"],
            "operation": operation,
            "userInfo": {
                "username": "system:serviceaccount:kube-system:job-controller",
                "uid": "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]
            },
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        }
    })
}

fn owner(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": "0d5b1e3f-2a51-4f2c-8a55-2a8a3b0c7a11",
        "controller": true, "blockOwnerDeletion": true})
}

fn pod(namespace: &str, service_account: &str, mut metadata: Value) -> Value {
    metadata["namespace"] = json!(namespace);
    metadata["creationTimestamp"] = Value::Null;
    metadata["managedFields"] = json!([{
        "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-01-31T13:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:generateName": {}}, "f:spec": {"f:containers": {
            "k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}}}}}
    }]);
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {
            "volumes": [{"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}
            ]}}],
            "containers": [{
                "name": "main",
                "image": "public.ecr.aws/docker/library/busybox:1.37",
                "command": ["sh", "-c", "aws sts get-caller-identity"],
                "env": [{"name": "REPORT", "value": "daily"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "volumeMounts": [{"name": "kube-api-access-x7k2p", "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent"
            }],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": service_account,
            "serviceAccount": service_account,
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            ],
            "priority": 0,
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority"
        },
        "status": {}
    })
}
