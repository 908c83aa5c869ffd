//! The table of workload resources: which ServiceAccounts an object of each kind refers to.

use std::collections::BTreeSet;

use rolegate::workloads::{
    Account, Listed, MAX_PLACES, Resource, TokenResource, every_reference, lookup, references, resources,
    token_resources,
};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

/// The distinct names of an object's ServiceAccounts, in order of their text.
fn accounts(object: &Value) -> Vec<String> {
    let names: BTreeSet<String> = found(object).into_iter().map(|(_, name)| name).collect();
    names.into_iter().collect()
}

/// Path and name of each reference.
fn found(object: &Value) -> Vec<(String, String)> {
    let api_version = object["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Listed::As(resource) = lookup(group, version, object["kind"].as_str().unwrap()) else {
        panic!("not in the table: {object}")
    };
    let object = to_raw_value(object).unwrap();
    references(resource, &object)
        .into_iter()
        .map(|reference| {
            reference.pod().unwrap();
            (reference.path.clone(), reference.account.name().to_owned())
        })
        .collect()
}

#[test]
fn the_table_is_complete_sorted_and_unambiguous() {
    let rows: Vec<_> = resources().iter().map(|row| &row.resource_type).collect();
    assert_eq!(rows.len(), 83);
    let keys: Vec<_> = rows
        .iter()
        .map(|row| (&row.group, &row.plural, &row.versions))
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let mut kinds = BTreeSet::new();
    for row in rows {
        assert!(!row.versions.is_empty() && !row.source.is_empty(), "{row:?}");
        assert_eq!(row.plural, row.plural.to_lowercase());
        for version in &row.versions {
            assert!(kinds.insert((&row.group, version, &row.kind)), "twice: {row:?}");
        }
    }
}

