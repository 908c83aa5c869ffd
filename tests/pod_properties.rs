//! Properties that are true for every pod, whatever it contains: the patch only adds, adds once, and does not change anything else; the
//! view never panics.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use rolegate::pod::Warning;
use rolegate::pod::concerns::Concerns;
use rolegate::pod::effective::{EffectiveIdentities, Identity};
use rolegate::pod::identity::{
    AnnotationRules, Defaults, PodIdentityRequest, ServiceAccountIdentity, WebIdentityRequest,
};
use rolegate::pod::inject::{self, Conflict, Injection, Patch, SetSessionName};
use rolegate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use rolegate::pod::view::PodView;
use rolegate::trust::{Audience, RoleArn};
use serde_json::{Map, Value, json};

const ROLE: &str = "arn:aws:iam::111122223333:role/s3-reader";
const MOUNT_PATH: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
const TOKEN_FILE: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
const POD_IDENTITY_LABEL: &str = "eks.amazonaws.com/pod-identity";

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_only_adds_and_touches_nothing_else(pod in pod(), webhook in webhook()) {
        let Ok((patch, after)) = webhook.inject(&pod) else { return Ok(()) };
        for operation in patch.as_array().unwrap() {
            prop_assert_eq!(&operation["op"], "add");
        }
        prop_assert_eq!(without_places(&pod, webhook.mode), without_places(&after, webhook.mode));
        added_to(&pod, &after, &webhook)?;
    }

    #[test]
    fn applied_twice_it_changes_nothing(pod in pod(), webhook in webhook()) {
        let Ok((_, after)) = webhook.inject(&pod) else { return Ok(()) };
        let (patch, again) = webhook.inject(&after).unwrap();
        prop_assert_eq!(patch, json!([]));
        prop_assert_eq!(again, after);
    }

    /// EKS's webhook may have served the pod, or ours with other settings: what is there stays, and the second run ends.
    #[test]
    fn another_webhooks_injection_is_not_undone(pod in pod(), first in webhook(), second in webhook()) {
        let Ok((_, once)) = first.inject(&pod) else { return Ok(()) };
        let Ok((_, twice)) = second.inject(&once) else { return Ok(()) };
        added_to(&once, &twice, &second)?;
        prop_assert_eq!(second.inject(&twice).unwrap().0, json!([]));
    }

    #[test]
    fn every_container_that_is_chosen_can_read_a_token(pod in pod(), webhook in webhook()) {
        let Ok((_, after)) = webhook.inject(&pod) else { return Ok(()) };
        let volumes = after["spec"]["volumes"].as_array().unwrap();
        prop_assert!(volumes.iter().any(|volume| volume["name"] == webhook.volume_name()));
        for (before, container) in containers_of(&pod).into_iter().zip(containers_of(&after)) {
            let [first, second] = webhook.identity_variables();
            let added = names(container, "env").len() > names(before, "env").len();
            let injected = names(container, "env").contains(&first) && !names(before, "env").contains(&first);
            if added && injected {
                prop_assert!(names(container, "volumeMounts").contains(&webhook.volume_name()));
            }
            let both = [first, second].map(|name| names(container, "env").iter().filter(|own| **own == name).count());
            let own = [first, second].map(|name| names(before, "env").iter().filter(|own| **own == name).count());
            prop_assert!(both == own || (own == [0, 0] && both == [1, 1]), "{own:?} {both:?}");
        }
    }

    #[test]
    fn escapes_in_the_text_change_nothing(pod in pod(), webhook in webhook()) {
        let plain = pod.to_string();
        let escaped = plain.replace("AWS", "\\u0041WS").replace("aws-iam", "\\u0061ws-\\u0069am").replace("spec\":", "s\\u0070ec\":");
        prop_assert_eq!(&serde_json::from_str::<Value>(&escaped).unwrap(), &pod);
        let answer = |text: &str| webhook.answer(&serde_json::from_str(text).unwrap());
        match (answer(&plain), answer(&escaped)) {
            (Ok(one), Ok(other)) => prop_assert_eq!((one.patch, one.warnings), (other.patch, other.warnings)),
            (one, other) => prop_assert_eq!(one.unwrap_err(), other.unwrap_err()),
        }
    }

    #[test]
    fn only_ephemeral_containers_that_are_new_are_touched(
        old in pod(),
        more in prop::collection::vec(container(), 0..3),
        webhook in webhook(),
    ) {
        let mut new = old.clone();
        let Some(spec) = new["spec"].as_object_mut() else { return Ok(()) };
        let mut all = spec.get("ephemeralContainers").and_then(Value::as_array).cloned().unwrap_or_default();
        let older = all.len();
        all.extend(more);
        spec.insert("ephemeralContainers".to_owned(), json!(all));
        let injection = webhook.ephemeral(&old, &new);
        one_line_each(&injection.warnings)?;
        for operation in json_of(&injection.patch).as_array().unwrap() {
            let path = operation["path"].as_str().unwrap();
            let index: usize =
                path.strip_prefix("/spec/ephemeralContainers/").unwrap().split('/').next().unwrap().parse().unwrap();
            prop_assert!(index >= older, "{path}");
        }
        let after = apply(&new, &injection.patch);
        let again = webhook.ephemeral(&old, &after);
        prop_assert!(again.patch.is_empty());
    }

    #[test]
    fn warnings_and_conflicts_are_one_line(pod in pod(), webhook in webhook()) {
        match webhook.answer(&view(&pod.to_string())) {
            Ok(injection) => {
                one_line_each(&injection.warnings)?;
                let text = pod.to_string();
                let view = view(&text);
                let identities = webhook.identities(&view);
                let concerns = Concerns::of(&identities, Some(&webhook.web_request().role), &webhook.web_settings());
                one_line_each(&concerns.warnings)?;
            }
            Err(conflict) => {
                prop_assert!(!conflict.message.chars().any(char::is_control));
                // A quoted name has backslashes that the name alone has not.
                let unescaped = |text: &str| text.replace('\\', "");
                prop_assert!(unescaped(&conflict.message).contains(&unescaped(&conflict.volume)));
            }
        }
    }

    /// What a second run, or another replica, sees of a pod that was served: the role that was injected, by our own token.
    #[test]
    fn what_was_injected_is_the_effective_identity_of_the_pod_that_is_created(pod in pod(), webhook in webhook()) {
        let webhook = Webhook { mode: Mode::Web, ..webhook };
        let Ok((_, after)) = webhook.inject(&pod) else { return Ok(()) };
        let (before, after) = (pod.to_string(), after.to_string());
        let (before, after) = (view(&before), view(&after));
        let misplaced = webhook.answer(&before).map(|_| {
            let concerns = Concerns::of(&webhook.identities(&before), Some(&webhook.web_request().role), &webhook.web_settings());
            concerns.not_used.into_iter().map(str::to_owned).collect::<Vec<_>>()
        });
        let misplaced = misplaced.unwrap_or_default();
        let (before, after) = (webhook.identities(&before), webhook.identities(&after));
        for (before, after) in before.containers().zip(after.containers()) {
            match (before.identity(), after.identity()) {
                (Identity::Injected, Identity::WebIdentity(own)) => {
                    prop_assert_eq!(own.role.as_str(), ROLE);
                    prop_assert_eq!(&own.audience, &None);
                }
                (Identity::Injected, other) => {
                    prop_assert!(misplaced.contains(&before.name().to_owned()), "{:?}", other);
                }
                (before, after) => prop_assert_eq!(before, after),
            }
        }
    }

    /// What the view accepts can be patched, however odd the rest of it is.
    #[test]
    fn a_pod_with_something_odd_in_it_is_an_error_or_is_served(
        pod in pod(), at in any::<Index>(), odd in arbitrary_json(), webhook in webhook(),
    ) {
        let mut pod = pod;
        replace_one(&mut pod, at, odd);
        let text = pod.to_string();
        if let Ok(view) = serde_json::from_str::<PodView<'_>>(&text) {
            ask_everything(&view);
            if let Ok(injection) = webhook.answer(&view) {
                apply(&pod, &injection.patch);
            }
        }
    }

    #[test]
    fn no_json_makes_the_view_panic(json in arbitrary_json(), cut in any::<Index>()) {
        let text = json.to_string();
        for text in [text.as_str(), text.get(..cut.index(text.len())).unwrap_or("")] {
            if let Ok(view) = serde_json::from_str::<PodView<'_>>(text) {
                ask_everything(&view);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_view_panic(pod in pod(), at in any::<Index>(), byte in any::<u8>()) {
        let mut bytes = pod.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(view) = serde_json::from_slice::<PodView<'_>>(&bytes) {
            ask_everything(&view);
        }
    }

    #[test]
    fn no_annotation_makes_reading_it_panic(
        annotations in prop::collection::btree_map(annotation_key(), special_text(), 0..6),
        pod in pod(),
    ) {
        let rules = Webhook::default().rules();
        let pairs = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let account = ServiceAccountIdentity::from_annotations(&rules, pairs);
        let defaults =
            Defaults { audience: Audience::new("sts.amazonaws.com"), expiration_seconds: 86_400, regional_sts: false };
        let text = pod.to_string();
        let (requested, warnings) = rolegate::pod::identity::resolve(&rules, account.as_ref(), &view(&text), &defaults);
        one_line_each(&warnings)?;
        if let rolegate::pod::identity::Requested::WebIdentity(request) = requested {
            prop_assert!((600..=86_400).contains(&request.expiration_seconds));
        }
    }
}

