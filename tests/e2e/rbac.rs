//! The rights of the chart: each is used, each is needed, and no other is asked for.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{ExclusiveCluster, Gate, Namespace, role_of, trust_policy};
use crate::mounts::{Mounts, request_token};
use crate::process::Log;
use crate::release::{NAMESPACE, Release, Surroundings};
use crate::replica::{Plan, Replica};
use crate::rolegate_calls::calls_since;
use crate::scenarios::Scenarios;
use crate::wait::until;

/// The release's name in what is rendered; each copy puts its own in its place.
const RENDERED: &str = "rolegate-copy";

/// The ConfigMap that names roles of ServiceAccounts.
const IDENTITIES: &str = "identities";

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(every_permission_of_the_chart_is_used_and_no_other_is_requested);
    scenarios.serial(without_any_one_of_the_charts_permissions_something_fails);
}

fn every_permission_of_the_chart_is_used_and_no_other_is_requested(cluster: &ExclusiveCluster<'_>) {
    make_identities(cluster);
    let before = cluster.audit_events().len();
    let release = cluster.install(values());
    cluster.wait_until_called(&release);
    let namespace = cluster.namespace("rights", Gate::Enforce);
    use_everything(&namespace, &release);

    let granted = granted(cluster);
    until("a use of every right", || {
        let used = used(cluster, before);
        granted.is_subset(&used).then_some(())
    });
    let used = used(cluster, before);
    assert_eq!(used, granted, "what was asked for, and what is granted");
    for call in calls_since(cluster, before) {
        let annotations = &call["annotations"];
        assert_eq!(annotations["authorization.k8s.io/decision"], "allow", "{call}");
        let allowed_by = annotations["authorization.k8s.io/reason"].as_str().unwrap_or_default();
        let of_an_object = !call["objectRef"].is_null();
        assert!(!of_an_object || allowed_by.contains("\"rolegate"), "{call}");
    }
}

