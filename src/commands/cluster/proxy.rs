//! The proxy between a command and the API server, as kubectl chooses it: `proxy-url` of the kubeconfig's cluster, else HTTPS_PROXY
//! (HTTP_PROXY if `server` is an http URL) unless NO_PROXY names the server. A loopback address is connected to directly, and in a pod, its
//! own cluster.
//!
//! kube 5 chooses differently: it compares NO_PROXY with the address of the proxy, including that of `proxy-url`, and rejects empty
//! elements.

use std::net::IpAddr;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// The proxy of the environment for an API server. `variable` returns the value of an environment variable.
///
/// # Errors
/// Which variable cannot be used, and why.
pub(super) fn of_environment(
    server: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, (String, String)> {
    let first = |name: &str| {
        [name.to_owned(), name.to_lowercase()]
            .into_iter()
            .find_map(|name| Some((variable(&name).filter(|value| !value.is_empty())?, name)))
    };
    let name = if server.scheme_str() == Some("http") {
        "HTTP_PROXY"
    } else {
        "HTTPS_PROXY"
    };
    let Some((value, name)) = first(name) else {
        return Ok(None);
    };
    let except = first("NO_PROXY").map(|(value, _)| value).unwrap_or_default();
    if is_loopback(server) || is_excepted(server, &except) {
        return Ok(None);
    }
    let value = if value.contains("://") {
        value
    } else {
        format!("http://{value}")
    };
    parse(&value).map(Some).map_err(|why| (name, why))
}

/// The URL of a proxy. An error does not repeat it: it can contain a password.
///
/// # Errors
/// Why it is not one.
pub(super) fn parse(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("not a URL ({error})"))?;
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err("not a URL such as http://proxy.example.com:3128".to_owned());
    };
    match scheme {
        "http" | "https" => Ok(url),
        "socks5" if authority.as_str().contains('@') => {
            Err("a user name and a password are supported for http and https, not for socks5".to_owned())
        }
        "socks5" if url.port().is_none() => {
            let url = Uri::builder().scheme("socks5").authority(format!("{authority}:1080"));
            url.path_and_query("/")
                .build()
                .map_err(|error| format!("not a URL ({error})"))
        }
        "socks5" => Ok(url),
        other => Err(format!(
            "the scheme {other} is not supported; the schemes are http, https and socks5"
        )),
    }
}

/// Whether a value of NO_PROXY names the server. Its elements are `*`, names with or without a leading `.` or `*.`, addresses and
/// networks; names and addresses can have a port.
fn is_excepted(server: &Uri, except: &str) -> bool {
    let port = server
        .port_u16()
        .unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let elements = except.split(',').filter_map(|element| {
        let element = element.trim();
        let element = element
            .strip_prefix('*')
            .filter(|name| name.starts_with('.'))
            .unwrap_or(element);
        match element.split_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(of))) => (of == port).then_some(host),
            _ => Some(element),
        }
    });
    let elements: Vec<&str> = elements.collect();
    let proxies = Matcher::builder().http("proxy").https("proxy").no(elements.join(","));
    proxies.build().intercept(server).is_none()
}

fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy for a server in an environment, or the variable that cannot be used.
    fn chosen(server: &str, environment: &[(&str, &str)]) -> Result<Option<String>, (String, String)> {
        let variable = |name: &str| {
            let set = environment.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        let proxy = of_environment(&server.parse().unwrap(), variable)?;
        Ok(proxy.map(|url| url.to_string()))
    }

    const SERVER: &str = "https://api.example.com:6443";

    #[test]
    fn the_variable_of_the_servers_scheme_names_the_proxy() {
        let both = [
            ("HTTP_PROXY", "http://plain:3128"),
            ("HTTPS_PROXY", "http://secure:3128"),
        ];
        for (server, proxy) in [
            (SERVER, "http://secure:3128/"),
            ("http://api.example.com:8080", "http://plain:3128/"),
        ] {
            assert_eq!(chosen(server, &both), Ok(Some(proxy.to_owned())), "{server}");
        }
        assert_eq!(chosen(SERVER, &[]), Ok(None));
        assert_eq!(chosen(SERVER, &[("HTTP_PROXY", "http://plain:3128")]), Ok(None));
        for (environment, proxy) in [
            (&[("https_proxy", "http://lower:1")][..], "http://lower:1/"),
            (
                &[("HTTPS_PROXY", ""), ("https_proxy", "http://lower:1")],
                "http://lower:1/",
            ),
            (
                &[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "x")],
                "http://upper:1/",
            ),
            (
                &[("HTTPS_PROXY", "proxy.example.com:3128")],
                "http://proxy.example.com:3128/",
            ),
            (
                &[("HTTPS_PROXY", "https://user:secret@proxy:3128")],
                "https://user:secret@proxy:3128/",
            ),
            (&[("HTTPS_PROXY", "socks5://proxy")], "socks5://proxy:1080/"),
            (&[("HTTPS_PROXY", "socks5://proxy:9050")], "socks5://proxy:9050/"),
        ] {
            assert_eq!(
                chosen(SERVER, environment),
                Ok(Some(proxy.to_owned())),
                "{environment:?}"
            );
        }
    }

    #[test]
    fn no_proxy_is_about_the_server() {
        let through = |server: &str, except: &str| {
            let environment = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", except)];
            chosen(server, &environment).unwrap().is_some()
        };
        for except in [
            "*",
            "api.example.com",
            "api.example.com:6443",
            ".example.com",
            "*.example.com",
            "example.com",
            "other,, API.example.com,",
        ] {
            assert!(!through(SERVER, except), "{except}");
        }
        for except in [
            "",
            "proxy",
            "other.example.com",
            "ample.com",
            "api.example.com:443",
            "10.0.0.0/8",
        ] {
            assert!(through(SERVER, except), "{except}");
        }
        assert!(!through("https://10.1.2.3", "10.0.0.0/8"));
        assert!(!through("https://10.1.2.3", "10.1.2.3:443"));
        assert!(!through("https://[2001:db8::1]", "2001:db8::1"));
        assert!(through("https://11.1.2.3", "10.0.0.0/8"));
        for loopback in ["https://localhost:6443", "https://127.0.0.1:6443", "https://[::1]:6443"] {
            assert!(!through(loopback, ""), "{loopback}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_password() {
        for (value, words) in [
            ("ftp://user:secret@proxy", "the scheme ftp is not supported"),
            ("socks5://user:secret@proxy", "not for socks5"),
            ("http://user:secret@pro xy", "not a URL"),
        ] {
            let (name, why) = chosen(SERVER, &[("https_proxy", value)]).unwrap_err();
            assert_eq!(name, "https_proxy");
            assert!(why.contains(words) && !why.contains("secret"), "{why}");
        }
        assert!(
            parse("proxy.example.com:3128")
                .unwrap_err()
                .contains("not a URL such as")
        );
        assert!(parse("/proxy").unwrap_err().contains("not a URL such as"));
    }
}