#[test]
fn a_pod_of_1_2_megabytes_is_served_like_a_small_one() {
    let small = json!({"metadata": {"name": "job-1"}, "spec": {"containers": [{"name": "app"}]}});
    let mut large = small.clone();
    large["metadata"]["annotations"] = json!({"config": "<".repeat(200_000), "escaped": "\"\n\u{1}".repeat(60_000)});
    large["spec"]["unheardOf"] =
        json!({"deep": (0..20_000).map(|n| json!({"n": n, "t": ["x", null]})).collect::<Vec<_>>()});
    assert!(large.to_string().len() > 1_200_000);
    let webhook = Webhook::default();
    assert_eq!(webhook.inject(&small).unwrap().0, webhook.inject(&large).unwrap().0);
}

/// 256 KiB of annotations name 40,000 containers while the pod has 8,000: nothing may grow with the product.
#[test]
fn many_names_meet_many_containers() {
    let names: Vec<String> = (0..40_000).map(|n| format!("n{n}")).collect();
    let containers: Vec<Value> = (0..8_000)
        .map(|n| {
            json!({"name": format!("n{}", n * 10), "env": [
                {"name": "AWS_ROLE_ARN", "value": format!("role-{n}")},
                {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": TOKEN_FILE},
            ]})
        })
        .collect();
    let pod = json!({
        "metadata": {"annotations": {
            "eks.amazonaws.com/skip-containers": names.join(","), "eks.amazonaws.com/include-containers": names.join(","),
        }},
        "spec": {"containers": containers, "ephemeralContainers": containers},
    });
    let webhook = Webhook::default();
    let text = pod.to_string();
    let view = view(&text);
    let patched = webhook.answer(&view).unwrap();
    assert_eq!(
        patched.patch.len(),
        1,
        "the volume alone: every container that is included is skipped"
    );
    assert_eq!(patched.warnings.len(), 2, "one for each list");
    let mut unskipped = pod.clone();
    unskipped["metadata"] = json!({});
    let text = unskipped.to_string();
    let view = serde_json::from_str(&text).unwrap();
    let identities = webhook.identities(&view);
    let unknown = identities
        .containers()
        .filter(|container| matches!(container.identity(), Identity::Unknown(_)));
    assert_eq!(unknown.count(), 8_000);
}

// --- what is asked of the library ---

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Web,
    Pod,
}

