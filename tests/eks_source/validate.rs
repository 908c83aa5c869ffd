//! The mock of the EKS API conforms to the service model of botocore.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::moto;
use super::stand_in::{CLUSTER, Eks, Fault, LIST};

const ROLE: &str = "arn:aws:iam::111122223333:role/loader";

/// What boto3's client makes of these calls.
fn boto3(eks: &Eks, calls: &Value) -> Option<Vec<Value>> {
    let python = moto::python("the comparison of the stand-in with EKS's service model")?;
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/eks_source/validate.py"))
        .arg(eks.url())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("NO_PROXY", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(calls.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_stand_in_answers_as_the_service_model_says() {
    let eks = Eks::start();
    eks.pages_of(2);
    let ids = ["one", "two", "three"].map(|name| eks.create("jobs", name, ROLE));
    let elsewhere = eks.create("data", "one", ROLE);
    eks.update(
        &ids[1],
        &json!({
            "targetRoleArn": "arn:aws:iam::444455556666:role/reader", "disableSessionTags": true,
            "externalId": "us-west-2/111122223333/prod/jobs/two", "policy": "{}",
            "ownerArn": "arn:aws:eks:us-west-2:111122223333:addon/prod/vpc-cni/EXAMPLE",
        }),
    );
    let list = |more: Value| {
        let mut parameters = json!({"clusterName": CLUSTER});
        let more = more.as_object().unwrap().clone();
        parameters.as_object_mut().unwrap().extend(more);
        json!(["list_pod_identity_associations", parameters])
    };
    let describe = |cluster: &str, id: &str| json!(["describe_pod_identity_association", {"clusterName": cluster, "associationId": id}]);
    let calls = json!([
        list(json!({"namespace": "jobs", "maxResults": 100})),
        list(json!({"namespace": "jobs", "maxResults": 100, "nextToken": "page-of/+=2"})),
        list(json!({"namespace": "data", "serviceAccount": "one"})),
        describe(CLUSTER, &ids[1]),
        describe(CLUSTER, &elsewhere),
        describe(CLUSTER, "a-00000000000000099"),
        list(json!({"nextToken": "of another list"})),
        ["list_pod_identity_associations", {"clusterName": "prd"}],
        list(json!({"clusterName": CLUSTER, "namespace": "nothing"})),
    ]);
    let Some(results) = boto3(&eks, &calls) else { return };
    for (call, result) in calls.as_array().unwrap().iter().zip(&results) {
        assert_eq!(result["differences"], json!([]), "{call}");
    }
    let ids_of = |result: &Value| -> Vec<String> {
        let listed = result["parsed"]["associations"].as_array().unwrap().iter();
        listed
            .map(|one| one["associationId"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids_of(&results[0]), ids[..2]);
    assert_eq!(results[0]["parsed"]["nextToken"], "page-of/+=2");
    assert!(results[0]["parsed"]["associations"][0].get("roleArn").is_none());
    assert_eq!(ids_of(&results[1]), ids[2..]);
    assert!(results[1]["parsed"].get("nextToken").is_none());
    assert_eq!(ids_of(&results[2]), [elsewhere.as_str()]);
    // What the model knows of an association, the client has found in the answer.
    for (id, result) in [(&ids[1], &results[3]), (&elsewhere, &results[4])] {
        assert_eq!(result["parsed"]["association"], eks.association(id));
    }
    let codes: Vec<_> = results[5..8]
        .iter()
        .map(|result| result["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "ResourceNotFoundException",
            "InvalidParameterException",
            "ResourceNotFoundException"
        ]
    );
    assert!(ids_of(&results[8]).is_empty());

    // The comparison finds what the model does not have.
    eks.update(
        &elsewhere,
        &json!({"roleName": "loader", "tags": {"n": 1}, "namespace": "jobs"}),
    );
    eks.suffers(Fault::Error(LIST, 409, "ResourceGoneException", "gone"));
    let calls = json!([describe(CLUSTER, &elsewhere), list(json!({}))]);
    let results = boto3(&eks, &calls).unwrap();
    assert_eq!(
        results[0]["differences"],
        json!([
            "$.association: no member roleName",
            "$.association.tags.n: not a string"
        ])
    );
    assert_eq!(
        results[1]["differences"],
        json!(["ResourceGoneException is not an error of ListPodIdentityAssociations"])
    );
}

/// Both clients ask for the same in the same way.
pub(super) fn calls_of_boto3(eks: &Eks, namespace: &str, id: &str) -> Option<Vec<String>> {
    eks.forget_calls();
    let calls = json!([
        ["list_pod_identity_associations", {"clusterName": CLUSTER, "namespace": namespace, "maxResults": 100}],
        ["describe_pod_identity_association", {"clusterName": CLUSTER, "associationId": id}],
    ]);
    boto3(eks, &calls)?;
    let targets = eks.calls().into_iter().map(|call| call.target).collect();
    eks.forget_calls();
    Some(targets)
}
