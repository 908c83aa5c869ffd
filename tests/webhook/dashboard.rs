//! The dashboard of the chart, drawn from the metrics of the real program: its queries are evaluated by the query engine of Prometheus, and
//! headless Chromium draws the panels. `ROLEGATE_UPDATE=1` keeps the picture as `docs/images/dashboard.png`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::fake_api::FakeApi;
use crate::live::api;
use crate::pod_identity::{associate, letting_in, with_agent};
use crate::program::{Folder, ISSUER, Program, eventually, policy_with};
use crate::reviews::{creation, deployment_pod, job_pod};
use crate::tools::{chromium, dashboard_queries};

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rolegate/files/dashboard.json");
const PAGE: &str = include_str!("../e2e/dashboard/page.html");
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images/dashboard.png");

/// How long two replicas are asked, and how many scrapes that is of each.
const LASTS: Duration = Duration::from_secs(30);
const SCRAPES: u32 = 60;

/// The value of `$__rate_interval`: a few scrapes.
const INTERVAL: &str = "4s";

/// The panels of faults, which these replicas do not have, and of the EKS API, which is not asked for associations in files.
const WITHOUT_DATA: [&str; 5] = [
    "Reads of associations",
    "Failed reloads",
    "Dropped log lines",
    "Connections closed under load",
    "Requests rejected under load",
];

const ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// Namespaces in three modes. Role `worker` does not trust `staging/worker`, role `importer` does not exist, `jobs/trainer` has an EKS Pod
/// Identity association.
async fn cluster(folder: &Folder) -> FakeApi {
    folder.renew_certificate_for(Duration::from_secs(60 * 24 * 3600));
    folder.role("worker", &Folder::trusting("jobs", "worker"));
    folder.role("reports", &Folder::trusting("jobs", "reports"));
    folder.role("trainer", &letting_in(&["sts:AssumeRole", "sts:TagSession"]));
    associate(folder, "trainer", "trainer");
    let api = api().await;
    for (namespace, mode) in [("jobs", "enforce"), ("staging", "enforce"), ("web", "warn")] {
        api.put_namespace(namespace, &[("rolegate.io/gate", mode)]);
    }
    let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
    api.put_account("jobs", "worker", &[(ANNOTATION, &role("worker"))]);
    api.put_account("jobs", "reports", &[(ANNOTATION, &role("reports"))]);
    api.put_account("jobs", "trainer", &[]);
    api.put_account("staging", "worker", &[(ANNOTATION, &role("worker"))]);
    api.put_account("web", "importer", &[(ANNOTATION, &role("importer"))]);
    api.put_account("web", "default", &[]);
    api
}

