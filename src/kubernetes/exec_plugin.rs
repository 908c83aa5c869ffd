//! The exec plugin of a kubeconfig: a program that prints a token or a client certificate (Kubernetes, "client-go credential plugins").
//!
//! kube would run it three times for each client: for the token, for the certificate, and for the expiry of the certificate. Some programs
//! take a second, or ask the user. This module runs it once, and again only when its token expires.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::Request;
use jiff::{SignedDuration, Timestamp};
use kube::client::{AuthError, Body};
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// How long before it expires a token is replaced, so that none expires on its way.
const EARLY: SignedDuration = SignedDuration::from_secs(10);

/// Replaces the exec plugin of `user` by what it prints: a client certificate in `user`, a token as what is returned. Does nothing if
/// `user` has no plugin, or something that kube uses instead of it.
///
/// # Errors
/// Why there are no credentials.
pub(super) fn log_in(user: &mut AuthInfo) -> Result<Option<PluginToken>, AuthError> {
    let has_other = user.auth_provider.is_some()
        || (user.username.is_some() && user.password.is_some())
        || user.token.is_some()
        || user.token_file.is_some();
    let Some(exec) = user.exec.take().filter(|_| !has_other) else {
        return Ok(None);
    };
    let Credentials { token, certificate } = run(&exec)?;
    if let Some(Certificate { certificate, key }) = certificate {
        user.client_certificate_data = Some(STANDARD.encode(certificate));
        user.client_key_data = Some(STANDARD.encode(key).into());
    }
    Ok(token.map(|token| PluginToken {
        exec: Arc::new(exec),
        current: Arc::new(Mutex::new(token)),
    }))
}

/// The token of an exec plugin.
#[derive(Clone, Debug)]
pub(super) struct PluginToken {
    exec: Arc<ExecConfig>,
    current: Arc<Mutex<Token>>,
}

impl PluginToken {
    /// A client that sends the token with what `client` sends.
    pub(super) fn on(self, client: kube::Client) -> kube::Client {
        let namespace = client.default_namespace().to_owned();
        let send = move |mut request: Request<Body>| {
            let (client, token) = (client.clone(), self.clone());
            async move {
                let value = token.header().await.map_err(kube::Error::Auth)?;
                request.headers_mut().insert(AUTHORIZATION, value);
                client.send(request).await
            }
        };
        kube::Client::new(tower::service_fn(send), namespace)
    }

    async fn header(&self) -> Result<HeaderValue, AuthError> {
        // Requests wait for the one that renews the token.
        let mut current = self.current.lock().await;
        if current
            .expires
            .is_some_and(|time| time.duration_since(Timestamp::now()) < EARLY)
        {
            let exec = Arc::clone(&self.exec);
            let renewed = spawn_blocking(move || run(&exec)).await;
            let renewed = renewed.map_err(|stopped| AuthError::AuthExec(stopped.to_string()))??;
            *current = renewed.token.ok_or(AuthError::UnrefreshableTokenResponse)?;
        }
        Ok(current.header.clone())
    }
}

/// What a plugin prints: a token, a certificate, or both.
struct Credentials {
    token: Option<Token>,
    certificate: Option<Certificate>,
}

#[derive(Debug)]
struct Token {
    header: HeaderValue,
    expires: Option<Timestamp>,
}

/// PEM.
struct Certificate {
    certificate: String,
    key: String,
}

/// Starts the plugin and waits until it ends.
fn run(exec: &ExecConfig) -> Result<Credentials, AuthError> {
    let program = exec.command.as_ref().ok_or(AuthError::MissingCommand)?;
    let may_ask = exec.interactive_mode != Some(ExecInteractiveMode::Never);
    // What is piped to a command, such as manifests, is not for the plugin.
    let asks = may_ask && std::io::stdin().is_terminal();
    if !asks && exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(AuthError::AuthExec(
            "its interactiveMode is Always, and standard input is not a terminal".to_owned(),
        ));
    }
    let mut command = Command::new(program);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    command
        .env("KUBERNETES_EXEC_INFO", info(exec, asks)?)
        .stdin(if asks { Stdio::inherit() } else { Stdio::null() })
        .stderr(if may_ask { Stdio::inherit() } else { Stdio::piped() });
    let out = command.output().map_err(AuthError::AuthExecStart)?;
    if !out.status.success() {
        return Err(AuthError::AuthExecRun {
            cmd: program.clone(),
            out: Box::new(out),
        });
    }
    parse(&out.stdout)
}

/// What the plugin gets in an environment variable.
fn info(exec: &ExecConfig, asks: bool) -> Result<String, AuthError> {
    let mut spec = json!({"interactive": asks});
    if exec.provide_cluster_info
        && let Some(spec) = spec.as_object_mut()
    {
        let cluster = exec.cluster.as_ref().ok_or(AuthError::ExecMissingClusterInfo)?;
        let cluster = serde_json::to_value(cluster).map_err(AuthError::AuthExecSerialize)?;
        spec.insert("cluster".to_owned(), cluster);
    }
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    Ok(info.to_string())
}

/// An `ExecCredential`. client-go reads YAML, too.
fn parse(printed: &[u8]) -> Result<Credentials, AuthError> {
    #[derive(Deserialize)]
    struct Printed {
        status: Option<Status>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        token: Option<String>,
        client_certificate_data: Option<String>,
        client_key_data: Option<String>,
        expiration_timestamp: Option<String>,
    }
    let printed: Printed =
        serde_saphyr::from_slice(printed).map_err(|error| AuthError::AuthExecParse(Box::new(error)))?;
    let status = printed.status.ok_or(AuthError::ExecPluginFailed)?;
    let expires = status.expiration_timestamp.filter(|time| !time.is_empty());
    let expires = expires
        .map(|time| time.parse())
        .transpose()
        .map_err(AuthError::MalformedTokenExpirationDate)?;
    let token = status.token.filter(|token| !token.is_empty());
    let token = token.map(|token| header(&token)).transpose()?;
    let certificate = status.client_certificate_data.zip(status.client_key_data);
    if token.is_none() && certificate.is_none() {
        return Err(AuthError::ExecPluginFailed);
    }
    Ok(Credentials {
        token: token.map(|header| Token { header, expires }),
        certificate: certificate.map(|(certificate, key)| Certificate { certificate, key }),
    })
}

fn header(token: &str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(AuthError::InvalidBearerToken)?;
    value.set_sensitive(true);
    Ok(value)
}