#[derive(Clone, Debug)]
struct Webhook {
    mode: Mode,
    regional_sts: bool,
    region: bool,
    disable_instance_metadata: bool,
    session_name: bool,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            mode: Mode::Web,
            regional_sts: false,
            region: true,
            disable_instance_metadata: false,
            session_name: false,
        }
    }
}

impl Webhook {
    fn rules(&self) -> AnnotationRules {
        AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        }
    }

    fn region(&self) -> Option<String> {
        self.region.then(|| "us-west-2".to_owned())
    }

    fn web_request(&self) -> WebIdentityRequest {
        WebIdentityRequest {
            role: RoleArn::parse(ROLE).unwrap(),
            audience: Audience::new("sts.amazonaws.com"),
            expiration_seconds: 86_400,
            regional_sts: self.regional_sts,
        }
    }

    fn web_settings(&self) -> WebIdentitySettings {
        WebIdentitySettings {
            mount_path: MOUNT_PATH.to_owned(),
            region: self.region(),
            disable_instance_metadata: self.disable_instance_metadata,
            role_session_name: self.session_name,
            api_audience: None,
        }
    }

    fn pod_request(&self) -> PodIdentityRequest {
        PodIdentityRequest {
            expiration_seconds: 80_000,
            regional_sts: self.regional_sts,
        }
    }

    fn pod_settings(&self) -> PodIdentitySettings {
        PodIdentitySettings {
            full_uri: "http://169.254.170.23/v1/credentials".to_owned(),
            audience: "pods.eks.amazonaws.com".to_owned(),
            mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".to_owned(),
            volume_name: "eks-pod-identity-token".to_owned(),
            token_path: "eks-pod-identity-token".to_owned(),
            region: self.region(),
            disable_instance_metadata: self.disable_instance_metadata,
        }
    }

    fn volume_name(&self) -> &'static str {
        match self.mode {
            Mode::Web => "aws-iam-token",
            Mode::Pod => "eks-pod-identity-token",
        }
    }

    fn identity_variables(&self) -> [&'static str; 2] {
        match self.mode {
            Mode::Web => ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"],
            Mode::Pod => [
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            ],
        }
    }

    fn answer(&self, pod: &PodView<'_>) -> Result<Injection, Box<Conflict>> {
        let session = if self.session_name {
            SetSessionName::FromPodName
        } else {
            SetSessionName::No
        };
        match self.mode {
            Mode::Web => inject::web_identity(
                &self.rules(),
                pod,
                &self.identities(pod),
                &self.web_request(),
                &self.web_settings(),
                session,
            ),
            Mode::Pod => inject::pod_identity(&self.rules(), pod, &self.pod_request(), &self.pod_settings()),
        }
    }

    fn identities<'p>(&self, pod: &'p PodView<'p>) -> EffectiveIdentities<'p> {
        EffectiveIdentities::of_pod(&self.rules(), pod, &self.web_settings(), &self.pod_settings())
    }

    /// The patch, and the pod after it.
    fn inject(&self, pod: &Value) -> Result<(Value, Value), Box<Conflict>> {
        let text = pod.to_string();
        let injection = self.answer(&view(&text))?;
        Ok((json_of(&injection.patch), apply(pod, &injection.patch)))
    }

    fn ephemeral(&self, old: &Value, new: &Value) -> Injection {
        let (old, new) = (old.to_string(), new.to_string());
        let (old, new) = (view(&old), view(&new));
        match self.mode {
            Mode::Web => {
                let identities = EffectiveIdentities::of_new_ephemeral(
                    &self.rules(),
                    &old,
                    &new,
                    &self.web_settings(),
                    &self.pod_settings(),
                );
                inject::ephemeral_web_identity(
                    &self.rules(),
                    &new,
                    &identities,
                    &self.web_request(),
                    &self.web_settings(),
                )
            }
            Mode::Pod => {
                inject::ephemeral_pod_identity(&self.rules(), &old, &new, &self.pod_request(), &self.pod_settings())
            }
        }
    }
}

