//! What changes on disk is served soon after, and what breaks on disk changes nothing.

use std::time::{Duration, SystemTime};

use crate::program::{Folder, Program, eventually};
use crate::reviews::{creation, job_pod};

const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

fn folder() -> Folder {
    let folder = Folder::new();
    let arn = folder.role("worker", &Folder::trusting("other", "worker"));
    folder.account("jobs", "worker", &[(ROLE_ANNOTATION, &arn)]);
    folder
}

async fn allowed(program: &Program) -> bool {
    program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await["allowed"]
        == true
}

#[tokio::test]
async fn a_fixed_policy_is_seen_without_a_restart() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    assert!(!allowed(&program).await);
    folder.role("worker", &Folder::trusting("jobs", "worker"));
    eventually("the fixed policy", || async { allowed(&program).await.then_some(()) }).await;
}

#[tokio::test]
async fn a_new_service_account_is_seen_without_a_restart() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    folder.role("worker", &Folder::trusting("jobs", "second"));
    folder.account(
        "jobs",
        "second",
        &[(ROLE_ANNOTATION, "arn:aws:iam::111122223333:role/worker")],
    );
    eventually("the new ServiceAccount", || async {
        let response = program
            .review("/mutate/enforce", &creation(&job_pod("jobs", "second")))
            .await;
        response.get("patch").is_some().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broken_role_file_that_is_removed_is_logged_as_recovered() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let broken = folder.path().join("roles/broken.json");
    for _ in 0..3 {
        std::fs::write(&broken, "{").unwrap();
        // A refusal reads the files again by itself; the poll can come first.
        eventually("the failure", || async {
            assert!(!allowed(&program).await);
            (!program.log_lines("failed to reload role files").is_empty()).then_some(())
        })
        .await;
        std::fs::remove_file(&broken).unwrap();
        eventually("the recovery", || async {
            assert!(!allowed(&program).await);
            let (begun, ended) = (
                program.log_lines("failed to reload role files").len(),
                program.log_lines("role files reloaded after a failure").len(),
            );
            (begun == ended).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn broken_edits_keep_the_last_good_content_and_say_so() {
    let folder = folder();
    folder.role("worker", &Folder::trusting("jobs", "worker"));
    let program = Program::serve(&folder, &[]);
    assert!(allowed(&program).await);
    folder.write("jobs-worker.yaml", "kind: ServiceAccount\nmetadata: [");
    folder.write("roles/111122223333/worker.json", "{");
    program.wait_for_log("jobs-worker.yaml");
    program.wait_for_log("worker.json");
    assert!(allowed(&program).await);
    for what in ["manifests", "roles"] {
        let sample = format!("rolegate_reload_failures_total{{what=\"{what}\"}}");
        eventually(&sample, || async {
            program.metric(&sample).await.filter(|count| *count >= 1.0)
        })
        .await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        program.log_lines("jobs-worker.yaml").len(),
        1,
        "logged once, not at each check"
    );
}

/// The verdict `unknown` on a pod of `jobs/worker`: admitted, injected, and the warning that says why.
async fn admitted_with_a_warning(program: &Program) -> Option<String> {
    let response = program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    let is_admitted = response["allowed"] == true && response.get("patch").is_some();
    is_admitted.then(|| response["warnings"][0].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn without_a_role_file_pods_are_admitted_with_a_warning_and_the_log_says_why() {
    let folder = Folder::new();
    folder.account(
        "jobs",
        "worker",
        &[(ROLE_ANNOTATION, "arn:aws:iam::111122223333:role/worker")],
    );
    // The key of a ConfigMap that was meant to be a role file.
    folder.write("roles/worker", &Folder::trusting("jobs", "worker").to_string());
    let program = Program::serve(&folder, &[]);
    let line = program.wait_for_log("has no role file (*.json)");
    let words = [
        "WARN",
        "/roles: ",
        "must end in .json, unlike worker",
        r#"{\"Roles\": []}"#,
    ];
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    let warning = admitted_with_a_warning(&program).await.unwrap();
    assert!(warning.contains("has no role file (*.json)"), "{warning}");

    folder.write("roles/none.json", r#"{"Roles": []}"#);
    eventually("the evidence that no role exists", || async {
        admitted_with_a_warning(&program).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_role_of_a_file_that_cannot_be_parsed_is_unknown_not_missing() {
    let folder = Folder::new();
    folder.role("other", &Folder::trusting("jobs", "other"));
    let arn = "arn:aws:iam::111122223333:role/worker";
    folder.account("jobs", "worker", &[(ROLE_ANNOTATION, arn)]);
    let program = Program::serve(&folder, &[]);
    assert!(!allowed(&program).await, "no file defines the role");
    folder.write("roles/111122223333/worker.json", "{");
    let warning = admitted_with_a_warning(&program).await.unwrap();
    assert!(warning.contains("worker.json:1:1"), "{warning}");
    folder.role("worker", &Folder::trusting("jobs", "worker"));
    assert_eq!(admitted_with_a_warning(&program).await.as_deref(), Some(""));
    std::fs::remove_file(folder.path().join("roles/111122223333/worker.json")).unwrap();
    eventually("the role is deleted", || async {
        (!allowed(&program).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_a_mismatched_pair_is_not() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let key = std::fs::read_to_string(folder.path().join("tls.key")).unwrap();
    folder.write("tls.key", "no key at all");
    program.wait_for_log("tls.key");
    assert!(!allowed(&program).await, "the old pair still serves");
    folder.write("tls.key", &key);
    folder.renew_certificate();
    program.wait_for_log("reloaded certificate");
    assert!(!allowed(&program).await);
}

#[tokio::test]
async fn a_certificate_that_is_expired_or_not_yet_valid_replaces_nothing() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for (issued, words) in [
        (SystemTime::now() - DAY, "the certificate expired at"),
        (SystemTime::now() + DAY, "the certificate is not valid before"),
    ] {
        folder.renew_certificate_as_of(issued);
        let line = program.wait_for_log(words);
        assert!(
            line.contains("WARN") && line.contains("keeping the previous contents"),
            "{line}"
        );
        // The client of this test rejects such a certificate.
        assert!(!allowed(&program).await, "the old pair still serves");
    }
    folder.renew_certificate();
    program.wait_for_log("reloaded certificate");
    assert!(!allowed(&program).await);
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_at_the_start_is_an_error_in_the_log_and_its_renewal_is_served() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const EXPIRY: &str = r#"rolegate_certificate_expiry_timestamp_seconds{kind="serving"}"#;
    for (issued, words) in [
        (SystemTime::now() - DAY, "the certificate expired at"),
        (SystemTime::now() + DAY, "the certificate is not valid before"),
    ] {
        let folder = folder();
        folder.renew_certificate_as_of(issued);
        let program = Program::serve(&folder, &[]);
        let line = program.wait_for_log(words);
        assert!(line.contains("ERROR") && line.contains("tls.crt"), "{line}");
        let invalid = program.metric(EXPIRY).await.unwrap();
        folder.renew_certificate();
        program.wait_for_log("reloaded certificate");
        // The line is logged when the file is read, just before the certificate is served.
        eventually("the renewed certificate is served", || async {
            (program.metric(EXPIRY).await? != invalid).then_some(())
        })
        .await;
        assert!(!allowed(&program).await);
    }
}

#[tokio::test]
async fn roles_and_manifests_that_are_all_gone_stay_and_one_warning_says_so() {
    let folder = folder();
    folder.role("worker", &Folder::trusting("jobs", "worker"));
    let program = Program::serve(&folder, &[]);
    assert!(allowed(&program).await);
    std::fs::remove_dir_all(folder.path().join("roles/111122223333")).unwrap();
    std::fs::remove_file(folder.path().join("jobs-worker.yaml")).unwrap();
    program.wait_for_log("no longer has any role files");
    program.wait_for_log("no longer has any manifests");
    let response = program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    assert!(
        response.get("patch").is_some(),
        "the pod still gets its identity: {response}"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    for words in ["no longer has any role files", "no longer has any manifests"] {
        assert_eq!(program.log_lines(words).len(), 1, "logged once, not at each check");
    }
}

#[tokio::test]
async fn a_role_file_and_a_certificate_that_become_pipes_or_devices_keep_what_was_good() {
    let folder = folder();
    folder.role("worker", &Folder::trusting("jobs", "worker"));
    let program = Program::serve(&folder, &[]);
    let role = folder.path().join("roles/111122223333/worker.json");
    std::fs::remove_file(&role).unwrap();
    fifo(&role);
    let line = program.wait_for_log("worker.json: cannot be read: it is a FIFO, not a regular file");
    assert!(line.contains("WARN"), "{line}");
    std::fs::remove_file(folder.path().join("tls.crt")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("tls.crt")).unwrap();
    program.wait_for_log("it is a device, not a regular file");
    assert!(allowed(&program).await);
}

/// Makes a FIFO that nothing writes to: a reader that opens it as usual waits forever.
fn fifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}