/// What fails without a right.
#[derive(Clone, Copy, Debug)]
enum Effect {
    /// The replica never becomes ready; this is missing.
    Unready(&'static str),
    /// A pod is not created, because its role could not be read.
    NoPod,
    /// A pod without a role is not refused but failed, because the label that requires one could not be read again.
    NoRefusal,
    /// A refusal leaves no Event.
    NoEvent,
    /// The Event does not count a second refusal.
    NoSeries,
    /// It falls back to polling, or to the flag, and logs that.
    Logged,
}

/// The table of rights, by resource and verb.
fn effect(resource: &str, verb: &str) -> Effect {
    const BUNDLE: &str = "its CA is in caBundle of the webhook configurations";
    match (resource, verb) {
        ("serviceaccounts", "get") => Effect::NoPod,
        ("namespaces", "get") => Effect::NoRefusal,
        ("namespaces", "list") => Effect::Logged,
        ("serviceaccounts", "list") => Effect::Unready("ServiceAccounts are listed"),
        ("configmaps", "list") => Effect::Unready("the identity ConfigMap is read"),
        ("secrets", "get" | "patch") => Effect::Unready("a certificate is served"),
        ("mutatingwebhookconfigurations" | "validatingwebhookconfigurations", "get" | "patch") => {
            Effect::Unready(BUNDLE)
        }
        ("events", "create") => Effect::NoEvent,
        ("events", "patch") => Effect::NoSeries,
        (_, "watch") => Effect::Logged,
        _ => panic!("nothing is known to need {verb} on {resource}"),
    }
}

/// Each right in turn is taken from a copy of the release: same chart, same program, with a ServiceAccount, a Secret and
/// webhook configurations of its own. All copies run at the same time.
fn without_any_one_of_the_charts_permissions_something_fails(cluster: &ExclusiveCluster<'_>) {
    make_identities(cluster);
    // Makes the ConfigMap of roles, and is the place to write them.
    let release = cluster.install(json!({"replicaCount": 1}));
    let objects = render(cluster, &release);
    let mut copies = Copies::new(cluster, &release);
    let whole = copies.start("whole", &objects);
    let lacking: Vec<_> = rights(&objects)
        .into_iter()
        .enumerate()
        .map(|(number, right)| {
            let copy = copies.start(&format!("without-{number}"), &without(&objects, &right));
            (right, copy)
        })
        .collect();

    let works = whole.check(cluster, &release);
    assert_eq!(works.refused, Vec::<String>::new(), "{}", whole.replica.log());
    assert!(
        works.has_pod && works.has_event && works.has_series,
        "{works:?}\n{}",
        whole.replica.log()
    );

    for (Right { resource, verb, .. }, copy) in &lacking {
        let effect = effect(resource, verb);
        if !matches!(
            effect,
            Effect::NoPod | Effect::NoRefusal | Effect::NoEvent | Effect::NoSeries
        ) {
            copy.until_logged(resource, verb);
        }
        match effect {
            Effect::Logged => {}
            Effect::Unready(what) => {
                let report = copy.replica.get("/readyz");
                let missing = format!("[missing] {what}");
                let is_missing = matches!(&report, Ok((503, report)) if report.contains(&missing));
                assert!(is_missing, "without {verb} on {resource}: {report:?}");
            }
            Effect::NoPod => {
                let namespace = copy.namespace(cluster);
                let why = namespace.create_pod("plain", "default", &[]).refused();
                assert!(
                    why.contains("failed calling webhook"),
                    "without {verb} on {resource}: {why}"
                );
                copy.until_logged(resource, verb);
            }
            Effect::NoRefusal => {
                let namespace = copy.namespace(cluster);
                require_role(&namespace);
                let why = until("a pod that fails", || {
                    let output = namespace.create_pod("plain", "default", &["--dry-run=server"]);
                    (!output.succeeded()).then(|| output.refused())
                });
                assert!(
                    why.contains("failed calling webhook"),
                    "without {verb} on {resource}: {why}"
                );
                copy.until_logged(resource, verb);
            }
            Effect::NoEvent | Effect::NoSeries => {
                let namespace = copy.namespace(cluster);
                refuse_two(&namespace, &release);
                copy.until_logged(resource, verb);
                let (is_there, counts) = event_of(&namespace);
                let expected = matches!(effect, Effect::NoSeries);
                assert_eq!((is_there, counts), (expected, false), "without {verb} on {resource}");
            }
        }
        println!("without {verb} on {resource}: {effect:?}");
    }
}

/// One verb of one rule.
#[derive(Clone, Debug)]
struct Right {
    kind: String,
    role: String,
    rule: usize,
    resource: String,
    verb: String,
}

fn rights(objects: &[Value]) -> Vec<Right> {
    let mut rights = Vec::new();
    for object in objects {
        for (rule, content) in list(&object["rules"]).enumerate() {
            for (resource, verb) in list(&content["resources"])
                .flat_map(|resource| list(&content["verbs"]).map(move |verb| (text(resource), text(verb))))
            {
                if text(&object["kind"]).ends_with("Role") {
                    rights.push(Right {
                        kind: text(&object["kind"]),
                        role: text(&object["metadata"]["name"]),
                        rule,
                        resource,
                        verb,
                    });
                }
            }
        }
    }
    assert!(rights.len() > 10, "{rights:?}");
    rights
}

fn without(objects: &[Value], right: &Right) -> Vec<Value> {
    let mut objects = objects.to_vec();
    let role = objects
        .iter_mut()
        .find(|object| object["kind"] == right.kind && object["metadata"]["name"] == right.role)
        .unwrap();
    let verbs = &mut role["rules"][right.rule]["verbs"];
    verbs.as_array_mut().unwrap().retain(|verb| verb != &right.verb);
    objects
}

/// What the chart renders, as JSON.
fn render(cluster: &ExclusiveCluster<'_>, release: &Release) -> Vec<Value> {
    let file = cluster.folder().join("copy-values.json");
    let mut values = values();
    values["roleSources"] = json!([]);
    values["roleFiles"] = json!({"configMap": "roles"});
    values["image"] = json!({"repository": "registry.example.com/rolegate"});
    fs::write(&file, values.to_string()).unwrap();
    let chart = format!("{}/charts/rolegate", env!("CARGO_MANIFEST_DIR"));
    let file = file.display().to_string();
    let rendered = release
        .helm(&[
            "template",
            RENDERED,
            &chart,
            "--namespace",
            NAMESPACE,
            "--values",
            &file,
            "--no-hooks",
        ])
        .ok();
    let converted = cluster
        .surroundings()
        .kubectl
        .run_with_input(&["create", "--dry-run=client", "--output=json", "-f", "-"], &rendered);
    // kubectl prints one object after another.
    let text = converted.ok();
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let objects = objects.map(Result::unwrap).flat_map(|object| {
        let items: Vec<_> = list(&object["items"]).cloned().collect();
        if items.is_empty() { vec![object] } else { items }
    });
    objects.collect()
}

/// Copies of the release; what was applied for them goes with this.
struct Copies<'a> {
    around: &'a Surroundings,
    /// The release's: roles that are stored there reach the copies too.
    mounts: Arc<Mounts>,
    applied: Vec<Value>,
}