fn view(text: &str) -> PodView<'_> {
    serde_json::from_str(text).unwrap()
}

fn json_of(patch: &Patch) -> Value {
    serde_json::from_slice(patch.as_json()).unwrap()
}

fn apply(pod: &Value, patch: &Patch) -> Value {
    let mut after = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(json_of(patch)).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();
    after
}

fn ask_everything(view: &PodView<'_>) {
    let _ = (
        view.name(),
        view.generate_name(),
        view.has_spec(),
        view.service_account_name(),
        view.label("app"),
    );
    let _ = (view.is_mirror(), view.controller(), view.token_audience());
    let _ = inject::session_name(view);
    for webhook in [
        Webhook::default(),
        Webhook {
            mode: Mode::Pod,
            ..Webhook::default()
        },
    ] {
        let _ = webhook.answer(view);
        let identities = webhook.identities(view);
        let _ = Concerns::of(&identities, Some(&webhook.web_request().role), &webhook.web_settings());
    }
}

fn one_line_each(warnings: &[Warning]) -> Result<(), TestCaseError> {
    for warning in warnings {
        let text = warning.as_str();
        prop_assert!(
            text.chars().count() <= 256 && !text.chars().any(char::is_control),
            "{text:?}"
        );
    }
    Ok(())
}

// --- what may differ ---

