//! Directories of many role files, on demand: each test writes thousands of files, and their results depend on the build.
//!
//! `cargo test --release --test webhook -- --ignored --nocapture --test-threads 1 many_files`

use std::fs;
use std::time::{Duration, Instant};

use crate::program::{Folder, Program};
use crate::reviews::{creation, job_pod};

const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// So many roles, each in its own file, that trust another ServiceAccount than `jobs/worker`.
fn roles(folder: &Folder, count: usize) {
    let directory = folder.path().join("roles/111122223333");
    fs::create_dir_all(&directory).unwrap();
    let policy = Folder::trusting("other", "worker").to_string();
    for number in 0..count {
        fs::write(directory.join(format!("role-{number}.json")), &policy).unwrap();
    }
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::111122223333:role/{name}")
}

#[tokio::test]
#[ignore = "writes 100,000 files"]
async fn among_a_hundred_thousand_role_files_refusals_are_refusals() {
    const ROLES: usize = 20;
    let folder = Folder::new();
    roles(&folder, 100_000);
    for number in 0..ROLES {
        let kinds = [
            ("known", format!("role-{}", number * 4_999)),
            ("missing", format!("missing-{number}")),
        ];
        for (kind, role) in kinds {
            folder.account("jobs", &format!("{kind}-{number}"), &[(ROLE_ANNOTATION, &arn(&role))]);
        }
    }
    // Files that were written in the last seconds are read again, which takes the time that a refusal has.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let program = Program::serve(&folder, &[]);
    for (kind, cause) in [("known", "wrong-subject"), ("missing", "role-not-found")] {
        for number in 0..ROLES {
            let begun = Instant::now();
            // Its role was not requested before.
            let review = creation(&job_pod("jobs", &format!("{kind}-{number}")));
            let response = program.review("/mutate/enforce", &review).await;
            println!("{kind}: {:?}", begun.elapsed());
            assert_eq!(response["allowed"], false, "{response:#}");
            assert_eq!(response["auditAnnotations"]["cause"], cause, "{response:#}");
        }
    }
}

/// The goal of `docs/performance.md`.
#[tokio::test]
#[ignore = "takes a minute"]
async fn eight_thousand_role_files_at_rest_cost_less_than_a_second_per_minute() {
    let folder = Folder::new();
    roles(&folder, 8_000);
    for number in 0..8_000 {
        let role = arn(&format!("role-{number}"));
        folder.account("jobs", &format!("worker-{number}"), &[(ROLE_ANNOTATION, &role)]);
    }
    let program = Program::serve(&folder, &[]);
    // Files that were written in the last seconds are read again.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = processor_time(program.id());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let used = processor_time(program.id()) - before;
    println!("{used:?} of processor time in a minute");
    assert!(used < Duration::from_secs(1), "{used:?}");
}

/// User and system time of a process so far.
fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
