//! Jobs get identity from their ServiceAccount.

use crate::cluster::{Cluster, Gate, role_of};
use crate::scenarios::Scenarios;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(a_management_job_gets_the_role_of_its_service_account);
}

fn a_management_job_gets_the_role_of_its_service_account(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("management", Gate::Enforce);
    let role = jobs.trusted_role(&release, "management-jobs", "default");

    let annotation = format!("eks.amazonaws.com/role-arn={role}");
    jobs.kubectl(&["annotate", "serviceaccount", "default", &annotation])
        .ok();
    jobs.kubectl(&["create", "job", "migrate", "--image=example", "--", "migrate"])
        .ok();

    assert_eq!(role_of(&jobs.pod_of_job("migrate")), Some(role));
}
