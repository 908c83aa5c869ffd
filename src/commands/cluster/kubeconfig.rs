//! The cluster that the kubeconfig selects, as for kubectl: `--kubeconfig`, else the files of `KUBECONFIG`, else `~/.kube/config`;
//! in a pod without these, the pod's own cluster.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Uri;
use kube::Config;
use kube::config::{AuthInfo, Context, ExecAuthCluster, ExecConfig, Kubeconfig, NamedContext};
use pem::Pem;

use super::proxy;
use crate::args::cluster::ClusterSettings;
use crate::commands::input;
use crate::support::{files, text};

/// The variable that Kubernetes sets in every pod.
const IN_POD: &str = "KUBERNETES_SERVICE_HOST";

/// How many contexts an error lists.
const CONTEXTS_SHOWN: usize = 20;

/// A cluster that was named.
pub(super) struct NamedCluster {
    pub(super) config: Config,
    /// The program that gives the credentials.
    pub(super) exec: Option<ExecConfig>,
    /// Whether this process runs in it, in a pod.
    pub(super) is_own: bool,
}

impl NamedCluster {
    /// The address of its API server.
    pub(super) fn url(&self) -> String {
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }
}

/// Why there is no cluster.
#[derive(Debug)]
pub(super) enum NoCluster {
    /// Nothing names one.
    NotNamed(String),
    /// What names one cannot be used. Says what to do.
    Unusable(String),
}

impl fmt::Display for NoCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamed(why) | Self::Unusable(why) => f.write_str(why),
        }
    }
}

/// Finds the cluster.
///
/// # Errors
/// Why there is none.
pub(super) fn find(settings: &ClusterSettings) -> Result<NamedCluster, NoCluster> {
    let files = Files::of(settings);
    let (mut kubeconfig, read) = match files.read()? {
        Some(read) => read,
        None if std::env::var_os(IN_POD).is_some() && settings.context.is_none() => return own_cluster(),
        None => {
            let why = files.missing();
            return Err(match &settings.context {
                Some(context) => NoCluster::Unusable(format!("--context {context}: {why}")),
                None => NoCluster::NotNamed(why),
            });
        }
    };
    let contexts: Vec<&str> = kubeconfig.contexts.iter().map(|context| &*context.name).collect();
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = settings.context.as_deref().or(current) else {
        if contexts.is_empty() && std::env::var_os(IN_POD).is_some() {
            return own_cluster();
        }
        let choose = choose(&contexts);
        return Err(NoCluster::Unusable(format!("{read} has no current context; {choose}")));
    };
    let Some(context) = kubeconfig.contexts.iter().find(|context| context.name == name) else {
        let choose = choose(&contexts);
        return Err(NoCluster::Unusable(match settings.context {
            Some(_) => format!("--context {name}: {read} has no such context; {choose}"),
            None => format!("the current context {name} of {read} does not exist; {choose}"),
        }));
    };
    let context = context.clone();
    read_credentials(&mut kubeconfig, &context)
        .map_err(|why| NoCluster::Unusable(format!("{read}: {why}; correct it, or choose another --context")))?;
    let config = config(&kubeconfig, &context);
    let config = config.map_err(|why| NoCluster::Unusable(format!("{read}: {why}, or choose another --context")))?;
    Ok(NamedCluster {
        exec: config.auth_info.exec.clone(),
        config,
        is_own: false,
    })
}