/// The program with the rights of one copy.
struct Copy {
    name: String,
    replica: Replica,
}

/// What works.
#[derive(Debug)]
struct Works {
    /// Log lines about a refused call.
    refused: Vec<String>,
    has_pod: bool,
    has_event: bool,
    has_series: bool,
}

impl<'a> Copies<'a> {
    fn new(cluster: &'a ExclusiveCluster<'_>, release: &Release) -> Self {
        Self {
            around: cluster.surroundings(),
            mounts: release.mounts(),
            applied: Vec::new(),
        }
    }

    fn start(&mut self, tag: &str, objects: &[Value]) -> Copy {
        let name = format!("rolegate-{tag}");
        let objects: Vec<Value> = objects.iter().map(|object| renamed(object, &name, tag)).collect();
        let served_by = [
            "ServiceAccount",
            "Secret",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "Service",
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ];
        let needed: Vec<Value> = objects
            .iter()
            .filter(|object| served_by.contains(&object["kind"].as_str().unwrap_or_default()))
            .cloned()
            .collect();
        self.around.kubectl.apply(&as_list(&needed)).ok();
        self.applied.extend(needed);

        let around = self.around;
        let token = around
            .runtime
            .block_on(request_token(&around.client, NAMESPACE, &name, None))
            .unwrap();
        let file = |ending: &str| around.run.folder().join(format!("{name}.{ending}"));
        fs::write(file("token"), token).unwrap();
        let control_plane = &around.control_plane;
        let kubeconfig = control_plane.kubeconfig_of(control_plane.api, &file("token"), NAMESPACE);
        fs::write(file("kubeconfig"), kubeconfig).unwrap();
        let replica = Replica::start(
            &around.run,
            &Plan {
                name: &name,
                namespace: NAMESPACE,
                pod: &deployment(&objects)["spec"]["template"]["spec"],
                mounts: &self.mounts,
                kubeconfig: Some(&file("kubeconfig").display().to_string()),
                log: Log::File,
            },
        );
        let backend = around.egress.backend(NAMESPACE, &name);
        backend.add(&name, replica.ports.clone());
        Copy { name, replica }
    }
}

impl Drop for Copies<'_> {
    fn drop(&mut self) {
        let objects = as_list(&self.applied);
        self.around
            .kubectl
            .run_with_input(&["delete", "--ignore-not-found", "--wait=false", "-f", "-"], &objects);
    }
}

impl Copy {
    /// A namespace that this copy alone gates.
    fn namespace(&self, cluster: &ExclusiveCluster<'_>) -> Namespace {
        self.replica.wait_ready();
        let namespace = cluster.namespace("copy", Gate::None);
        let label = format!("{}=enforce", gate_label(self.name.trim_start_matches("rolegate-")));
        cluster.kubectl(&["label", "namespace", &namespace.name, &label]).ok();
        // Until the API server has taken up the configuration with its bundle, and the label.
        until(&format!("calls of {}", self.name), || {
            let calls = self.replica.calls();
            namespace.create_pod("first", "absent", &["--dry-run=server"]);
            namespace.create_pod("first", "default", &["--dry-run=server"]);
            (self.replica.calls() > calls).then_some(())
        });
        namespace
    }

    /// The API server's refusal of this is in the log.
    #[track_caller]
    fn until_logged(&self, resource: &str, verb: &str) {
        let words = format!("cannot {verb} resource \"{resource}\"");
        until(&format!("{words:?} in the log of {}", self.name), || {
            let log = self.replica.log().replace('\\', "");
            log.contains(&words).then_some(())
        });
    }

