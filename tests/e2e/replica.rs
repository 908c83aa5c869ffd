//! One replica: the program with the arguments and the environment of the chart's Deployment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitStatus;

use serde_json::Value;

use crate::control_plane::{free_address, http};
use crate::mounts::Mounts;
use crate::process::{Log, Process, RunGuard, Signal};
use crate::wait::until_ok;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_rolegate");

/// A running replica; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) name: String,
    /// Where probes and metrics are (HTTP).
    pub(crate) admin: SocketAddr,
    /// Where each container port really is, by number and by name.
    pub(crate) ports: BTreeMap<String, SocketAddr>,
    readiness_path: String,
    process: Process,
}

/// What a replica is started from.
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    /// `spec` of the pod template.
    pub(crate) pod: &'a Value,
    pub(crate) mounts: &'a Mounts,
    /// None when the pod gets no token of its ServiceAccount.
    pub(crate) kubeconfig: Option<&'a str>,
    pub(crate) log: Log,
}

impl Replica {
    pub(crate) fn start(run: &RunGuard, plan: &Plan<'_>) -> Self {
        let container = &plan.pod["containers"][0];
        let environment = environment(container, plan);
        let mut args: Vec<String> = strings(&container["args"])
            .map(|arg| expanded(arg, &environment))
            .map(|arg| plan.mounts.map(&arg))
            .collect();
        // `command: [rolegate, …]` and an entry point of the image are the same program.
        args.splice(
            0..0,
            strings(&container["command"])
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        );

        let (https, admin) = (free_address(), free_address());
        let listened = [("--listen", 8443, https), ("--admin-listen", 8080, admin)]
            .map(|(flag, default, address)| (replace_listen(&mut args, flag, &environment, default, address), address));

        let mut command = run.command(PROGRAM);
        command.args(&args);
        // No test reaches AWS unless it says where: no server listens there.
        command
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        for (name, value) in &environment {
            if name != "ROLEGATE_LISTEN" && name != "ROLEGATE_ADMIN_LISTEN" {
                command.env(name, plan.mounts.map(value));
            }
        }
        if let Some(kubeconfig) = plan.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let process = run.start_logging_process(plan.name, command, plan.log);
        Self {
            name: plan.name.to_owned(),
            admin,
            ports: container_ports(container, &listened),
            readiness_path: container["readinessProbe"]["httpGet"]["path"]
                .as_str()
                .unwrap_or("/readyz")
                .to_owned(),
            process,
        }
    }

    /// Sends a signal; does not wait for its effect.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Signals the reader of its log (`Log::Pipe`).
    #[track_caller]
    pub(crate) fn signal_reader(&self, signal: Signal) {
        self.process.signal_reader(signal);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&self) -> ExitStatus {
        self.process.wait()
    }

    /// None while it runs.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Its log so far (standard error).
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Its standard output so far: the audit log where the chart sends it there.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// `GET http://…PATH` of its admin address: status and body.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), String> {
        http(self.admin, "GET", path, "")
    }

    /// What the Deployment's readiness probe would say.
    pub(crate) fn check_ready(&self) -> Result<(), String> {
        let (status, body) = self.get(&self.readiness_path)?;
        if status == 200 {
            return Ok(());
        }
        Err(format!("{} is not ready ({status}): {body}", self.name))
    }

    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        until_ok(&format!("{} ready", self.name), || {
            if let Some(status) = self.process.exit_status() {
                panic!("{} has ended ({status}):\n{}", self.name, self.log());
            }
            self.check_ready()
        });
    }

    /// The sum of a metric over all of its series that carry these `label="value"` texts; 0 when there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let Ok((200, text)) = self.get("/metrics") else {
            return 0.0;
        };
        Self::sum(&text, name, labels)
    }

    /// The same, in a text of `/metrics`.
    pub(crate) fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
        metrics
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// How many reviews of pods it has answered.
    pub(crate) fn calls(&self) -> f64 {
        self.metric("rolegate_admission_duration_seconds_count", &[])
    }
}

fn environment(container: &Value, plan: &Plan<'_>) -> Vec<(String, String)> {
    assert!(container["envFrom"].is_null(), "the harness does not know envFrom");
    let variables = container["env"].as_array().into_iter().flatten();
    variables
        .map(|variable| {
            let name = variable["name"].as_str().unwrap_or_default().to_owned();
            let source = &variable["valueFrom"];
            if source.is_null() {
                return (name, variable["value"].as_str().unwrap_or_default().to_owned());
            }
            let value = match source["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => plan.name.to_owned(),
                Some("metadata.namespace") => plan.namespace.to_owned(),
                Some("spec.nodeName") => "node".to_owned(),
                Some("spec.serviceAccountName") => {
                    plan.pod["serviceAccountName"].as_str().unwrap_or_default().to_owned()
                }
                Some("status.podIP" | "status.hostIP") => "127.0.0.1".to_owned(),
                _ => panic!("the harness does not know where {name} comes from: {source}"),
            };
            (name, value)
        })
        .collect()
}

/// `$(NAME)` in arguments, as a kubelet expands it.
fn expanded(arg: &str, environment: &[(String, String)]) -> String {
    environment.iter().fold(arg.to_owned(), |arg, (name, value)| {
        arg.replace(&format!("$({name})"), value)
    })
}

/// Puts the real address where the Deployment has the container's; returns the port that the container has.
fn replace_listen(
    args: &mut Vec<String>,
    flag: &str,
    environment: &[(String, String)],
    default: u16,
    address: SocketAddr,
) -> u16 {
    let variable = format!(
        "ROLEGATE_{}",
        flag.trim_start_matches('-').replace('-', "_").to_uppercase()
    );
    let mut output = environment
        .iter()
        .find(|(name, _)| *name == variable)
        .map(|(_, value)| value.clone());
    if let Some(at) = args.iter().position(|arg| arg == flag) {
        args.remove(at);
        output = Some(args.remove(at));
    }
    let with_equals = format!("{flag}=");
    if let Some(at) = args.iter().position(|arg| arg.starts_with(&with_equals)) {
        output = args.remove(at).strip_prefix(&with_equals).map(str::to_owned);
    }
    args.push(format!("{with_equals}{address}"));
    output
        .and_then(|output| output.rsplit(':').next()?.parse().ok())
        .unwrap_or(default)
}

fn container_ports(container: &Value, listened: &[(u16, SocketAddr)]) -> BTreeMap<String, SocketAddr> {
    let mut ports: BTreeMap<String, SocketAddr> = listened
        .iter()
        .map(|(port, address)| (port.to_string(), *address))
        .collect();
    for declared in container["ports"].as_array().into_iter().flatten() {
        let number = declared["containerPort"].to_string();
        if let (Some(name), Some(address)) = (declared["name"].as_str(), ports.get(&number).copied()) {
            ports.insert(name.to_owned(), address);
        }
    }
    ports
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
