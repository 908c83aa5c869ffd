//! The volumes of a pod, written to folders and followed as a kubelet does: the files are links through `..data`, which is
//! swapped to a new folder in one step when an object changes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;

type Content = BTreeMap<String, Vec<u8>>;

/// The volumes of one pod template.
pub(crate) struct Mounts {
    folder: PathBuf,
    client: Client,
    namespace: String,
    service_account: String,
    volumes: Vec<Value>,
    /// Where the container sees a folder, and where it really is; the longest path first.
    paths: Vec<(String, PathBuf)>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// By volume: what its files hold.
    content: HashMap<String, Content>,
    swaps: u64,
    tokens: HashMap<String, Vec<u8>>,
}

impl Mounts {
    pub(crate) fn new(folder: PathBuf, client: Client, namespace: &str, pod: &Value, container: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut paths: Vec<_> = list(&container["volumeMounts"])
            .map(|mount| {
                let within = folder
                    .join(text(&mount["name"]))
                    .join(mount["subPath"].as_str().unwrap_or_default());
                (text(&mount["mountPath"]).trim_end_matches('/').to_owned(), within)
            })
            .collect();
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self {
            folder,
            client,
            namespace: namespace.to_owned(),
            service_account: pod["serviceAccountName"].as_str().unwrap_or("default").to_owned(),
            volumes: list(&pod["volumes"]).cloned().collect(),
            paths,
            written: Mutex::default(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A text with the container's paths in it, with the real ones.
    pub(crate) fn map(&self, text: &str) -> String {
        let found = self.paths.iter().find_map(|(path, real)| {
            let at = text.find(path.as_str())?;
            let after = &text[at + path.len()..];
            // `/tls` is not part of `/tls-other`.
            let whole = after.is_empty() || after.starts_with(['/', ',', ':', '=']);
            whole.then(|| format!("{}{}{after}", &text[..at], real.display()))
        });
        found.unwrap_or_else(|| text.to_owned())
    }

    /// Writes what has changed. An error names what a kubelet would wait for.
    pub(crate) async fn sync(&self) -> Result<(), String> {
        for volume in &self.volumes {
            let name = volume["name"].as_str().unwrap_or_default();
            let content = self.read(volume).await?;
            self.write(name, content);
        }
        Ok(())
    }

    async fn read(&self, volume: &Value) -> Result<Content, String> {
        if volume["emptyDir"].is_object() {
            return Ok(Content::new());
        }
        if let Some(sources) = volume["projected"]["sources"].as_array() {
            let mut content = Content::new();
            for source in sources {
                content.extend(self.read_source(source).await?);
            }
            return Ok(content);
        }
        self.read_source(volume).await
    }

    async fn read_source(&self, source: &Value) -> Result<Content, String> {
        if let Some(secret) = source["secret"].as_object() {
            let name = secret.get("secretName").or_else(|| secret.get("name"));
            let data = self.secret(name.and_then(Value::as_str).unwrap_or_default()).await?;
            return select("Secret", &source["secret"], data);
        }
        if source["configMap"].is_object() {
            let name = source["configMap"]["name"].as_str().unwrap_or_default();
            let data = self.config_map(name).await?;
            return select("ConfigMap", &source["configMap"], data);
        }
        if source["serviceAccountToken"].is_object() {
            return self.token(&source["serviceAccountToken"]).await;
        }
        if source["downwardAPI"].is_object() {
            let items = list(&source["downwardAPI"]["items"]);
            return Ok(items
                .map(|item| {
                    let path = item["path"].as_str().unwrap_or_default().to_owned();
                    (path, self.namespace.clone().into_bytes())
                })
                .collect());
        }
        Err(format!("the harness knows no volume like {source}"))
    }

    async fn secret(&self, name: &str) -> Result<Option<Content>, String> {
        let secret = Api::<Secret>::namespaced(self.client.clone(), &self.namespace)
            .get_opt(name)
            .await
            .map_err(|error| error.to_string())?;
        Ok(secret.map(|secret| {
            let data = secret.data.unwrap_or_default();
            data.into_iter().map(|(key, value)| (key, value.0)).collect()
        }))
    }

    async fn config_map(&self, name: &str) -> Result<Option<Content>, String> {
        let map = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace)
            .get_opt(name)
            .await
            .map_err(|error| error.to_string())?;
        Ok(map.map(|map| {
            let text = map.data.unwrap_or_default().into_iter();
            let binary = map.binary_data.unwrap_or_default().into_iter();
            text.map(|(key, value)| (key, value.into_bytes()))
                .chain(binary.map(|(key, value)| (key, value.0)))
                .collect()
        }))
    }

    /// Asked for once: it outlives every test.
    async fn token(&self, wanted: &Value) -> Result<Content, String> {
        let path = wanted["path"].as_str().unwrap_or_default().to_owned();
        let known = self.written.lock().unwrap().tokens.get(&path).cloned();
        if let Some(token) = known {
            return Ok(Content::from([(path, token)]));
        }
        let audience = wanted["audience"].as_str();
        let token = request_token(&self.client, &self.namespace, &self.service_account, audience).await?;
        let token = token.into_bytes();
        self.written.lock().unwrap().tokens.insert(path.clone(), token.clone());
        Ok(Content::from([(path, token)]))
    }

    fn write(&self, volume: &str, content: Content) {
        let mut written = self.written.lock().unwrap();
        let folder = self.folder.join(volume);
        if written.content.get(volume) == Some(&content) {
            return;
        }
        written.swaps += 1;
        fs::create_dir_all(&folder).unwrap();
        if !content.is_empty() || written.content.contains_key(volume) {
            swap(&folder, &format!("..{}", written.swaps), &content);
        }
        written.content.insert(volume.to_owned(), content);
    }
}

/// A token of a ServiceAccount, for the API server or for another audience.
pub(crate) async fn request_token(
    client: &Client,
    namespace: &str,
    service_account: &str,
    audience: Option<&str>,
) -> Result<String, String> {
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.map(|audience| vec![audience.to_owned()]),
            expiration_seconds: Some(24 * 3600),
            bound_object_ref: None,
        }),
        ..TokenRequest::default()
    };
    let answer = Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .create_token_request(service_account, &PostParams::default(), &request)
        .await
        .map_err(|error| format!("no token for {namespace}/{service_account}: {error}"))?;
    Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
}