/// The client configuration of a context. That of `Config::from_custom_kubeconfig` differs in its proxy.
///
/// # Errors
/// Why the context cannot be used, and what to do.
fn config(kubeconfig: &Kubeconfig, context: &NamedContext) -> Result<Config, String> {
    let Some(Context {
        cluster: name,
        user,
        namespace,
        ..
    }) = &context.context
    else {
        return Err(format!("the context {} is empty; add its `cluster`", context.name));
    };
    let mut clusters = kubeconfig.clusters.iter().filter(|cluster| cluster.name == *name);
    let Some(cluster) = clusters.next().and_then(|named| named.cluster.as_ref()) else {
        return Err(format!(
            "the context names cluster {name}, which does not exist; correct it"
        ));
    };
    let Some(server) = cluster.server.as_ref().filter(|server| !server.is_empty()) else {
        return Err("the cluster of the context has no `server`; add it".to_owned());
    };
    let server: Uri = server
        .parse()
        .map_err(|why| format!("the `server` of the cluster is not a URL ({why}); correct it"))?;
    let unusable = |why: &dyn fmt::Display| format!("cluster {name}: {}; correct it", text::line(&why.to_string()));
    // It contains the CA, from the file or the data.
    let described = ExecAuthCluster::try_from(cluster).map_err(|error| unusable(&error))?;
    let mut config = Config::new(server);
    if let Some(ca) = &described.certificate_authority_data {
        let blocks = pem::parse_many(ca).map_err(|error| unusable(&error))?;
        let certificates = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE");
        config.root_cert = Some(certificates.map(Pem::into_contents).collect());
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name.clone();
    config.proxy_url = match cluster.proxy_url.as_ref().filter(|url| !url.is_empty()) {
        Some(url) => {
            let url = proxy::parse(url);
            Some(url.map_err(|why| format!("`proxy-url` of cluster {name}: {why}; correct it"))?)
        }
        None => proxy::of_environment(&config.cluster_url, |name| std::env::var(name).ok())
            .map_err(|(variable, why)| format!("cluster {name}: {variable}: {why}; correct it"))?,
    };
    if let Some(namespace) = namespace.as_ref().filter(|namespace| !namespace.is_empty()) {
        config.default_namespace.clone_from(namespace);
    }
    // A user that does not exist has no credentials, as for kubectl.
    let mut users = kubeconfig
        .auth_infos
        .iter()
        .filter(|named| Some(&named.name) == user.as_ref());
    config.auth_info = users
        .next()
        .and_then(|named| named.auth_info.clone())
        .unwrap_or_default();
    if let Some(exec) = &mut config.auth_info.exec {
        exec.cluster = exec.provide_cluster_info.then_some(described);
    }
    Ok(config)
}

/// The cluster of the pod that this process runs in.
fn own_cluster() -> Result<NamedCluster, NoCluster> {
    let config = Config::incluster().map_err(|error| {
        NoCluster::Unusable(format!(
            "this pod has no credentials of its cluster ({error}); set automountServiceAccountToken of the pod or its ServiceAccount to \
             true, or select a cluster with --kubeconfig"
        ))
    })?;
    Ok(NamedCluster {
        config,
        exec: None,
        is_own: true,
    })
}

/// The files that can name a cluster.
enum Files {
    /// `--kubeconfig`.
    Flag(PathBuf),
    /// `KUBECONFIG`.
    Variable(Vec<PathBuf>),
    /// `~/.kube/config`; none without a home directory.
    Home(Option<PathBuf>),
}

impl Files {
    fn of(settings: &ClusterSettings) -> Self {
        if let Some(file) = &settings.kubeconfig {
            return Self::Flag(file.clone());
        }
        let variable = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let listed: Vec<PathBuf> = std::env::split_paths(&variable)
            .filter(|file| !file.as_os_str().is_empty())
            .collect();
        if listed.is_empty() {
            Self::Home(std::env::home_dir().map(|home| home.join(".kube/config")))
        } else {
            Self::Variable(listed)
        }
    }

    /// What the files say together, and how to call them in a message. None if there is no file. As kubectl, files of `KUBECONFIG` that
    /// do not exist are skipped, and the first file that sets something wins.
    fn read(&self) -> Result<Option<(Kubeconfig, String)>, NoCluster> {
        let files = match self {
            Self::Flag(file) => {
                let kubeconfig = read(file).map_err(|error| {
                    let why = files::why(&error);
                    NoCluster::Unusable(format!(
                        "--kubeconfig {}: {why}; specify the kubeconfig of the cluster",
                        file.display()
                    ))
                })?;
                return Ok(Some((kubeconfig, file.display().to_string())));
            }
            Self::Variable(files) => files.as_slice(),
            Self::Home(file) => file.as_slice(),
        };
        let mut merged: Option<Kubeconfig> = None;
        let mut names = Vec::new();
        for file in files {
            let name = file.display().to_string();
            let unreadable = |why: String| {
                let of = match self {
                    Self::Variable(_) => " (in KUBECONFIG)",
                    Self::Flag(_) | Self::Home(_) => "",
                };
                NoCluster::Unusable(format!(
                    "{name}{of}: {why}; correct it, or select another file with --kubeconfig"
                ))
            };
            let next = match read(file) {
                Ok(next) => next,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(files::why(&error))),
            };
            merged = Some(match merged {
                None => next,
                Some(merged) => merged.merge(next).map_err(|error| unreadable(error.to_string()))?,
            });
            names.push(name);
        }
        Ok(merged.map(|merged| (merged, names.join(", "))))
    }

    /// Why no file was read.
    fn missing(&self) -> String {
        match self {
            Self::Flag(file) => format!("{} does not exist", file.display()),
            Self::Variable(files) => {
                let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                format!(
                    "no file of KUBECONFIG exists ({})",
                    text::list(names.iter().map(String::as_str), CONTEXTS_SHOWN)
                )
            }
            Self::Home(Some(file)) => format!("KUBECONFIG is not set, and {} does not exist", file.display()),
            Self::Home(None) => "KUBECONFIG and HOME are not set".to_owned(),
        }
    }
}

