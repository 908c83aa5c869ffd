//! ServiceAccounts from manifests (`serve --standalone DIR`), and files that are read again while serving.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rolegate::kubernetes::container_credentials::ContainerCredentials;
use rolegate::kubernetes::identity_map::IdentityMap;
use rolegate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use rolegate::kubernetes::service_accounts::{Counts, Fetched, Stored};
use rolegate::pod::identity::AnnotationRules;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for what must happen: long enough for a busy machine, since no test may fail on time alone.
const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(10);

fn rules() -> Arc<AnnotationRules> {
    Arc::new(AnnotationRules {
        prefix: "eks.amazonaws.com/".to_owned(),
        compose: None,
    })
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// Replaces a file, so that a reader never sees half of it.
fn put(path: &Path, text: &str) {
    let new = path.with_file_name(".new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn load(dir: &Path) -> Result<ManifestServiceAccounts, String> {
    // Errors name files by the folder as it was given.
    ManifestServiceAccounts::load(dir, rules()).map_err(|error| error.to_string().replace(dir.to_str().unwrap(), "DIR"))
}

fn account(namespace: &str, name: &str, role: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  namespace: {namespace}\n  name: {name}\n  annotations:\n    \
         eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/{role}\n"
    )
}

fn role(accounts: &ManifestServiceAccounts, namespace: &str, name: &str) -> Option<String> {
    match accounts.stored(namespace, name) {
        Stored::Identity(identity) => identity.role().map(|role| role.name().to_owned()),
        Stored::Missing | Stored::Plain => None,
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "never happened: {what}");
}

#[test]
fn documents_and_lists_are_read_and_other_kinds_skipped() {
    let many = format!(
        "# two documents, and an empty one\n{}---\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: plain\n  uid: u-1\n",
        account("jobs", "trainer", "train")
    );
    let other_kinds = "\
apiVersion: apps/v1
kind: Deployment
metadata: 7
spec: {template: [1, 2]}
---
apiVersion: example.com/v1
kind: ServiceAccount
metadata: {annotations: {x: 1}}
---
apiVersion: example.com/v1
kind: WidgetList
items: [{kind: Widget}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
";
    let list = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ServiceAccount
  metadata:
    name: listed
    namespace: jobs
    annotations:
      eks.amazonaws.com/role-arn: nonsense
- apiVersion: v1
  kind: Secret
  metadata: {name: x}
";
    let typed_list = r#"
{"apiVersion": "v1", "kind": "ServiceAccountList", "items": [{"metadata": {"name": "in-json", "namespace": "jobs"}}]}
"#;
    let dir = folder(&[
        ("a.yaml", &many),
        ("b.yml", other_kinds),
        ("c.yaml", list),
        ("d.yaml", typed_list),
        ("e.yaml", ""),
        ("notes.txt", "{{{"),
        (".hidden.yaml", "{{{"),
    ]);
    fs::create_dir(dir.path().join("roles")).unwrap();
    fs::create_dir(dir.path().join("folder.yaml")).unwrap();

    let accounts = load(dir.path()).unwrap();
    assert_eq!(role(&accounts, "jobs", "trainer").as_deref(), Some("train"));
    assert_eq!(
        accounts.stored("default", "plain"),
        Stored::Plain,
        "without a namespace it is `default`"
    );
    assert_eq!(accounts.stored("jobs", "in-json"), Stored::Plain);
    assert_eq!(accounts.stored("jobs", "settings"), Stored::Missing);
    assert_eq!(
        accounts.counts(),
        Counts {
            with_role: 1,
            malformed: 1,
            without_role: 2
        }
    );
    let mut roles = Vec::new();
    accounts.for_each_role(&mut |role| roles.push(role.to_string()));
    assert_eq!(roles, ["arn:aws:iam::111122223333:role/train"]);
}

#[test]
fn a_broken_file_is_an_error_that_names_file_line_and_what_was_expected() {
    let cases = [
        ("a: [1\nb: 2\n", "DIR/bad.yaml:2: expected YAML: "),
        (
            "kind: ServiceAccount\nkind: ServiceAccount\n",
            "DIR/bad.yaml:2: expected YAML: ",
        ),
        (
            "\n\njust text\n",
            "DIR/bad.yaml:3: expected a Kubernetes object to be a mapping, not a string",
        ),
        (
            "- kind: ServiceAccount\n",
            "DIR/bad.yaml:1: expected a Kubernetes object to be a mapping, not a list",
        ),
        (
            "metadata: {name: x}\n",
            "DIR/bad.yaml:1: expected a Kubernetes object: it has no kind",
        ),
        (
            "kind: 7\n",
            "DIR/bad.yaml:1: expected kind to be a string, not a number or boolean: put it in quotes",
        ),
        (
            "kind: ServiceAccount\nmetadata: {name: x}\n",
            "DIR/bad.yaml:1: expected apiVersion: v1",
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\n",
            "DIR/bad.yaml:1: expected ServiceAccount to have metadata",
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  namespace: x\n",
            "DIR/bad.yaml:4: expected ServiceAccount to have metadata.name",
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: [x]\n",
            "DIR/bad.yaml:4: expected metadata.name to be a string, not a list",
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: x\n  annotations:\n    a: b\n    eks.amazonaws.com/token-expiration: 3600\n",
            "DIR/bad.yaml:7: expected `eks.amazonaws.com/token-expiration` in annotations to be a string, not a number or boolean: put it in quotes",
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: x\n  annotations: []\n",
            "DIR/bad.yaml:5: expected annotations to be a mapping, not a list",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n  a: b\n",
            "DIR/bad.yaml:4: expected items to be a list, not a mapping",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- kind: ServiceAccount\n  apiVersion: v1\n  metadata: x\n",
            "DIR/bad.yaml:6: expected metadata to be a mapping, not a string",
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\n---\nkind: [\n",
            "DIR/bad.yaml:5: expected YAML: ",
        ),
    ];
    for (text, expected) in cases {
        let dir = folder(&[
            ("a-good.yaml", &account("jobs", "trainer", "train")),
            ("bad.yaml", text),
        ]);
        let error = load(dir.path()).unwrap_err();
        assert!(error.starts_with(expected), "{text:?}:\n  {error}\n  {expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let dir = folder(&[]);
    fs::write(dir.path().join("bad.yaml"), b"kind: a\nname: \xff\n").unwrap();
    assert_eq!(load(dir.path()).unwrap_err(), "DIR/bad.yaml:2: expected UTF-8 text");
    assert!(
        load(&dir.path().join("absent"))
            .unwrap_err()
            .starts_with("DIR: cannot be read: ")
    );
}

#[tokio::test]
async fn a_change_is_read_while_serving_and_a_bad_edit_leaves_what_was_good() {
    let dir = folder(&[("a.yaml", &account("jobs", "trainer", "first"))]);
    let accounts = load(dir.path()).unwrap();
    accounts.keep_reading(POLL);
    let write = |name: &str, text: &str| put(&dir.path().join(name), text);

    write("a.yaml", &account("jobs", "trainer", "second"));
    eventually("changed", || {
        role(&accounts, "jobs", "trainer").as_deref() == Some("second")
    })
    .await;
    write("b.yaml", &account("jobs", "other", "other"));
    eventually("a new file", || {
        role(&accounts, "jobs", "other").as_deref() == Some("other")
    })
    .await;

    write("b.yaml", "kind: [");
    eventually("a bad edit", || accounts.reload_failures() == 1).await;
    assert_eq!(role(&accounts, "jobs", "other").as_deref(), Some("other"));
    sleep(POLL * 10).await;
    assert_eq!(accounts.reload_failures(), 1, "an edit counts once");

    write("b.yaml", &account("jobs", "other", "fixed"));
    eventually("fixed", || role(&accounts, "jobs", "other").as_deref() == Some("fixed")).await;
    fs::remove_file(dir.path().join("b.yaml")).unwrap();
    eventually("removed", || accounts.stored("jobs", "other") == Stored::Missing).await;
    assert_eq!(accounts.reload_failures(), 1);
    timeout(PATIENCE, accounts.stop()).await.expect("stopped");
}

/// Makes a FIFO that nothing writes to: a reader that opens it as usual waits forever.
fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn what_is_not_a_regular_file_or_too_long_is_an_error_that_names_it() {
    let dir = folder(&[("a.yaml", &account("jobs", "trainer", "train"))]);
    let bad = dir.path().join("bad.yaml");
    for (make, expected) in [
        (&fifo as &dyn Fn(&Path), "it is a FIFO, not a regular file"),
        (
            &|path| symlink("/dev/zero", path).unwrap(),
            "it is a device, not a regular file",
        ),
        (
            &|path| fs::File::create(path).unwrap().set_len(3 << 30).unwrap(),
            "it is longer than 16 MiB",
        ),
    ] {
        make(&bad);
        assert_eq!(
            load(dir.path()).unwrap_err(),
            format!("DIR/bad.yaml: cannot be read: {expected}")
        );
        fs::remove_file(&bad).unwrap();
    }
    fifo(&bad);
    let error = ContainerCredentials::load(&bad).unwrap_err().to_string();
    assert!(
        error.ends_with("bad.yaml: cannot be read: it is a FIFO, not a regular file"),
        "{error}"
    );
}

#[tokio::test]
async fn the_accounts_of_a_folder_that_becomes_empty_stay_until_a_file_says_that_there_are_none() {
    let dir = folder(&[
        ("a.yaml", &account("jobs", "trainer", "train")),
        ("b.yaml", &account("jobs", "other", "other")),
    ]);
    let accounts = load(dir.path()).unwrap();
    let fetch = async |name: &str| accounts.fetch("jobs", name, Instant::now() + PATIENCE).await;
    fs::remove_file(dir.path().join("b.yaml")).unwrap();
    assert_eq!(fetch("other").await, Fetched::NotFound, "others remain");
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    for _ in 0..3 {
        assert!(matches!(fetch("trainer").await, Fetched::Found { .. }));
    }
    assert_eq!(accounts.reload_failures(), 1);
    // Nor does a manifest that becomes something else.
    fs::create_dir(dir.path().join("a.yaml")).unwrap();
    assert!(matches!(fetch("trainer").await, Fetched::Found { .. }));
    assert_eq!(accounts.reload_failures(), 2);
    fs::remove_dir(dir.path().join("a.yaml")).unwrap();
    fs::write(dir.path().join("none.yaml"), "").unwrap();
    assert_eq!(fetch("trainer").await, Fetched::NotFound);
    assert_eq!(accounts.reload_failures(), 2);
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_when_its_symlink_is_swapped() {
    let dir = folder(&[]);
    let version = |number: usize, role: &str| {
        let data = dir.path().join(format!("..data_{number}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("accounts.yaml"), account("jobs", "trainer", role)).unwrap();
        let swap = dir.path().join("..data_tmp");
        symlink(&data, &swap).unwrap();
        fs::rename(&swap, dir.path().join("..data")).unwrap();
    };
    version(1, "first");
    symlink("..data/accounts.yaml", dir.path().join("accounts.yaml")).unwrap();
    let accounts = load(dir.path()).unwrap();
    assert_eq!(role(&accounts, "jobs", "trainer").as_deref(), Some("first"));
    accounts.keep_reading(POLL);
    version(2, "second");
    eventually("swapped", || {
        role(&accounts, "jobs", "trainer").as_deref() == Some("second")
    })
    .await;
}

#[tokio::test]
async fn a_lookup_reads_the_folder_as_it_is_now() {
    let dir = folder(&[]);
    let accounts = load(dir.path()).unwrap();
    let fetch = async |name: &str| accounts.fetch("jobs", name, Instant::now() + PATIENCE).await;
    assert_eq!(fetch("trainer").await, Fetched::NotFound);
    fs::write(dir.path().join("a.yaml"), account("jobs", "trainer", "train")).unwrap();
    let Fetched::Found {
        uid: None,
        identity: Some(identity),
    } = fetch("trainer").await
    else {
        panic!("not found")
    };
    assert_eq!(identity.role().unwrap().name(), "train");
}

#[tokio::test]
async fn the_identity_map_of_a_folder_follows_its_manifest() {
    let map = |config: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: pod-identity-webhook, namespace: kube-system}}\ndata:\n  config: '{config}'\n"
        )
    };
    let entry = |role: &str| {
        map(&format!(
            r#"{{"*/trainer": {{"RoleARN": "arn:aws:iam::111122223333:role/{role}"}}}}"#
        ))
    };
    let dir = folder(&[("map.yaml", &entry("first")), ("others.yaml", "")]);
    let accounts = load(dir.path()).unwrap();
    let follow = || IdentityMap::from_manifests(&accounts, "kube-system", "pod-identity-webhook", rules());
    let identities = follow().unwrap();
    let role = || {
        identities
            .lookup("jobs", "trainer")
            .map(|identity| identity.role().unwrap().name().to_owned())
    };
    assert!(identities.is_synced());
    assert_eq!(role().as_deref(), Some("first"));

    accounts.keep_reading(POLL);
    put(&dir.path().join("map.yaml"), &entry("second"));
    eventually("changed", || role().as_deref() == Some("second")).await;
    put(&dir.path().join("map.yaml"), &map("{"));
    eventually("a bad edit", || identities.reload_failures() == 1).await;
    assert_eq!(role().as_deref(), Some("second"));
    let error = follow().unwrap_err().to_string();
    assert!(
        error.starts_with("ConfigMap kube-system/pod-identity-webhook: expected JSON"),
        "{error}"
    );
    fs::remove_file(dir.path().join("map.yaml")).unwrap();
    eventually("removed", || role().is_none()).await;
}

#[tokio::test]
async fn the_container_credentials_file_is_read_again_and_its_last_good_content_stays() {
    let dir = folder(&[(
        "config.json",
        r#"{"identities": [{"namespace": "jobs", "serviceAccount": "trainer", "later": 1}]}"#,
    )]);
    let path = dir.path().join("config.json");
    let credentials = ContainerCredentials::load(&path).unwrap();
    assert!(credentials.contains("jobs", "trainer"));
    assert!(!credentials.contains("jobs", "other") && !credentials.contains("trainer", "jobs"));

    credentials.keep_reading(POLL);
    put(
        &path,
        r#"{"identities": [{"namespace": "jobs", "serviceAccount": "other"}]}"#,
    );
    eventually("changed", || credentials.contains("jobs", "other")).await;
    assert!(!credentials.contains("jobs", "trainer"));
    put(&path, r#"{"identities": [{"namespace": "jobs"}]}"#);
    eventually("a bad edit", || credentials.reload_failures() == 1).await;
    assert!(credentials.contains("jobs", "other"));
    put(&path, r#"{"identities": []}"#);
    eventually("fixed", || !credentials.contains("jobs", "other")).await;
    timeout(PATIENCE, credentials.stop()).await.expect("stopped");

    fs::write(&path, "{\n\"identities\": [{\"namespace\": \"jobs\"}]}").unwrap();
    let error = ContainerCredentials::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("config.json: expected {\"identities\"") && error.contains("line 2"),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    assert!(
        ContainerCredentials::load(&path)
            .unwrap_err()
            .to_string()
            .contains("config.json: cannot be read")
    );
}
