//! The dashboard of the chart, drawn from the metrics of the real program: its queries are evaluated by the query engine of Prometheus, and
//! headless Chromium draws the panels. `ROLEGATE_UPDATE=1` keeps the picture as `docs/images/dashboard.png`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::program::{Folder, Program};
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

/// The panels that show something wherever rolegate works. The others show faults, or what is not set up here.
const ALWAYS: [&str; 15] = [
    "Replicas",
    "Refusals, last hour",
    "Errors, last hour",
    "Latency, 99th percentile",
    "Certificate expires in",
    "Version",
    "Reviews by action",
    "Reviews by verdict",
    "Causes",
    "Time to answer",
    "Roles in the role cache",
    "Reads from role sources",
    "Time to read a role",
    "Age of policies at decisions",
    "ServiceAccounts",
];

fn folder() -> Folder {
    let folder = Folder::new();
    folder.renew_certificate_for(Duration::from_secs(60 * 24 * 3600));
    let worker = folder.role("worker", &Folder::trusting("jobs", "worker"));
    let reports = folder.role("reports", &Folder::trusting("jobs", "reports"));
    let annotation = "eks.amazonaws.com/role-arn";
    folder
        .account("jobs", "worker", &[(annotation, &worker)])
        .account("jobs", "reports", &[(annotation, &reports)])
        .account("staging", "worker", &[(annotation, &worker)])
        .account(
            "staging",
            "importer",
            &[(annotation, "arn:aws:iam::111122223333:role/importer")],
        )
        .account("web", "default", &[]);
    folder
}

/// Creates pods for a while, fewer and fewer of which are refused, and keeps scrapes of all replicas in a folder per replica.
async fn scrape(replicas: &[(&str, &Program)], folder: &Path) {
    let begun = Instant::now();
    for round in 0..SCRAPES {
        for (index, (name, program)) in replicas.iter().enumerate() {
            let mut pods = vec![
                ("enforce", job_pod("jobs", "worker"), 4),
                ("enforce", job_pod("jobs", "reports"), 2),
                ("enforce", deployment_pod("web", "default"), 3),
                ("warn", job_pod("staging", "importer"), 1),
            ];
            if round % SCRAPES < SCRAPES / 2 && round % 2 == 0 {
                pods.push(("enforce", job_pod("staging", "worker"), 2));
            }
            for (mode, pod, count) in pods {
                for _ in 0..count + u32::from(round % 7 < 3) + u32::from(index == 0) {
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

/// Draws the panels of the rows that have data, and returns the number of lines in the graphs.
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
    let folder = folder();
    let (one, other) = (Program::serve(&folder, &[]), Program::serve(&folder, &[]));
    let scrapes = tempfile::tempdir().unwrap();
    scrape(
        &[("rolegate-7d4b9c6f5-4xk2p", &one), ("rolegate-7d4b9c6f5-q8zvt", &other)],
        scrapes.path(),
    )
    .await;
    let panels = evaluate(&queries, scrapes.path());
    let empty: Vec<_> = ALWAYS
        .iter()
        .filter(|title| !panels.iter().any(|panel| panel["title"] == **title && has_data(panel)))
        .collect();
    assert!(empty.is_empty(), "panels without data: {empty:?}");
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
    // The rows that show something in this set-up: those of Pod Identity and of faults stay empty.
    let drawn: Vec<_> = panels
        .into_iter()
        .filter(|panel| panel["gridPos"]["y"].as_u64().unwrap() < 40)
        .collect();
    let series = drawn.iter().filter(|panel| panel["type"] == "timeseries");
    let lines: usize = series.map(|panel| panel["series"].as_array().unwrap().len()).sum();
    assert!(lines > 20, "{lines} lines");
    assert_eq!(draw(&chromium, &drawn, scrapes.path()), lines);
}