/// The pod without the places that an injection may fill.
fn without_places(pod: &Value, mode: Mode) -> Value {
    let mut pod = pod.clone();
    if mode == Mode::Pod {
        // An absent parent is made for the label.
        let metadata = pod["metadata"].take();
        let mut metadata = metadata.as_object().cloned().unwrap_or_default();
        let mut labels = metadata
            .remove("labels")
            .and_then(|labels| labels.as_object().cloned())
            .unwrap_or_default();
        labels.remove(POD_IDENTITY_LABEL);
        metadata.insert("labels".to_owned(), json!(labels));
        pod["metadata"] = json!(metadata);
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("volumes");
        for list in ["initContainers", "containers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.remove("env");
                    container.remove("volumeMounts");
                }
            }
        }
    }
    pod
}

/// The lists that an injection can extend keep their items in the same order, and only our own items are added.
fn added_to(before: &Value, after: &Value, webhook: &Webhook) -> Result<(), TestCaseError> {
    const OURS: [&str; 9] = [
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_ROLE_SESSION_NAME",
    ];
    let own = before["metadata"]["labels"][POD_IDENTITY_LABEL].as_str();
    if let Some(own) = own {
        prop_assert_eq!(after["metadata"]["labels"][POD_IDENTITY_LABEL].as_str(), Some(own));
    }
    let (volumes, volumes_after) = (items(&before["spec"]["volumes"]), items(&after["spec"]["volumes"]));
    let added = volumes_after.len() - volumes.len();
    prop_assert!(added <= 1 && volumes_after.ends_with(volumes));
    prop_assert!(added == 0 || volumes_after[0]["name"] == webhook.volume_name());
    for (before, after) in containers_of(before).into_iter().zip(containers_of(after)) {
        let (env, env_after) = (items(&before["env"]), items(&after["env"]));
        prop_assert!(env_after.starts_with(env));
        let added: Vec<&str> = env_after[env.len()..]
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        let set = names(before, "env");
        for name in &added {
            prop_assert!(OURS.contains(name) && !set.contains(name), "{name}");
        }
        // In the documented order.
        let places: Vec<usize> = added
            .iter()
            .map(|name| OURS.iter().position(|ours| ours == name).unwrap())
            .collect();
        prop_assert!(places.is_sorted(), "{added:?}");
        let (mounts, mounts_after) = (items(&before["volumeMounts"]), items(&after["volumeMounts"]));
        prop_assert!(mounts_after.starts_with(mounts) && mounts_after.len() <= mounts.len() + 1);
        for mount in &mounts_after[mounts.len()..] {
            prop_assert_eq!(&mount["name"], webhook.volume_name());
            // A second one only where the token file would not be found by the first.
            let own = items(&before["volumeMounts"])
                .iter()
                .filter(|own| own["name"] == webhook.volume_name());
            for own in own {
                prop_assert!(own["mountPath"] != mount["mountPath"]);
            }
        }
    }
    Ok(())
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn containers_of(pod: &Value) -> Vec<&Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| items(&pod["spec"][list]))
        .collect()
}

fn names<'v>(container: &'v Value, list: &str) -> Vec<&'v str> {
    items(&container[list])
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect()
}

/// Puts a value in the place of one somewhere in the pod.
fn replace_one(value: &mut Value, at: Index, by: Value) {
    let mut paths = Vec::new();
    collect_paths(value, String::new(), &mut paths);
    let path = at.get(&paths);
    *value.pointer_mut(path).unwrap() = by;
}

