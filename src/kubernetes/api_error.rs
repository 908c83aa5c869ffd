//! Messages for errors of the API server, of connections to it and of credentials.

use std::error::Error;
use std::io;
use std::process::Output;

use kube::client::AuthError;
use kube::config::ExecConfig;
use kube::core::Status;

use crate::support::text;

/// One line: `403 Forbidden: serviceaccounts is forbidden …`, or why a connection failed.
pub(crate) fn one_line(error: &kube::Error) -> String {
    let line = match error {
        kube::Error::Api(status) => return status_line(status),
        kube::Error::SerdeError(why) => format!("the response is not from a Kubernetes API server ({why})"),
        kube::Error::Auth(why) => of_credentials(why, None),
        other => connection(other).unwrap_or_else(|| chain(other)),
    };
    text::line(&line).into_owned()
}

/// Whether the API server answered, so that other requests can succeed.
pub(crate) const fn is_answer(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(_) | kube::Error::SerdeError(_))
}

/// What the person who ran a command can do about an error, to append to it.
pub(crate) fn next_step(error: &kube::Error) -> &'static str {
    const CHOOSE: &str = "; log in to the cluster again, or choose another one with --context";
    match error {
        kube::Error::Api(status) if status.code == 401 => CHOOSE,
        kube::Error::Api(_) => "",
        kube::Error::Auth(_) => CHOOSE,
        kube::Error::SerdeError(_) => {
            "; check the `server` of the kubeconfig, or choose another cluster with --context"
        }
        other if is_untrusted(other) => {
            "; the kubeconfig must have the CA of this cluster (certificate-authority-data) and the name that its certificate is for"
        }
        other if of_proxy(other).is_some() => {
            "; check the proxy in `proxy-url` of the kubeconfig's cluster or in HTTPS_PROXY, or choose another cluster with --context"
        }
        _ => "; check that the cluster runs and can be reached from here, or choose another one with --context",
    }
}

/// One line: code, reason, message.
pub(crate) fn status_line(status: &Status) -> String {
    let line = match (status.reason.as_str(), status.message.as_str()) {
        ("", "") => status.code.to_string(),
        ("", message) => format!("{}: {message}", status.code),
        (reason, "") => format!("{} {reason}", status.code),
        (reason, message) => format!("{} {reason}: {message}", status.code),
    };
    text::line(&line).into_owned()
}

/// Why there is no client, and what to do. `exec`: the program that gives the credentials. What it wrote to standard error is kept as it
/// is, so this can have several lines.
pub(crate) fn of_client(error: &kube::Error, exec: Option<&ExecConfig>) -> String {
    match error {
        kube::Error::Auth(error) => of_credentials(error, exec),
        other => format!("{}{}", one_line(other), next_step(other)),
    }
}

/// Why there are no credentials, and what to do.
fn of_credentials(error: &AuthError, exec: Option<&ExecConfig>) -> String {
    let program = exec.and_then(|exec| exec.command.as_deref()).unwrap_or_default();
    let plugin = if program.is_empty() {
        "the exec plugin of the kubeconfig".to_owned()
    } else {
        format!("exec plugin {} of the kubeconfig", text::quote(program))
    };
    match error {
        AuthError::AuthExecStart(why) if why.kind() == io::ErrorKind::NotFound => {
            let hint = exec.and_then(|exec| exec.install_hint.as_deref()).unwrap_or_default().trim();
            let found = if program.contains('/') { "does not exist" } else { "is not in PATH" };
            if hint.is_empty() {
                format!("{plugin} {found}; install it, or choose another cluster with --context")
            } else {
                format!("{plugin} {found}; the kubeconfig says how to install it:\n{hint}")
            }
        }
        AuthError::AuthExecStart(why) => format!("{plugin} cannot be started: {}; check that it is a program", without_code(why)),
        AuthError::AuthExecRun { out, .. } => failed_program(&plugin, out, exec),
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => format!(
            "{plugin} did not print an ExecCredential with a token or a client certificate; run it to see what it prints{}",
            shown(exec)
        ),
        AuthError::AuthExec(why) if exec.is_some() => format!("{plugin} cannot be started: {why}"),
        AuthError::MissingCommand => {
            "the user of the kubeconfig has an exec plugin without `command`; add it, or choose another cluster with --context".to_owned()
        }
        AuthError::ReadTokenFile(why, file) => format!("the token file {} cannot be read: {}", file.display(), without_code(why)),
        other => chain(other),
    }
}

