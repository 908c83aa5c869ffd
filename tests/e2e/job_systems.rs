//! The table of workload resources on the real CRDs of the job systems: one object per resource is applied with kubectl, and its warning
//! names the ServiceAccounts that its pods run as.
//!
//! The CRDs are those that the systems publish in package registries. `tests/workload-cases/applied.json` has the objects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rolegate::workloads::{self, ResourceType};
use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate, ISSUER_HOST, trust_policy};
use crate::custom_resources::Crds;
use crate::kubectl::run_command;
use crate::scenarios::Scenarios;
use crate::support::published::{self, GoFolder};
use crate::support::tools::Missing;
use crate::wait::until_ok;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(each_resource_of_a_job_system_is_warned_about);
}

pub(crate) const ARGO_WORKFLOWS: GoFolder = GoFolder {
    module: "github.com/argoproj/argo-workflows/v4@v4.0.5",
    sum: "h1:/1lru5oXUd+k6KEDUps6rLX5OKfi1jTfabgXTly/VFU=",
    folder: "manifests/base/crds/full",
};

pub(crate) const JOBSET: GoFolder = GoFolder {
    module: "sigs.k8s.io/jobset@v0.11.1",
    sum: "h1:WgLEBnXTeX+4MxfVkIbfm4jIVgjvIY6Jfaei2okxKNk=",
    folder: "config/components/crd/bases",
};

/// The modules, with the folder of their CRDs. Where two have a CRD of the same name, the later one replaces it.
const SYSTEMS: [GoFolder; 19] = [
    // First: only its copy of the CRD of FlinkDeployment is used, and those of others are copies, too.
    GoFolder {
        module: "github.com/karmada-io/karmada@v1.16.0",
        sum: "h1:RD58HD7xp0+FKDWkJRygBsN/ht3k7gbBZa0xBzWSio4=",
        folder: "test/e2e/suites/base/manifest",
    },
    ARGO_WORKFLOWS,
    GoFolder {
        module: "github.com/argoproj/argo-events@v1.9.6",
        sum: "h1:tQTyUmMt0/4UI+9fbXrmK1/h9oalV7KBCC3YgPI7qz0=",
        folder: "manifests/base/crds",
    },
    GoFolder {
        module: "github.com/argoproj/argo-rollouts@v1.8.3",
        sum: "h1:blbtQva4IK9r6gFh+dWkCrLnFdPOWiv9ubQYu36qeaA=",
        folder: "manifests/crds",
    },
    GoFolder {
        module: "github.com/tektoncd/pipeline@v1.6.0",
        sum: "h1:A+D+jzOVl2QNl/yiNT7csVgBUy2wpz6K6+/D4q5lfss=",
        folder: "config/300-crds",
    },
    GoFolder {
        module: "github.com/tektoncd/triggers@v0.34.0",
        sum: "h1:CuhG1moThPGEMlxPUcoBDDplJ3FAczzF8MMAjGScRY0=",
        folder: "config",
    },
    JOBSET,
    GoFolder {
        module: "sigs.k8s.io/kueue@v0.17.0",
        sum: "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I=",
        folder: "config/components/crd/bases",
    },
    GoFolder {
        module: "sigs.k8s.io/lws@v0.9.0",
        sum: "h1:DcJCgxjjoGOx//QHZkeKpyiblxYq70aCRZNYSfykWyI=",
        folder: "config/crd/bases",
    },
    GoFolder {
        module: "github.com/kubeflow/spark-operator/v2@v2.5.0",
        sum: "h1:NNgTHgQMbrGZSFJtprjssdtCaL/qlYYQY1EyXuRaP78=",
        folder: "config/crd/bases",
    },
    GoFolder {
        module: "github.com/ray-project/kuberay/ray-operator@v1.6.0",
        sum: "h1:1hs7Di2U/vm09ot7MIU8jUqEo7gHDc4gkbv1eFvqCsQ=",
        folder: "config/crd/bases",
    },
    GoFolder {
        module: "github.com/kedacore/keda/v2@v2.21.0",
        sum: "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        folder: "config/crd/bases",
    },
    GoFolder {
        module: "github.com/kubeflow/training-operator@v1.9.3",
        sum: "h1:aaSHqskOtCY8Dn8sVd+l9p5XAczW6O0nYMPjVLAw/lc=",
        folder: "manifests/base/crds",
    },
    GoFolder {
        module: "github.com/kubeflow/trainer/v2@v2.0.0",
        sum: "h1:mnQSR9iPKItxyUR8mq66XsmxqKNVHwr9YYOB7BTU9dU=",
        folder: "manifests/base/crds",
    },
    GoFolder {
        module: "knative.dev/serving@v0.51.0",
        sum: "h1:yN2Q7eYqJgoPfZkATjoBZyGbZ2P1Qhns9HIMU4mF+to=",
        folder: "config/core/300-resources",
    },
    GoFolder {
        module: "knative.dev/eventing@v0.47.0",
        sum: "h1:FfM1aS7iBn9o0v7xqIBEWcR4XZ8Ny7YyFPAOyLEgMok=",
        folder: "config/core/resources",
    },
    GoFolder {
        module: "github.com/openkruise/kruise@v1.8.0",
        sum: "h1:cU5XG9tur17j/CuY+iCTlxOtJ0GNTtJjMLurhh+25YQ=",
        folder: "config/crd/bases",
    },
    GoFolder {
        module: "github.com/actions/actions-runner-controller@v0.27.6",
        sum: "h1:Uklv1+6+/BQuhV6HoXIgPZrnAW9/HWo3j9O7IcnzGXU=",
        folder: "config/crd/bases",
    },
    // Last: its MPIJob (v2beta1) has the name of that of the training operator (v1).
    GoFolder {
        module: "github.com/kubeflow/mpi-operator@v0.8.0",
        sum: "h1:22EccUiO4VDooG4TooesdE8o8euGVj89PIRhiP24SRE=",
        folder: "manifests/base",
    },
];