fn collect_paths(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                collect_paths(
                    value,
                    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")),
                    paths,
                );
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect_paths(value, format!("{path}/{index}"), paths);
            }
        }
        _ => {}
    }
    paths.push(path);
}

// --- pods ---

fn webhook() -> impl Strategy<Value = Webhook> {
    (select(vec![Mode::Web, Mode::Web, Mode::Pod]), any::<[bool; 4]>()).prop_map(|(mode, flags)| Webhook {
        mode,
        regional_sts: flags[0],
        region: flags[1],
        disable_instance_metadata: flags[2],
        session_name: flags[3],
    })
}

fn special_text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "",
            " ",
            "a",
            "app",
            "~0/~1",
            "a/b",
            "\"quoted\"",
            "new\nline",
            "tab\t",
            "nul\u{0}",
            "esc\u{1b}[0m",
            "ünï",
            "💥",
            "$(X)",
            "\\",
            "C:\\x",
            "true",
            "3600",
            "-",
            "0",
            "token",
            "aws-iam-token",
            ROLE,
            MOUNT_PATH,
            TOKEN_FILE,
            "app,proxy",
            " init , ",
            "\u{2028}",
            "windows",
        ])
        .prop_map(str::to_owned),
        prop::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter),
    ]
}

fn annotation_key() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "eks.amazonaws.com/role-arn",
            "eks.amazonaws.com/audience",
            "eks.amazonaws.com/token-expiration",
            "eks.amazonaws.com/sts-regional-endpoints",
            "eks.amazonaws.com/role_arn",
            "iam.amazonaws.com/role",
        ])
        .prop_map(str::to_owned),
        special_text(),
    ]
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Eighths, which survive being printed and read: the last digit of other fractions might not.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        special_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field_name(), inner), 0..4).prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

fn field_name() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "metadata",
            "spec",
            "name",
            "env",
            "containers",
            "volumes",
            "projected",
            "value",
            "labels"
        ])
        .prop_map(str::to_owned),
        special_text(),
    ]
}

/// Fields that Kubernetes may invent.
fn unknown_fields() -> impl Strategy<Value = Vec<(String, Value)>> {
    let key = select(vec![
        "newField",
        "x~y",
        "x/y",
        "",
        "ünbekannt",
        "Env",
        "volumemounts",
        "dnsPolicy",
    ]);
    prop::collection::vec((key.prop_map(str::to_owned), arbitrary_json()), 0..3)
}

/// An object of these fields, each absent, null or there, and of unknown ones.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Value> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let presence: Vec<_> = keys
        .iter()
        .map(|_| prop_oneof![1 => Just(0), 1 => Just(1), 6 => Just(2)])
        .collect();
    (values, presence, unknown_fields()).prop_map(move |(values, presence, unknown)| {
        let mut object = Map::from_iter(unknown);
        for ((key, value), presence) in keys.iter().zip(values).zip(presence) {
            match presence {
                0 => {}
                1 => drop(object.insert((*key).to_owned(), Value::Null)),
                _ => drop(object.insert((*key).to_owned(), value)),
            }
        }
        Value::Object(object)
    })
}

fn list(item: impl Strategy<Value = Value> + 'static, size: std::ops::Range<usize>) -> BoxedStrategy<Value> {
    let item = prop_oneof![12 => item, 1 => Just(Value::Null)];
    prop::collection::vec(item, size).prop_map(Value::from).boxed()
}

fn text(of: Vec<&'static str>) -> BoxedStrategy<Value> {
    prop_oneof![4 => select(of).prop_map(Value::from), 1 => special_text().prop_map(Value::from)].boxed()
}

fn variable() -> impl Strategy<Value = Value> {
    object(vec![
        (
            "name",
            text(vec![
                "AWS_STS_REGIONAL_ENDPOINTS",
                "AWS_DEFAULT_REGION",
                "AWS_REGION",
                "AWS_ROLE_ARN",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                "AWS_EC2_METADATA_DISABLED",
                "AWS_ROLE_SESSION_NAME",
                "PATH",
            ]),
        ),
        (
            "value",
            text(vec![
                ROLE,
                "arn:aws:iam::444455556666:role/x",
                TOKEN_FILE,
                "regional",
                "x",
            ]),
        ),
        (
            "valueFrom",
            Just(json!({"fieldRef": {"fieldPath": "metadata.name"}})).boxed(),
        ),
    ])
}