#[test]
fn each_resource_has_a_sample_whose_references_are_found() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("workload-cases/samples.json")).unwrap();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let object = &case["object"];
        // Only this path of the resource is set.
        if let Some(name) = case["contains"].as_str() {
            if !accounts(object).iter().any(|found| found == name) {
                wrong.push(format!("{name} is not found: {object}"));
            }
            continue;
        }
        let expected: Vec<&str> = case["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        let accounts = accounts(object);
        if accounts != expected {
            wrong.push(format!("{accounts:?}, not {expected:?}: {object}"));
        }
        if !expected.is_empty() {
            seen.insert((object["apiVersion"].to_string(), object["kind"].to_string()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        seen.len(),
        resources().len(),
        "resources with a sample that refers to something"
    );
}

#[test]
fn an_argo_template_uses_its_own_account_then_the_defaults_then_that_of_the_workflow() {
    let workflow = |spec: Value| json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": spec});
    for (spec, expected) in [
        (
            json!({"serviceAccountName": "all", "templates": [{"serviceAccountName": "own"}, {}]}),
            vec!["all", "own"],
        ),
        (
            json!({"serviceAccountName": "all", "templateDefaults": {"serviceAccountName": "each"}, "templates": [{}]}),
            vec!["each"],
        ),
        // The account of the workflow runs nothing here.
        (
            json!({"serviceAccountName": "all", "templates": [{"serviceAccountName": "own"}, {"dag": {}}]}),
            vec!["own"],
        ),
        (
            json!({"serviceAccountName": "all", "workflowTemplateRef": {"name": "t"}}),
            vec!["all"],
        ),
        (json!({"workflowTemplateRef": {"name": "t"}}), vec![]),
        // workflowDefaults of the controller decide.
        (json!({"templates": [{}]}), vec![]),
        (
            json!({"templates": [{"serviceAccountName": "{{inputs.parameters.account}}"}]}),
            vec![],
        ),
        (
            json!({"artifactGC": {"serviceAccountName": "collector"}, "templates": [{}]}),
            vec!["collector"],
        ),
    ] {
        assert_eq!(accounts(&workflow(spec.clone())), expected, "{spec}");
    }
}

#[test]
fn the_operators_own_rules_for_absent_names_are_followed() {
    let object = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "job"}, "spec": spec});
    let pod = |name: &str| json!({"spec": {"serviceAccountName": name, "containers": []}});
    let bare = json!({"spec": {"containers": []}});
    for (object, expected) in [
        // Spark: the executor falls back to the account of the driver.
        (
            object(
                "sparkoperator.k8s.io/v1beta2",
                "SparkApplication",
                json!({"driver": {"serviceAccount": "driver"}, "executor": {}}),
            ),
            vec!["driver"],
        ),
        (
            object(
                "sparkoperator.k8s.io/v1beta2",
                "SparkApplication",
                json!({"driver": {"serviceAccount": "driver", "template": pod("not-used")}, "executor": {"serviceAccount": "not-used", "template": pod("executor")}}),
            ),
            vec!["driver", "executor"],
        ),
        (
            object(
                "sparkoperator.k8s.io/v1beta2",
                "SparkApplication",
                json!({"driver": {}, "executor": {}}),
            ),
            vec!["default"],
        ),
        // Spark's own operator: the configuration wins for the driver, the template for executors.
        (
            object(
                "spark.apache.org/v1",
                "SparkApplication",
                json!({"sparkConf": {"spark.kubernetes.authenticate.driver.serviceAccountName": "conf"}, "driverSpec": {"podTemplateSpec": pod("not-used")}, "executorSpec": {"podTemplateSpec": pod("executor")}}),
            ),
            vec!["conf", "executor"],
        ),
        // Ray: the operator creates an account for the head of a cluster that scales itself.
        (
            object(
                "ray.io/v1",
                "RayCluster",
                json!({"enableInTreeAutoscaling": true, "headGroupSpec": {"template": bare}, "workerGroupSpecs": [{"template": pod("worker")}]}),
            ),
            vec!["job", "worker"],
        ),
        (
            object(
                "ray.io/v1",
                "RayCluster",
                json!({"enableInTreeAutoscaling": false, "headGroupSpec": {"template": bare}}),
            ),
            vec!["default"],
        ),
        (
            object(
                "ray.io/v1",
                "RayJob",
                json!({"rayClusterSpec": {"enableInTreeAutoscaling": true, "headGroupSpec": {"template": bare}}}),
            ),
            vec![],
        ),
        // MPI: the operator of v1 creates the account of the launcher.
        (
            object(
                "kubeflow.org/v1",
                "MPIJob",
                json!({"mpiReplicaSpecs": {"Launcher": {"template": bare}, "Worker": {"template": pod("worker")}}}),
            ),
            vec!["job-launcher", "worker"],
        ),
        (
            object(
                "kubeflow.org/v2beta1",
                "MPIJob",
                json!({"mpiReplicaSpecs": {"Launcher": {"template": bare}}}),
            ),
            vec!["default"],
        ),
        // Tekton: a task without an account uses that of the run.
        (
            object(
                "tekton.dev/v1",
                "PipelineRun",
                json!({"taskRunTemplate": {"serviceAccountName": "run"}, "taskRunSpecs": [{}, {"serviceAccountName": "task"}]}),
            ),
            vec!["run", "task"],
        ),
        (
            object(
                "batch.volcano.sh/v1alpha1",
                "Job",
                json!({"tasks": [{"template": pod("task")}]}),
            ),
            vec!["task"],
        ),
        // A trigger creates whole objects.
        (
            object(
                "argoproj.io/v1alpha1",
                "Sensor",
                json!({"template": {"serviceAccountName": "sensor"}, "triggers": [{"template": {"name": "t", "k8s": {"source": {"resource": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": pod("created")}}}}}}]}),
            ),
            vec!["created", "sensor"],
        ),
        // The deprecated alias.
        (
            object(
                "keda.sh/v1alpha1",
                "ScaledJob",
                json!({"jobTargetRef": {"template": {"spec": {"serviceAccount": "alias"}}}}),
            ),
            vec!["alias"],
        ),
    ] {
        assert_eq!(accounts(&object), expected, "{object}");
    }
}

#[test]
fn objects_that_a_controller_created_are_left_out_where_its_object_is_read() {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a", "ownerReferences": [{"kind": "Deployment", "name": "a", "controller": true}]},
        "spec": {"template": {"spec": {"serviceAccountName": "worker"}}}});
    assert_eq!(accounts(&object), Vec::<String>::new());
    object["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    assert_eq!(accounts(&object), ["worker"]);
}

#[test]
fn a_name_after_the_object_needs_the_objects_name() {
    let bridge = |metadata: Value| json!({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaBridge", "metadata": metadata, "spec": {}});
    assert_eq!(accounts(&bridge(json!({"name": "b"}))), ["b-bridge"]);
    assert_eq!(accounts(&bridge(json!({"generateName": "b-"}))), Vec::<String>::new());
}

#[test]
fn what_has_another_shape_refers_to_nothing() {
    for spec in [
        json!(null),
        json!([]),
        json!("a"),
        json!({"template": []}),
        json!({"template": {"spec": null}}),
        json!({"templates": {"serviceAccountName": "a"}}),
    ] {
        for (api, kind) in [
            ("batch/v1", "Job"),
            ("argoproj.io/v1alpha1", "Workflow"),
            ("argoproj.io/v1alpha1", "Rollout"),
        ] {
            let object = json!({"apiVersion": api, "kind": kind, "metadata": [], "spec": spec});
            assert_eq!(found(&object), [], "{object}");
        }
    }
}

#[test]
fn each_distinct_reference_is_found_once_with_its_path() {
    let object = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
        "spec": {"templates": [{"serviceAccountName": "a"}, {"serviceAccountName": "a"}, null, {"serviceAccountName": "b"}]}});
    let expected =
        [("spec.templates[0]", "a"), ("spec.templates[3]", "b")].map(|(path, name)| (path.to_owned(), name.to_owned()));
    assert_eq!(found(&object), expected);
}

#[test]
fn every_place_is_listed_with_a_pointer_that_leads_to_it() {
    let template = json!({"spec": {"serviceAccountName": "worker", "containers": [{"name": "main"}]}});
    let mut object = json!({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "train"},
        "spec": {"pytorchReplicaSpecs": {"Master": {"template": template}, "a/b~c": {"template": template}}}});
    object["metadata"]["ownerReferences"] = json!([{"kind": "Other", "name": "o", "controller": true}]);
    let Listed::As(resource) = lookup("kubeflow.org", "v1", "PyTorchJob") else {
        panic!("it is in the table")
    };
    let raw = to_raw_value(&object).unwrap();
    assert_eq!(references(resource, &raw).len(), 1, "both run the same pods");
    let pointers: Vec<String> = every_reference(resource, &raw)
        .into_iter()
        .map(|reference| reference.pointer)
        .collect();
    assert_eq!(
        pointers,
        [
            "/spec/pytorchReplicaSpecs/Master/template",
            "/spec/pytorchReplicaSpecs/a~1b~0c/template"
        ]
    );
    for pointer in pointers {
        assert_eq!(object.pointer(&pointer), Some(&template), "{pointer}");
    }
}

#[test]
fn pointers_lead_into_objects_inside_objects() {
    let template = json!({"spec": {"serviceAccountName": "worker", "containers": []}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}});
    let object = json!({"apiVersion": "triggers.tekton.dev/v1beta1", "kind": "TriggerTemplate", "metadata": {"name": "t"},
        "spec": {"resourcetemplates": [{"apiVersion": "v1", "kind": "Secret"}, job]}});
    let Listed::As(resource) = lookup("triggers.tekton.dev", "v1beta1", "TriggerTemplate") else {
        panic!("it is in the table")
    };
    let raw = to_raw_value(&object).unwrap();
    let found = every_reference(resource, &raw);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "spec.resourcetemplates[1].spec.template");
    assert_eq!(object.pointer(&found[0].pointer), Some(&template));
}

#[test]
fn an_object_that_a_controller_created_has_its_places() {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "ownerReferences": [{"controller": true}]},
        "spec": {"serviceAccountName": "worker", "containers": []}});
    let Listed::As(resource) = lookup("", "v1", "Pod") else {
        panic!("it is in the table")
    };
    let raw = to_raw_value(&object).unwrap();
    assert_eq!(references(resource, &raw).len(), 0);
    assert_eq!(every_reference(resource, &raw).len(), 1);
}