    fn check(&self, cluster: &ExclusiveCluster<'_>, release: &Release) -> Works {
        let namespace = self.namespace(cluster);
        let role = namespace.trusted_role(release, "worker", "worker");
        annotated(&namespace, "worker", &role);
        let pod = namespace.create_pod("worker", "worker", &[]).json();
        refuse_two(&namespace, release);
        until("an Event that counts", || event_of(&namespace).1.then_some(()));
        let (has_event, has_series) = event_of(&namespace);
        let log = self.replica.log();
        Works {
            refused: log
                .lines()
                .filter(|line| line.contains("orbidden: "))
                .map(str::to_owned)
                .collect(),
            has_pod: role_of(&pod) == Some(role),
            has_event,
            has_series,
        }
    }
}

/// Replaces the rendered name with the copy's name, and the gate label with a separate label.
fn renamed(object: &Value, name: &str, tag: &str) -> Value {
    let text = object
        .to_string()
        .replace(RENDERED, name)
        .replace("\"rolegate.io/gate\"", &format!("{:?}", gate_label(tag)));
    serde_json::from_str(&text).unwrap()
}

fn gate_label(tag: &str) -> String {
    format!("rolegate.io/gate-{tag}")
}

fn deployment(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["kind"] == "Deployment").unwrap()
}

fn as_list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// Does what needs each of the rights.
fn use_everything(namespace: &Namespace, release: &Release) {
    let role = namespace.trusted_role(release, "worker", "worker");
    annotated(namespace, "worker", &role);
    let pod = namespace.create_pod("worker", "worker", &[]).json();
    assert_eq!(role_of(&pod), Some(role));
    refuse_two(namespace, release);
    require_role(namespace);
    until("a refusal that the label requires", || {
        let output = namespace.create_pod("plain", "default", &["--dry-run=server"]);
        output.stderr.contains("(no-role)").then_some(())
    });
}

/// Pods without a role are refused in this namespace.
fn require_role(namespace: &Namespace) {
    let label = [
        "label",
        "namespace",
        &namespace.name,
        "rolegate.io/require-role=enforce",
    ];
    namespace.kubectl(&label).ok();
}

/// Two pods of a ServiceAccount that its role does not trust.
fn refuse_two(namespace: &Namespace, release: &Release) {
    let role = namespace.role_arn("stranger");
    release.put_role(&role, &trust_policy("elsewhere", "somebody"));
    annotated(namespace, "stranger", &role);
    for name in ["one", "two"] {
        let why = namespace.create_pod(name, "stranger", &[]).refused();
        assert!(why.contains("does not trust"), "{why}");
    }
}

fn annotated(namespace: &Namespace, name: &str, role: &str) {
    namespace.kubectl(&["create", "serviceaccount", name]).ok();
    namespace.annotate(name, role);
}

/// Whether there is an Event of a refusal, and whether it reports more than one.
fn event_of(namespace: &Namespace) -> (bool, bool) {
    let events = namespace.json(&["get", "events.v1.events.k8s.io"]);
    let refusals: Vec<_> = list(&events["items"])
        .filter(|event| event["reason"] == "PodRefused")
        .collect();
    let counts = refusals
        .iter()
        .any(|event| event["series"]["count"].as_u64() >= Some(2));
    (!refusals.is_empty(), counts)
}

fn values() -> Value {
    json!({"identityConfigMap": format!("{NAMESPACE}/{IDENTITIES}")})
}

fn make_identities(cluster: &ExclusiveCluster<'_>) {
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": IDENTITIES, "namespace": NAMESPACE},
        "data": {"config": "{}"},
    });
    cluster.apply(&map.to_string()).ok();
}

/// API group, resource and verb.
type Use = (String, String, String);

/// What the release's roles allow.
fn granted(cluster: &ExclusiveCluster<'_>) -> BTreeSet<Use> {
    let selector = "app.kubernetes.io/instance=rolegate";
    let roles = cluster.json(&["get", "clusterroles,roles", "--all-namespaces", "-l", selector]);
    let mut granted = BTreeSet::new();
    for rule in list(&roles["items"]).flat_map(|role| list(&role["rules"])) {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                granted.extend(list(&rule["verbs"]).map(|verb| (text(group), text(resource), text(verb))));
            }
        }
    }
    granted
}

/// What the API server was asked.
fn used(cluster: &ExclusiveCluster<'_>, before: usize) -> BTreeSet<Use> {
    calls_since(cluster, before)
        .iter()
        .filter(|call| !call["objectRef"].is_null())
        .map(|call| {
            let object = &call["objectRef"];
            (
                text(&object["apiGroup"]),
                text(&object["resource"]),
                text(&call["verb"]),
            )
        })
        .collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