/// Groups and kinds whose CRDs are not in a package registry, and why. `tests/workloads.rs` has samples of their resources.
const NOT_PUBLISHED: [(&str, &str); 3] = [
    (
        "flink.apache.org/FlinkBlueGreenDeployment",
        "org.apache.flink:flink-kubernetes-operator-api, whose archive has it, could not be fetched from Maven Central",
    ),
    (
        "spark.apache.org",
        "org.apache.spark:spark-operator-api could not be fetched from Maven Central; its Helm chart has them",
    ),
    (
        "trainer.kubeflow.org/OptimizationJob",
        "no version of github.com/kubeflow/trainer/v2 that the module proxy lists has it: the newest is v2.0.0",
    ),
];

fn each_resource_of_a_job_system_is_warned_about(cluster: &ExclusiveCluster<'_>) {
    let folders = match definitions() {
        Ok(folders) => folders,
        Err(missing) => {
            missing.skip("the scenario of job systems (tests/e2e/job_systems.rs)");
            return;
        }
    };
    let release = cluster.release();
    let jobs = cluster.namespace("systems", Gate::Enforce);
    let role = jobs.role_arn("api");
    let cases = include_str!("../workload-cases/applied.json").replace("ROLE_ARN", &role);
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    assert_every_row_is_applied(&cases);
    release.put_role(&role, &trust_policy("production", "api"));
    let existing = cases.iter().filter(|case| case["createsAccount"] != true);
    let names: BTreeSet<&str> = existing.flat_map(accounts).chain(["not-used"]).collect();
    let service_accounts: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": name, "annotations": {"eks.amazonaws.com/role-arn": role}}})
        })
        .collect();
    jobs.apply(&json!({"apiVersion": "v1", "kind": "List", "items": service_accounts}).to_string())
        .ok();
    jobs.annotate("default", &role);

    let (last, others) = folders.split_last().unwrap();
    let mut crds = Crds::new(cluster);
    crds.install(others, custom_resources());
    let is_of_last = |case: &&Value| case["object"]["apiVersion"] == "kubeflow.org/v2beta1";
    let mut wrong: Vec<String> = Vec::new();
    let mut apply = |case: &Value| {
        let object = &case["object"];
        let output = until_ok("an answer of the API server", || {
            let output = jobs.apply(&object.to_string());
            // The API server serves a CRD a moment after it is established.
            if output.stderr.contains("no matches for kind") {
                return Err(output.to_string());
            }
            Ok(output)
        });
        let warned = warned(&output.warnings(), &jobs.name);
        let expected: BTreeSet<String> = accounts(case).map(str::to_owned).collect();
        if warned != expected || !output.succeeded() {
            wrong.push(format!("{warned:?}, not {expected:?}: {object}\n{output}"));
        }
    };
    cases.iter().filter(|case| !is_of_last(case)).for_each(&mut apply);
    cluster
        .kubectl(&["delete", "customresourcedefinition", "mpijobs.kubeflow.org"])
        .ok();
    crds.install(std::slice::from_ref(last), custom_resources());
    cases.iter().filter(is_of_last).for_each(&mut apply);
    assert!(wrong.is_empty(), "{} objects:\n{}", wrong.len(), wrong.join("\n\n"));

    // The patch of a pod is valid in each of these pod templates.
    let objects: Vec<&Value> = cases.iter().map(|case| &case["object"]).collect();
    let of_installed = |object: &&Value| object["apiVersion"] != "kubeflow.org/v1" || object["kind"] != "MPIJob";
    let objects: Vec<&Value> = objects.into_iter().filter(of_installed).collect();
    let injected = inject(cluster, &objects, &jobs.name, &role);
    let changed: Vec<&Value> = injected
        .iter()
        .zip(&objects)
        .filter(|(injected, object)| injected != *object)
        .map(|(injected, _)| injected)
        .collect();
    assert!(changed.len() > 40, "{} pod templates", changed.len());
    let list = json!({"apiVersion": "v1", "kind": "List", "items": changed}).to_string();
    let output = cluster.surroundings().kubectl.run_with_input(
        &[
            "-n",
            &jobs.name,
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ],
        &list,
    );
    assert_eq!(output.clone().ok().lines().count(), changed.len(), "{output}");
}