/// A pod whose container has keys of its own, so that it does not use its role.
fn with_static_keys(namespace: &str, service_account: &str) -> Value {
    let mut pod = deployment_pod(namespace, service_account);
    pod["spec"]["containers"][0]["env"] = json!([
        {"name": "AWS_ACCESS_KEY_ID", "value": "AKIAIOSFODNN7EXAMPLE"},
        {"name": "AWS_SECRET_ACCESS_KEY", "value": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
    ]);
    pod
}

/// Creates pods for a while, and keeps scrapes of all replicas in a folder per replica. The role of some pods that are refused is corrected
/// after a third of the time, and another role stops trusting its ServiceAccount for the last fifth.
async fn scrape(replicas: &[(&str, &Program)], roles: &Folder, folder: &Path) {
    let begun = Instant::now();
    for round in 0..SCRAPES {
        if round == SCRAPES / 3 {
            let both = [
                "system:serviceaccount:jobs:worker",
                "system:serviceaccount:staging:worker",
            ];
            roles.role(
                "worker",
                &policy_with(json!({"StringEquals": {format!("{ISSUER}:sub"): both}})),
            );
        }
        if round == SCRAPES * 4 / 5 {
            roles.role("reports", &Folder::trusting("reports", "reports"));
        }
        for (index, (name, program)) in replicas.iter().enumerate() {
            for (mode, pod, count) in [
                ("enforce", job_pod("jobs", "worker"), 2),
                ("enforce", job_pod("jobs", "reports"), 1),
                ("enforce", with_agent("trainer"), 1),
                ("enforce", job_pod("staging", "worker"), u32::from(round % 2 == 0)),
                ("warn", job_pod("web", "importer"), 1),
                ("warn", deployment_pod("web", "default"), 1),
                ("enforce", with_static_keys("jobs", "worker"), u32::from(round % 5 == 0)),
            ] {
                for _ in 0..count + u32::from(count > 1 && (round % 7 < 3 || index == 0)) {
                    program.review(&format!("/mutate/{mode}"), &creation(&pod)).await;
                }
            }
            let (status, text) = program.get("/metrics").await;
            assert_eq!(status, 200);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let pod = folder.join(name);
            fs::create_dir_all(&pod).unwrap();
            fs::write(pod.join(format!("{now}.txt")), text).unwrap();
        }
        let next = LASTS * (round + 1) / SCRAPES;
        tokio::time::sleep(next.saturating_sub(begun.elapsed())).await;
    }
}

/// A replica that has listed the ServiceAccounts and evaluated them.
async fn replica(folder: &Folder, api: &FakeApi) -> Program {
    let associations = format!("files={}", folder.path().join("associations").display());
    let flags = [
        "--association-source",
        &associations,
        "--cluster-name",
        "my-cluster",
        "--trust-ttl",
        "5s",
    ];
    let program = Program::serve_cluster(folder, &api.config().cluster_url.to_string(), &flags);
    eventually("verdicts of ServiceAccounts", || async {
        let sample = "rolegate_service_account_verdicts{verdict=\"not-trusted\",cause=\"wrong-subject\"}";
        (program.metric(sample).await? >= 1.0).then_some(())
    })
    .await;
    program
}

/// The panels with their series.
fn evaluate(queries: &Path, scrapes: &Path) -> Vec<Value> {
    let output = Command::new(queries)
        .arg(DASHBOARD)
        .arg(scrapes)
        .args(["rolegate", "rolegate", INTERVAL])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn has_data(panel: &Value) -> bool {
    !panel["series"].as_array().unwrap().is_empty()
}

/// The highest value of a graph.
fn highest(panel: &Value) -> f64 {
    let series = panel["series"].as_array().unwrap().iter();
    let points = series.flat_map(|series| series["points"].as_array().unwrap());
    points.filter_map(|point| point[1].as_f64()).fold(0.0, f64::max)
}

/// Draws the panels, and returns the number of lines in the graphs.
fn draw(chromium: &Path, panels: &[Value], folder: &Path) -> usize {
    let page = folder.join("page.html");
    fs::write(&page, PAGE.replace("PANELS", &serde_json::to_string(panels).unwrap())).unwrap();
    let bottom = |panel: &Value| panel["gridPos"]["y"].as_u64().unwrap() + panel["gridPos"]["h"].as_u64().unwrap();
    let rows = panels.iter().map(bottom).max().unwrap();
    let picture = folder.join("dashboard.png");
    let browser = || {
        let mut command = Command::new(chromium);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .arg(format!("--window-size=1568,{}", rows * 38 + 24))
            .arg(format!("--user-data-dir={}", folder.join("profile").display()));
        command
    };
    let url = format!("file://{}", page.display());
    let output = browser().args(["--dump-dom", &url]).output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let shot = browser()
        .arg(format!("--screenshot={}", picture.display()))
        .arg(&url)
        .output()
        .unwrap();
    assert!(shot.status.success(), "{}", String::from_utf8_lossy(&shot.stderr));
    if std::env::var_os("ROLEGATE_UPDATE").is_some() {
        fs::create_dir_all(Path::new(PICTURE).parent().unwrap()).unwrap();
        fs::copy(&picture, PICTURE).unwrap();
    }
    assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG"), "no picture");
    dom.split("lines=")
        .nth(1)
        .and_then(|rest| rest.split('<').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{dom}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_shows_what_two_replicas_do() {
    let queries = match dashboard_queries() {
        Ok(queries) => queries,
        Err(missing) => return missing.skip("the dashboard over real metrics"),
    };
    let folder = Folder::new();
    let api = cluster(&folder).await;
    let (one, other) = (replica(&folder, &api).await, replica(&folder, &api).await);
    let scrapes = tempfile::tempdir().unwrap();
    let replicas = [("rolegate-7d4b9c6f5-4xk2p", &one), ("rolegate-7d4b9c6f5-q8zvt", &other)];
    scrape(&replicas, &folder, scrapes.path()).await;
    let panels = evaluate(&queries, scrapes.path());
    let empty: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] != "row" && !has_data(panel))
        .map(|panel| panel["title"].as_str().unwrap())
        .collect();
    assert!(
        empty.iter().all(|title| WITHOUT_DATA.contains(title)),
        "panels without data: {empty:?}"
    );
    // A change of trust is in the picture, not only its zero.
    for title in ["Identity not used", "Events for refusals", "Changes of trust"] {
        let panel = panels.iter().find(|panel| panel["title"] == title).unwrap();
        assert!(highest(panel) > 0.0, "{title}: {panel}");
    }
    let stat = |title: &str| {
        let panel = panels.iter().find(|panel| panel["title"] == title).unwrap();
        panel["series"][0]["points"][0][1].as_f64().unwrap()
    };
    assert!((stat("Replicas") - 2.0).abs() < f64::EPSILON);
    assert!(stat("Refusals, last hour") > 0.0);
    assert!(stat("Errors, last hour").abs() < f64::EPSILON);

    let chromium = match chromium() {
        Ok(chromium) => chromium,
        Err(missing) => return missing.skip("the picture of the dashboard"),
    };
    let series = panels.iter().filter(|panel| panel["type"] == "timeseries");
    let lines: usize = series.map(|panel| panel["series"].as_array().unwrap().len()).sum();
    assert!(lines > 20, "{lines} lines");
    assert_eq!(draw(&chromium, &panels, scrapes.path()), lines);
}