/// A program that ended with an error. It writes to standard error itself, unless the kubeconfig says that it must not ask.
fn failed_program(plugin: &str, out: &Output, exec: Option<&ExecConfig>) -> String {
    let how = match out.status.code() {
        Some(code) => format!("exit code {code}"),
        None => "ended by a signal".to_owned(),
    };
    let printed = String::from_utf8_lossy(&out.stderr);
    let printed = printed.trim_end();
    if printed.is_empty() {
        format!(
            "{plugin} failed ({how}), see its output; to repeat it, run{}",
            shown(exec)
        )
    } else {
        format!("{plugin} failed ({how}):\n{printed}")
    }
}

/// The error in words, without its number.
fn without_code(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The command line of a program, to copy.
fn shown(exec: Option<&ExecConfig>) -> String {
    let Some(exec) = exec else {
        return " it".to_owned();
    };
    let arguments = exec.args.iter().flatten().map(String::as_str);
    let words = exec.command.as_deref().into_iter().chain(arguments);
    let quoted: Option<Vec<_>> = words.map(text::shell::word).collect();
    quoted.map_or_else(|| " it".to_owned(), |words| format!(": {}", words.join(" ")))
}

/// Why a connection failed. None if the error is about something else.
fn connection(error: &kube::Error) -> Option<String> {
    let kube::Error::Service(error) = error else {
        return None;
    };
    let proxy = of_proxy(error.as_ref());
    let peer = if proxy.is_some() { "the proxy" } else { "the API server" };
    let mut words = proxy.map(|why| format!("the proxy did not connect to the API server: {why}"));
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if let Some(why) = error.downcast_ref::<AuthError>() {
            return Some(of_credentials(why, None));
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = rustls_error(error) {
            return Some(format!("the certificate of the API server cannot be verified ({why})"));
        }
        if let Some(why) = rustls_error(error) {
            return Some(format!("TLS with the API server failed ({why})"));
        }
        if let Some(error) = error.downcast_ref().map(innermost) {
            words = match error.kind() {
                io::ErrorKind::ConnectionRefused => Some(format!("{peer} cannot be reached: connection refused")),
                io::ErrorKind::TimedOut => Some(format!("{peer} cannot be reached: it does not respond")),
                io::ErrorKind::UnexpectedEof if error.to_string().contains("tls") => {
                    Some("TLS with the API server failed: it closed the connection".to_owned())
                }
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                    Some(format!("{peer} closed the connection"))
                }
                _ if error.to_string().contains("lookup") => Some(format!("{peer} cannot be reached: {error}")),
                _ => words,
            };
        }
        cause = error.source();
    }
    words
}

/// Why a proxy could not be used, if the error is about one. hyper-util does not export the types of these errors.
fn of_proxy(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        let why = text
            .strip_prefix("tunnel error: ")
            .or_else(|| text.strip_prefix("SOCKS error: "));
        if let Some(why) = why {
            return Some(why.to_owned());
        }
        cause = error.source();
    }
    None
}

/// As rustls gives it, or in an I/O error.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    innermost(error.downcast_ref()?).get_ref()?.downcast_ref()
}

/// The I/O error that others only wrap. The source of an I/O error is not the error that it contains, but the source of that.
fn innermost(error: &io::Error) -> &io::Error {
    let mut error = error;
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        error = inner;
    }
    error
}

/// Whether the certificate of the API server could not be verified.
fn is_untrusted(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if matches!(rustls_error(error), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error and its causes, without causes that repeat the text so far.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    text::line(&line).into_owned()
}