/// The folders with CRDs; where two have a CRD of the same name, the later one replaces it.
fn definitions() -> Result<Vec<PathBuf>, Missing> {
    let mut folders = published::go_folders(&SYSTEMS)?;
    let others = [published::dask()?, published::volcano()?, published::strimzi()?];
    folders.splice(1..1, others);
    Ok(folders)
}

/// The ServiceAccounts that an object's warnings should name.
fn accounts(case: &Value) -> impl Iterator<Item = &str> {
    let names = case["accounts"].as_array().expect("each case has accounts");
    names.iter().map(|name| name.as_str().expect("names are strings"))
}

/// The ServiceAccounts that warnings name.
fn warned(warnings: &[&str], namespace: &str) -> BTreeSet<String> {
    let before = format!("does not trust ServiceAccount {namespace}/");
    warnings
        .iter()
        .filter_map(|warning| Some(warning.split_once(&before)?.1.split_once(':')?.0.to_owned()))
        .collect()
}

/// Every resource of the table is applied, or its absence has a reason.
fn assert_every_row_is_applied(cases: &[Value]) {
    let mut left_out = BTreeSet::new();
    for row in custom_resources() {
        let reason = NOT_PUBLISHED
            .iter()
            .find(|(name, _)| *name == row.group || *name == format!("{}/{}", row.group, row.kind));
        if let Some((name, _)) = reason {
            left_out.insert(*name);
            continue;
        }
        let is_applied = |version: &String| {
            let api_version = format!("{}/{version}", row.group);
            cases
                .iter()
                .any(|case| case["object"]["apiVersion"] == *api_version && case["object"]["kind"] == *row.kind)
        };
        assert!(
            row.versions.iter().any(is_applied),
            "no object of {}/{}",
            row.group,
            row.kind
        );
    }
    assert_eq!(
        left_out.len(),
        NOT_PUBLISHED.len(),
        "a reason for what is not in the table"
    );
}

/// The rows of the table that need a CRD.
fn custom_resources() -> impl Iterator<Item = &'static ResourceType> + Clone {
    let rows = workloads::resources().iter().map(|row| &row.resource_type);
    rows.filter(|row| row.group.contains('.'))
}

/// What `rolegate inject` prints of objects whose ServiceAccounts all have this role.
fn inject(cluster: &ExclusiveCluster<'_>, objects: &[&Value], namespace: &str, role: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("none.json"), r#"{"Roles": []}"#).unwrap();
    let source = format!("files={}", folder.path().display());
    let mut command = cluster
        .surroundings()
        .run
        .command(Path::new(env!("CARGO_BIN_EXE_rolegate")));
    let args = [
        "inject",
        "--file=-",
        "--mode=audit",
        "--issuer",
        ISSUER_HOST,
        "--role-source",
        &source,
        "--namespace",
        namespace,
        "--role-arn",
        role,
    ];
    command.args(args);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let output = run_command("rolegate", command, &args, &list);
    // The role is not in the folder: in the mode audit, the pods are injected all the same.
    assert_eq!(output.code, Some(1), "{output}");
    let printed: Value = serde_json::from_str(&output.stdout).unwrap();
    printed["items"].as_array().expect("a List").clone()
}