fn volume_mount() -> impl Strategy<Value = Value> {
    object(vec![
        (
            "name",
            text(vec!["data", "data", "aws-iam-token", "eks-pod-identity-token"]),
        ),
        (
            "mountPath",
            text(vec![
                "/data",
                "/data",
                "/other",
                MOUNT_PATH,
                "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/",
            ]),
        ),
        ("readOnly", any::<bool>().prop_map(Value::from).boxed()),
    ])
}

fn container() -> impl Strategy<Value = Value> {
    object(vec![
        ("name", text(vec!["app", "proxy", "init"])),
        ("image", text(vec!["x"])),
        ("env", list(variable(), 0..4)),
        ("volumeMounts", list(volume_mount(), 0..3)),
    ])
}

fn volume() -> impl Strategy<Value = Value> {
    let token = object(vec![
        (
            "audience",
            text(vec!["sts.amazonaws.com", "pods.eks.amazonaws.com", "vault"]),
        ),
        ("path", text(vec!["token", "eks-pod-identity-token"])),
        ("expirationSeconds", Just(json!(3600)).boxed()),
    ]);
    let source = object(vec![
        ("serviceAccountToken", token.boxed()),
        ("configMap", Just(json!({})).boxed()),
    ]);
    let projected = object(vec![("sources", list(source, 0..3))]);
    prop_oneof![
        3 => object(vec![("name", text(vec!["data", "more"])), ("emptyDir", Just(json!({})).boxed())]),
        2 => object(vec![
            ("name", text(vec!["aws-iam-token", "eks-pod-identity-token"])), ("projected", projected.boxed()),
        ]),
    ]
}

fn pod() -> impl Strategy<Value = Value> {
    let annotations = object(vec![
        (
            "eks.amazonaws.com/skip-containers",
            text(vec!["proxy", "init,proxy", "nobody"]),
        ),
        (
            "eks.amazonaws.com/include-containers",
            text(vec!["app,init", "app", "nobody", "", "app,init,proxy"]),
        ),
        ("eks.amazonaws.com/token-expiration", text(vec!["3600", "1", "x"])),
    ])
    .prop_map(only_texts);
    let labels = object(vec![
        ("app", text(vec!["x"])),
        (POD_IDENTITY_LABEL, text(vec!["enabled", "no"])),
    ])
    .prop_map(only_texts);
    let owner = object(vec![
        ("kind", text(vec!["Job"])),
        ("name", text(vec!["x"])),
        ("controller", any::<bool>().prop_map(Value::from).boxed()),
    ]);
    let metadata = object(vec![
        ("name", text(vec!["job-1", "a"])),
        ("generateName", text(vec!["job-"])),
        ("labels", labels.boxed()),
        ("annotations", annotations.boxed()),
        ("ownerReferences", list(owner, 0..2)),
    ]);
    let spec = object(vec![
        ("serviceAccountName", text(vec!["reader", ""])),
        ("initContainers", list(container(), 0..3)),
        ("ephemeralContainers", list(container(), 0..2)),
        ("volumes", list(volume(), 0..4)),
        ("os", object(vec![("name", text(vec!["linux", "windows"]))]).boxed()),
        (
            "nodeSelector",
            object(vec![("kubernetes.io/os", text(vec!["linux", "windows"]))]).boxed(),
        ),
    ]);
    (
        object(vec![("metadata", metadata.boxed())]),
        spec,
        list(container(), 1..4),
    )
        .prop_map(|(mut pod, mut spec, containers)| {
            spec["containers"] = containers;
            pod["spec"] = spec;
            pod
        })
}

/// A map of strings, as labels and annotations are.
fn only_texts(map: Value) -> Value {
    let Value::Object(mut map) = map else { return map };
    map.retain(|_, value| value.is_string() || value.is_null());
    Value::Object(map)
}