/// The line and column of an error and what is wrong there, without the lines of the file around it.
fn yaml_error(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    let what = first.strip_prefix("failed to parse kubeconfig YAML: ").unwrap_or(first);
    what.strip_prefix("error: ").unwrap_or(what).to_owned()
}

/// One file, its paths absolute.
fn read(file: &Path) -> io::Result<Kubeconfig> {
    let text = input::text(file)?;
    let mut kubeconfig = Kubeconfig::from_yaml(&text).map_err(|error| {
        let why = format!("not a kubeconfig: {}", text::line(&yaml_error(&error.to_string())));
        io::Error::new(io::ErrorKind::InvalidData, why)
    })?;
    let directory = file.parent().unwrap_or(Path::new(""));
    let absolute = |path: &mut Option<String>| {
        if let Some(path) = path
            && !path.is_empty()
        {
            // An absolute path replaces the directory.
            *path = directory.join(&*path).display().to_string();
        }
    };
    for cluster in kubeconfig
        .clusters
        .iter_mut()
        .filter_map(|named| named.cluster.as_mut())
    {
        absolute(&mut cluster.certificate_authority);
    }
    for user in kubeconfig
        .auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
    {
        let AuthInfo {
            client_certificate,
            client_key,
            token_file,
            exec,
            ..
        } = user;
        absolute(client_certificate);
        absolute(client_key);
        absolute(token_file);
        // A bare name is looked up in PATH.
        if let Some(exec) = exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            absolute(&mut exec.command);
        }
    }
    Ok(kubeconfig)
}

/// Replaces the files that a context names (certificates and a key) by their content. kube would read them without a limit, and would wait
/// for the writer of a FIFO. A file with a token stays one, since its content changes.
fn read_credentials(kubeconfig: &mut Kubeconfig, context: &NamedContext) -> Result<(), String> {
    let Some(context) = &context.context else {
        return Ok(());
    };
    let mut clusters = kubeconfig.clusters.iter_mut();
    let cluster = clusters.find(|named| named.name == context.cluster);
    if let Some(cluster) = cluster.and_then(|named| named.cluster.as_mut())
        && cluster.certificate_authority_data.is_none()
        && let Some(file) = cluster.certificate_authority.take()
    {
        let of = format!("cluster {}: certificate-authority", context.cluster);
        cluster.certificate_authority_data = Some(content(&of, &file)?);
    }
    let Some(name) = &context.user else { return Ok(()) };
    let mut users = kubeconfig.auth_infos.iter_mut();
    let user = users.find(|named| named.name == *name);
    let Some(user) = user.and_then(|named| named.auth_info.as_mut()) else {
        return Ok(());
    };
    if user.client_certificate_data.is_none()
        && let Some(file) = user.client_certificate.take()
    {
        user.client_certificate_data = Some(content(&format!("user {name}: client-certificate"), &file)?);
    }
    if user.client_key_data.is_none()
        && let Some(file) = user.client_key.take()
    {
        user.client_key_data = Some(content(&format!("user {name}: client-key"), &file)?.into());
    }
    if let Some(file) = &user.token_file {
        content(&format!("user {name}: tokenFile"), file)?;
    }
    Ok(())
}

/// What a file contains, in base64.
fn content(of: &str, file: &str) -> Result<String, String> {
    let bytes = files::read(Path::new(file)).map_err(|error| format!("{of} {file}: {}", files::why(&error)))?;
    Ok(BASE64.encode(bytes))
}

/// The next step: the contexts to choose from.
fn choose(contexts: &[&str]) -> String {
    if contexts.is_empty() {
        return "it has no contexts; select another file with --kubeconfig".to_owned();
    }
    format!(
        "select one of its contexts with --context: {}",
        text::list(contexts.iter().copied(), CONTEXTS_SHOWN)
    )
}