#[test]
fn a_long_workflow_is_read_up_to_a_bound() {
    let workflow = |length: usize| {
        let templates: Vec<Value> = (0..length)
            .map(|at| json!({"name": "t", "serviceAccountName": format!("a{at}")}))
            .collect();
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
            "spec": {"templateDefaults": {"serviceAccountName": "all"}, "templates": templates}})
    };
    assert_eq!(found(&workflow(5_000)).len(), 5_000);
    assert_eq!(found(&workflow(MAX_PLACES + 5)).len(), MAX_PLACES);
}

#[test]
fn a_version_that_is_not_listed_is_known_to_be_one() {
    assert!(matches!(
        lookup("argoproj.io", "v2", "Workflow"),
        Listed::InOtherVersions
    ));
    assert!(matches!(lookup("", "v1", "Secret"), Listed::No));
    let default = Account::Default;
    assert_eq!(default.name(), "default");
}

#[test]
fn the_table_of_tokens_is_sorted_and_apart_from_that_of_workloads() {
    let rows: Vec<_> = token_resources().iter().map(|row| &row.resource_type).collect();
    assert_eq!(rows.len(), 9);
    let keys: Vec<_> = rows.iter().map(|row| (&row.group, &row.plural)).collect();
    assert!(keys.is_sorted(), "{keys:?}");
    for row in rows {
        assert!(!row.versions.is_empty() && !row.source.is_empty(), "{row:?}");
        let in_table = |version: &String| matches!(lookup(&row.group, version, &row.kind), Listed::As(_));
        assert!(!row.versions.iter().any(in_table), "{row:?}");
    }
}

#[test]
fn a_misspelled_field_of_a_row_is_an_error() {
    let row =
        json!({"group": "example.com", "versions": ["v1"], "resource": "things", "kind": "Thing", "source": "example"});
    let with = |field: &str, value: Value| {
        let mut row = row.clone();
        row[field] = value;
        row
    };
    let workload = |row: Value| serde_json::from_value::<Resource>(row).map(|row| row.resource_type.plural);
    assert_eq!(workload(row.clone()).unwrap(), "things");
    assert!(workload(with("refrences", json!([]))).is_err());
    let token = |row: Value| serde_json::from_value::<TokenResource>(row).map(|row| row.resource_type.plural);
    let complete = |mut row: Value| {
        row["at"] = json!("spec");
        row["account"] = json!(".serviceAccountName");
        row
    };
    assert_eq!(token(complete(row.clone())).unwrap(), "things");
    assert!(token(complete(with("optionalrole", json!(true)))).is_err());
}
