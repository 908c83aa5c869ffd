//! Runs the AWS SDKs in admitted containers.
//!
//! Each row of `rows.json` is a pod. It is sent to the program as an API server would send it, and the patch is applied. The tests' own
//! code ([`kubelet`], [`container`]) then creates the container as the kubelet and the runtime do, and starts it with runc, with exactly
//! its variables and mounts. In it, boto3 and the AWS SDKs for JavaScript and Go resolve credentials with their default chains. STS, IMDS,
//! the EKS Pod Identity agent and other container credentials servers are simulated on loopback in a network namespace ([`servers`]). A row
//! passes if
//!
//! - each SDK called what the row records,
//! - the response of rolegate is what the row expects, and
//! - an SDK that does not use the identity that rolegate evaluated comes with a warning or a refusal ([`property`]).
//!
//! Nothing is added to the container's variables. STS is reached by its real host names: the image's `/etc/hosts` resolves them to
//! loopback, and the image's certificate authorities are those of the test.
//!
//! ```console
//! $ cargo test --test sdk                       # all rows
//! $ cargo test --test sdk -- 'static keys'      # rows with this in their names
//! ```
//!
//! Requirements: root, runc, iproute2, util-linux, Python with venv, Node.js with npm, Go. Without them nothing is run, or the tests
//! fail if `CI` is set. A failure shows what each SDK called in the form of the row, to be compared and copied.

#![allow(unreachable_pub, reason = "a test program has no public API")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests say what they expect by panicking"
)]

mod admission;
mod base64;
mod calls;
mod container;
mod kubelet;
mod mounts;
mod network;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../webhook/program.rs"]
mod program;
mod property;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../webhook/reviews.rs"]
mod reviews;
mod rig;
mod rows;
mod servers;
#[path = "../support/mod.rs"]
mod support;

use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};

use rig::Rig;
use rows::{Row, TokenMount};

/// Rows at the same time. Each runs one process at a time, on a machine with two cores.
const AT_ONCE: usize = 2;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(network::PLAY) {
        network::play(arguments.next().expect("a folder").as_ref());
        return;
    }
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    let rig = Arc::new(OnceLock::new());
    let can_run = |row: &Row| servers::has_ipv6() || !row.pod.to_string().contains("[fd00:ec2::23]");
    let rows = rows::all().into_iter().filter(can_run).map(Arc::new);
    let of_rows: Vec<Trial> = rows.flat_map(|row| trials_of(&row, &rig)).collect();
    if !args.list && of_rows.iter().any(|trial| !args.is_filtered_out(trial)) {
        match Rig::new() {
            Ok(made) => drop(rig.set(made)),
            Err(missing) => {
                missing.skip("the AWS SDKs in admitted containers (tests/sdk)");
                return;
            }
        }
    }
    let of_helpers = kubelet::trials().into_iter().chain(property::trials());
    let conclusion = libtest_mimic::run(&args, of_helpers.chain(of_rows).collect());
    // Ends the processes that were started; `exit` drops nothing.
    drop(rig);
    conclusion.exit();
}

/// What is tested of a row.
fn trials_of(row: &Arc<Row>, rig: &Arc<OnceLock<Rig>>) -> Vec<Trial> {
    let trial = |kind, test: fn(&Rig, &Row)| {
        let (row, rig) = (Arc::clone(row), Arc::clone(rig));
        Trial::test(format!("{kind}::{}", row.name), move || {
            test(rig.get().expect("made before tests run"), &row);
            Ok(())
        })
    };
    let mut trials = vec![trial("sdk", rig::sdks_use_what_was_evaluated)];
    match (&row.expect.refused, row.token_mount) {
        (None, _) => trials.push(trial("runc", mounts::runc_starts_every_container)),
        (Some(_), TokenMount::Impossible) => trials.push(trial("runc", mounts::runc_cannot_mount_the_token)),
        (Some(_), TokenMount::Possible) => {}
    }
    trials
}