/// What a volume takes of an object's keys.
fn select(kind: &str, source: &Value, data: Option<Content>) -> Result<Content, String> {
    let optional = source["optional"].as_bool().unwrap_or(false);
    let Some(mut data) = data else {
        return if optional {
            Ok(Content::new())
        } else {
            Err(format!("there is no {kind} for {source}"))
        };
    };
    let Some(items) = source["items"].as_array() else {
        return Ok(data);
    };
    let mut chosen = Content::new();
    for item in items {
        let (key, path) = (
            item["key"].as_str().unwrap_or_default(),
            item["path"].as_str().unwrap_or_default(),
        );
        match data.remove(key) {
            Some(content) => {
                chosen.insert(path.to_owned(), content);
            }
            None if optional => {}
            None => return Err(format!("the {kind} has no key {key}")),
        }
    }
    Ok(chosen)
}

/// Makes `..data` a link to a new folder, in one step, and the files links through it.
fn swap(folder: &Path, new: &str, content: &Content) {
    let old = fs::read_link(folder.join("..data")).ok();
    for (path, bytes) in content {
        let path = folder.join(new).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::create_dir_all(folder.join(new)).unwrap();
    symlink(new, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();

    let wanted: Vec<&str> = content.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("..") && !wanted.contains(&name.as_str()) {
            fs::remove_file(folder.join(name)).unwrap();
        }
    }
    for name in wanted {
        if fs::symlink_metadata(folder.join(name)).is_err() {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
    if let Some(old) = old {
        let _ = fs::remove_dir_all(folder.join(old));
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
