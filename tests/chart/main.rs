//! The rendered Helm chart: what is true for every installation, what each value does, which values are rejected, and that the chart's
//! documents are accurate.

mod alerts;
mod documents;
mod flags;
mod helm_3;
mod image;
mod kept;
mod metadata;
mod metrics;
mod no_effect;
mod notes;
mod nulls;
mod packaged;
mod permissions;
mod refused;
mod settings;
mod webhooks;
mod workload;

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The namespace that the chart is rendered for.
const NAMESPACE: &str = "rolegate-system";

/// The image of installations whose values do not name one.
const IMAGE: &str = "registry.local/rolegate";

/// Helm and the chart.
struct Chart {
    helm: PathBuf,
}

/// `None` if Helm is not available; standard error then reports what is not run.
fn chart() -> Option<Chart> {
    match support::tools::helm() {
        Ok(helm) => Some(Chart { helm }),
        Err(missing) => {
            missing.skip("the tests of the Helm chart");
            None
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/rolegate")
}

fn read(file: &str) -> String {
    let path = folder().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Chart {
    /// What `helm ARGUMENTS` prints with these values and an image, or its errors.
    fn helm(&self, arguments: &[&str], values: &Value) -> Result<String, String> {
        let mut values = values.clone();
        if values.get("image").is_none() {
            values["image"] = json!({});
        }
        if let Some(image) = values["image"].as_object_mut() {
            image.entry("repository").or_insert_with(|| json!(IMAGE));
        }
        self.helm_without_image(arguments, &values)
    }

    /// The same with nothing but these values.
    fn helm_without_image(&self, arguments: &[&str], values: &Value) -> Result<String, String> {
        self.run_with_input(&[arguments, &["--values", "-"]].concat(), &values.to_string())
    }

    /// The same for a command that takes no values.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        self.run_with_input(arguments, "")
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(&self.helm)
            .args(arguments)
            // Neither a cluster nor a user's settings are part of what is tested.
            .env("KUBECONFIG", "/dev/null")
            .env("HELM_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            .env("HELM_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"))
            .env("HELM_DATA_HOME", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(input.as_bytes()).unwrap();
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    fn try_render(&self, values: &Value) -> Result<Rendered, String> {
        self.try_render_in(NAMESPACE, values)
    }

    fn try_render_in(&self, namespace: &str, values: &Value) -> Result<Rendered, String> {
        let chart = folder();
        let arguments = [
            "template",
            "rolegate",
            chart.to_str().unwrap(),
            "--namespace",
            namespace,
        ];
        self.helm(&arguments, values)
            .map(|text| Rendered::read(text, namespace))
    }

    /// What is installed in [`NAMESPACE`] with these values.
    fn render(&self, values: &Value) -> Rendered {
        self.try_render(values)
            .unwrap_or_else(|error| panic!("{values}: {error}"))
    }
}

/// What Helm rendered.
struct Rendered {
    text: String,
    namespace: String,
    objects: Vec<Value>,
}

impl Rendered {
    fn read(text: String, namespace: &str) -> Self {
        let objects: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).expect("Helm renders YAML");
        Self {
            namespace: namespace.to_owned(),
            objects: objects.into_iter().flatten().collect(),
            text,
        }
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The only object of its kind, `helm test`'s left out.
    fn only(&self, kind: &str) -> &Value {
        let of_kind: Vec<_> = self
            .of_kind(kind)
            .into_iter()
            .filter(|object| !is_hook(object))
            .collect();
        match *of_kind {
            [object] => object,
            ref others => panic!("{} objects of kind {kind}", others.len()),
        }
    }

    fn named(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind)
            .into_iter()
            .find(|object| object["metadata"]["name"] == name)
    }

    fn deployment(&self) -> &Value {
        self.only("Deployment")
    }

    fn pod(&self) -> &Value {
        &self.deployment()["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    fn args(&self) -> Vec<&str> {
        texts(&self.container()["args"])
    }

    /// The values of a flag, in order.
    fn flag(&self, name: &str) -> Vec<&str> {
        let prefix = format!("--{name}=");
        self.args()
            .into_iter()
            .filter_map(|arg| arg.strip_prefix(&prefix))
            .collect()
    }

    /// The entries of both webhook configurations.
    fn entries(&self) -> Vec<Entry<'_>> {
        ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
            .flat_map(|configuration| {
                list(&configuration["webhooks"]).iter().map(|json| Entry {
                    kind: configuration["kind"].as_str().unwrap(),
                    json,
                })
            })
            .collect()
    }

    fn entry(&self, name: &str) -> Entry<'_> {
        self.entries()
            .into_iter()
            .find(|entry| entry.name() == name)
            .unwrap_or_else(|| panic!("no entry {name}"))
    }
}

/// An entry of a webhook configuration.
#[derive(Clone, Copy)]
struct Entry<'a> {
    kind: &'a str,
    json: &'a Value,
}

impl<'a> Entry<'a> {
    fn name(&self) -> &'a str {
        self.json["name"].as_str().unwrap()
    }

    fn path(&self) -> &'a str {
        self.json["clientConfig"]["service"]["path"].as_str().unwrap()
    }

    fn expressions(&self) -> &'a [Value] {
        list(&self.json["namespaceSelector"]["matchExpressions"])
    }

    /// `CREATE pods`, `UPDATE pods/ephemeralcontainers`, …
    fn asks_for(&self) -> Vec<String> {
        let mut asked = Vec::new();
        for rule in list(&self.json["rules"]) {
            for operation in texts(&rule["operations"]) {
                for resource in texts(&rule["resources"]) {
                    asked.push(format!("{operation} {resource}"));
                }
            }
        }
        asked
    }

    /// Whether a namespace of this name, with this gate label, is this entry's. As the API server does it.
    fn selects(&self, name: &str, gate: Option<&str>) -> bool {
        self.expressions().iter().all(|expression| {
            let value = match expression["key"].as_str().unwrap() {
                "kubernetes.io/metadata.name" => Some(name),
                "rolegate.io/gate" => gate,
                other => panic!("selected by {other}"),
            };
            let listed = || value.is_some_and(|value| texts(&expression["values"]).contains(&value));
            match expression["operator"].as_str().unwrap() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("operator {other}"),
            }
        })
    }
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"].get("helm.sh/hook").is_some()
}

/// The items of a list; none where there is no list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<&str> {
    list(value)
        .iter()
        .map(|item| item.as_str().unwrap_or_else(|| panic!("{item} is no text")))
        .collect()
}

/// The documented values files by name, and the defaults.
fn documented() -> Vec<(String, Value)> {
    let mut files: Vec<(String, Value)> = fs::read_dir(folder().join("examples"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let values = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap());
            (name.clone(), values.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    assert!(files.len() > 10, "the values files are gone");
    files.push(("the defaults".to_owned(), json!({})));
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    files
}

/// Runs a check over what is installed by the defaults and by each documented values file.
fn for_each_documented(check: impl Fn(&Rendered)) {
    static RENDERED: OnceLock<Vec<(String, Rendered)>> = OnceLock::new();
    let Some(chart) = chart() else { return };
    let rendered = RENDERED.get_or_init(|| {
        let render = |(name, values)| (name, chart.render(&values));
        documented().into_iter().map(render).collect()
    });
    for (name, rendered) in rendered {
        // Shown only when the check fails.
        println!("with {name}:");
        check(rendered);
    }
}
