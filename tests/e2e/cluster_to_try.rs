//! A cluster to try things on, on demand: the control plane with a simulated node, until Ctrl-C or the end of its time.
//!
//! ```console
//! $ ROLEGATE_TRY_MINUTES=60 cargo test --test e2e -- --ignored a_cluster_to_try
//! ```

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::ExclusiveCluster;
use crate::control_plane::ISSUER;
use crate::node::Node;
use crate::scenarios::Scenarios;

const MINUTES: &str = "ROLEGATE_TRY_MINUTES";

const DEFAULT_MINUTES: u64 = 60;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.on_demand(a_cluster_to_try);
}

fn a_cluster_to_try(cluster: &ExclusiveCluster<'_>) {
    let minutes: u64 = std::env::var(MINUTES).map_or(DEFAULT_MINUTES, |minutes| {
        minutes
            .parse()
            .unwrap_or_else(|error| panic!("{MINUTES}={minutes}: {error}; set it to a number of minutes"))
    });
    let around = cluster.surroundings();
    let shell = cluster.shell("to-try");
    shell.put_on_path("helm", &around.helm);
    let _node = Node::start(around);

    eprintln!(
        "\nThe cluster runs for {minutes} minutes, or until Ctrl-C. In another terminal, in the root of the repository:\n\n\
         export KUBECONFIG={}\n\
         export PATH={}:\"$PATH\"\n\n\
         kubectl, helm and rolegate are then those of the tests. A Deployment of the chart runs this build of rolegate, whatever the\n\
         registry and the tag of its image are: `--set image.repository=rolegate`. It has no access to AWS: use role files. `kubectl logs`\n\
         does not work; logs of pods are in {}. The issuer is {ISSUER}.\n",
        around.kubectl.kubeconfig.display(),
        shell.folder.join(".bin").display(),
        cluster.folder().join("logs").display(),
    );
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    while Instant::now() < end {
        sleep(Duration::from_millis(200));
    }
}
