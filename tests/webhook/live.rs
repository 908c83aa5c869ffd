//! The program in a cluster: the API server is one that the tests serve over HTTP.

use std::time::Duration;

use serde_json::Value;

use crate::fake_api::FakeApi;
use crate::program::{Folder, ISSUER, Program, eventually, policy_with};
use crate::reviews::{creation, job_pod};

const ROLE: (&str, &str) = ("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/worker");
pub(crate) const STRANGER: (&str, &str) = ("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/stranger");

/// The number of ServiceAccounts whose pod is created immediately afterwards.
const FOLLOWED: usize = 1000;

async fn cluster() -> (FakeApi, Folder, Program) {
    let api = api().await;
    let (folder, program) = serve(&api, &[]).await;
    (api, folder, program)
}

/// An API server without objects.
pub(crate) async fn api() -> FakeApi {
    let api = FakeApi::start().await;
    api.set_discovery(Some(&format!(r#"{{"issuer": "https://{ISSUER}"}}"#)));
    api
}

/// The program in its cluster, ready.
pub(crate) async fn serve(api: &FakeApi, flags: &[&str]) -> (Folder, Program) {
    let folder = Folder::new();
    folder.role("worker", &policy_with(serde_json::json!({})));
    folder.role("stranger", &Folder::trusting("nobody", "nobody"));
    let program = Program::serve_cluster(&folder, &api.config().cluster_url.to_string(), flags);
    eventually("readiness", || async {
        (program.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    (folder, program)
}

/// Waits until the watch has reported this many ServiceAccounts with a role.
pub(crate) async fn roles_known(program: &Program, count: usize) {
    eventually("the watch", || async {
        let known = program.metric("rolegate_service_accounts{state=\"with-role\"}").await?;
        (known as usize >= count).then_some(())
    })
    .await;
}

fn was_injected(response: &Value) -> bool {
    response["allowed"] == true && response.get("patch").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_service_accounts_each_followed_at_once_by_its_pod() {
    let (api, _folder, program) = cluster().await;
    // The watch reports nothing, like one that lags behind: each pod is served because the API server is asked.
    api.hold_events();
    for number in 0..FOLLOWED {
        let name = format!("sa-{number}");
        api.put_account("jobs", &name, &[ROLE]);
        let response = program
            .review("/mutate/enforce?timeout=5s", &creation(&job_pod("jobs", &name)))
            .await;
        assert!(was_injected(&response), "{name}: {response:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_service_accounts_whose_role_changed_right_before() {
    let (api, _folder, program) = cluster().await;
    for number in 0..FOLLOWED {
        api.put_account("jobs", &format!("sa-{number}"), &[STRANGER]);
    }
    roles_known(&program, FOLLOWED).await;
    api.hold_events();
    for number in 0..FOLLOWED {
        let name = format!("sa-{number}");
        api.put_account("jobs", &name, &[ROLE]);
        let response = program
            .review("/mutate/enforce?timeout=5s", &creation(&job_pod("jobs", &name)))
            .await;
        assert!(was_injected(&response), "{name}: {response:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_api_server_nothing_is_admitted_unmutated() {
    let (api, _folder, program) = cluster().await;
    api.put_account("jobs", "known", &[ROLE]);
    api.put_account("jobs", "plain", &[]);
    roles_known(&program, 1).await;
    api.stop();
    for name in ["unheard-of", "plain"] {
        let body = creation(&job_pod("jobs", name)).to_string();
        let headers = [("content-type", "application/json")];
        let (status, headers, body) = program
            .send("POST", "/mutate/enforce?timeout=2s", &headers, body.into())
            .await;
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 503, "{name}: {json}");
        assert_eq!(headers["retry-after"], "1");
        assert_eq!(json["kind"], "Status");
        assert!(
            json["message"].as_str().unwrap().contains(&format!("jobs/{name}")),
            "{json}"
        );
    }
    let response = program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "known")))
        .await;
    assert!(
        was_injected(&response),
        "memory serves a role that it holds: {response:#}"
    );
    assert_eq!(
        program.get("/readyz").await.0,
        200,
        "a watch that broke makes nothing unready"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_needs_an_api_server() {
    let (api, _folder, program) = cluster().await;
    api.put_account("jobs", "stranger", &[STRANGER]);
    roles_known(&program, 1).await;
    let refused = creation(&job_pod("jobs", "stranger"));
    assert_eq!(program.review("/mutate/enforce", &refused).await["allowed"], false);
    api.stop();
    assert_eq!(
        program.post("/mutate/enforce?timeout=2s", refused.to_string()).await.0,
        503
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_events_about_the_service_account_and_dry_runs_are_not() {
    let (api, _folder, mut program) = cluster().await;
    api.put_account("jobs", "stranger", &[STRANGER]);
    roles_known(&program, 1).await;
    let refused = creation(&job_pod("jobs", "stranger"));
    let mut rehearsed = refused.clone();
    rehearsed["request"]["dryRun"] = true.into();
    program.review("/mutate/enforce", &rehearsed).await;
    program.review("/mutate/warn", &refused).await;
    let mut message = Value::Null;
    for _ in 0..8 {
        let response = program.review("/mutate/enforce", &refused).await;
        assert_eq!(response["allowed"], false);
        message = response["status"]["message"].clone();
    }
    program.signal("TERM");
    program.wait();
    let events = api.events(|events| events.stored.clone());
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["regarding"]["uid"], "uid-of-jobs-stranger");
    let note = events[0]["note"].as_str().unwrap();
    let first = message.as_str().unwrap().lines().next().unwrap();
    assert!(
        note.starts_with(&format!("{first}; fix: rolegate trust-policy --role-arn ")),
        "{note}"
    );
    assert_eq!(
        events[0]["series"]["count"], 8,
        "what was not reported yet is reported at shutdown"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_can_be_switched_off() {
    let (api, folder, _program) = cluster().await;
    api.put_account("jobs", "stranger", &[STRANGER]);
    let server = api.config().cluster_url.to_string();
    let mut program = Program::serve_cluster(&folder, &server, &["--events=false", "--drain=0s"]);
    let refused = creation(&job_pod("jobs", "stranger"));
    assert_eq!(program.review("/mutate/enforce", &refused).await["allowed"], false);
    program.signal("TERM");
    program.wait();
    assert!(api.events(|events| events.calls.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_to_create_events_is_logged_once_with_the_permission() {
    let (api, _folder, program) = cluster().await;
    api.events(|events| events.create_fault = Some(crate::fake_api::Fault::Status(403)));
    for name in ["stranger", "other", "third"] {
        api.put_account("jobs", name, &[STRANGER]);
        let response = program
            .review("/mutate/enforce", &creation(&job_pod("jobs", name)))
            .await;
        assert_eq!(response["allowed"], false);
    }
    let logged = program.wait_for_log("cannot create Events");
    assert!(
        logged.contains("needs `create` on events in the API group events.k8s.io"),
        "{logged}"
    );
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(program.log_lines("cannot create Events").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_issuer_is_the_api_servers_unless_it_is_given() {
    let (api, folder, program) = cluster().await;
    assert!(
        program
            .wait_for_log("reviews over HTTPS")
            .contains(&format!("\"{ISSUER}\""))
    );
    let server = api.config().cluster_url.to_string();
    let program = Program::serve_cluster(&folder, &server, &["--issuer", "https://issuer.example.com/given"]);
    assert!(
        program
            .wait_for_log("reviews over HTTPS")
            .contains("\"issuer.example.com/given\"")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_watch_is_logged_once_and_recovers() {
    let (mut api, _folder, program) = cluster().await;
    api.stop();
    tokio::time::sleep(Duration::from_secs(2)).await;
    api.restart().await;
    api.put_account("jobs", "later", &[ROLE]);
    roles_known(&program, 1).await;
    program.wait_for_log("watch of Namespaces reconnected");
    for what in ["ServiceAccounts", "Namespaces"] {
        let warnings = program.log_lines(&format!("watch of {what} failed"));
        assert_eq!(
            warnings.len(),
            1,
            "logged when the state changes, not at each attempt: {warnings:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_not_the_one_of_the_cluster_is_one_warning_in_the_log() {
    const WORDS: &str = "--issuer is oidc.example.com/other, but the API server reports ";
    let api = api().await;
    let flags = ["--issuer", "https://oidc.example.com/other"];
    let (_folder, program) = serve(&api, &flags).await;
    let line = program.wait_for_log(WORDS);
    let words = ["WARN", ISSUER, "remove --issuer"];
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    assert_eq!(program.log_lines(WORDS).len(), 1);

    // The same issuer, and an API server that does not report one.
    let (_folder, same) = serve(&api, &["--issuer", ISSUER]).await;
    api.set_discovery(None);
    let (_folder, silent) = serve(&api, &flags).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for program in [same, silent] {
        assert_eq!(program.log_lines("the API server reports"), [""; 0]);
    }
}
