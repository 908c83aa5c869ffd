//! The flags of amazon-eks-pod-identity-webhook (v0.6): those with the same meaning under another name are accepted with a note, and the
//! others are rejected with an error that names the replacement.

use std::ffi::{OsStr, OsString};

use Treatment::{Only, Port, Refused, Renamed, Same};

/// What happens to a flag of the peer.
#[derive(Clone, Copy, Debug)]
enum Treatment {
    /// The flag has the same name here.
    Same,
    /// It has this name here.
    Renamed(&'static str),
    /// A port, which is part of this address here.
    Port(&'static str),
    /// These values change nothing here; others are refused.
    Only(&'static [&'static str], &'static str),
    /// What to do instead.
    Refused(&'static str),
}

/// Whether a flag takes a value: `--flag VALUE`, not only `--flag=VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Value,
    Switch,
}

use Kind::{Switch, Value};

const CERTIFICATE: &str =
    "set --tls-cert and --tls-key, or --tls-secret NAMESPACE/NAME and --tls-names SERVICE.NAMESPACE.svc";
const STDERR: &str = "remove it: the log is written to standard error";
const LOG: &str = "remove it: --log-level and --log-format configure the log";

/// The name of a flag, and how it is treated.
type Row = (&'static str, Kind, Treatment);

/// Every flag of the peer, those of klog included.
const FLAGS: [Row; 45] = [
    ("port", Value, Port("listen")),
    ("metrics-port", Value, Port("admin-listen")),
    ("kubeconfig", Value, Same),
    ("kube-api", Value, Refused("name the cluster with --kubeconfig FILE")),
    ("tls-key", Value, Same),
    ("tls-cert", Value, Same),
    (
        "tls-cipher-suites",
        Value,
        Refused("remove it: the cipher suites are those of rustls for TLS 1.2 and 1.3, and cannot be configured"),
    ),
    (
        "tls-min-version",
        Value,
        Only(
            &["1.2"],
            "remove it: TLS 1.2 and 1.3 are served, and this cannot be changed",
        ),
    ),
    ("in-cluster", Switch, Only(&["false"], CERTIFICATE)),
    ("service-name", Value, Refused("set --tls-names SERVICE.NAMESPACE.svc")),
    (
        "namespace",
        Value,
        Refused("the namespace is part of --tls-secret NAMESPACE/NAME and --identity-config-map NAMESPACE/NAME"),
    ),
    ("tls-secret", Value, Same),
    ("annotation-prefix", Value, Same),
    ("token-audience", Value, Same),
    ("token-mount-path", Value, Same),
    ("token-expiration", Value, Same),
    ("aws-default-region", Value, Renamed("aws-region")),
    ("sts-regional-endpoint", Switch, Renamed("sts-regional-endpoints")),
    (
        "watch-config-map",
        Switch,
        Only(&["false"], "set --identity-config-map NAMESPACE/pod-identity-webhook"),
    ),
    ("compose-role-arn", Switch, Same),
    (
        "watch-container-credentials-config",
        Value,
        Renamed("container-credentials-config"),
    ),
    ("container-credentials-audience", Value, Same),
    ("container-credentials-token-mount-path", Value, Same),
    ("container-credentials-token-volume-name", Value, Same),
    ("container-credentials-token-path", Value, Same),
    ("container-credentials-full-uri", Value, Same),
    ("version", Switch, Refused("run `rolegate --version`")),
    (
        "enable-debugging-handlers",
        Switch,
        Only(
            &["false"],
            "remove it: /metrics and /roles of --admin-listen show what is in memory",
        ),
    ),
    (
        "service-account-lookup-grace-period",
        Value,
        Only(
            &["0", "0s"],
            "remove it: a ServiceAccount that is not in memory is read from the API server",
        ),
    ),
    (
        "resync-period",
        Value,
        Refused("remove it: ServiceAccounts are watched, and listed again when a watch breaks"),
    ),
    ("logtostderr", Switch, Only(&["true"], STDERR)),
    ("alsologtostderr", Switch, Only(&["true", "false"], STDERR)),
    ("log_dir", Value, Refused(STDERR)),
    ("log_file", Value, Refused(STDERR)),
    ("log_file_max_size", Value, Refused(STDERR)),
    ("legacy_stderr_threshold_behavior", Switch, Refused(LOG)),
    ("stderrthreshold", Value, Refused(LOG)),
    ("alsologtostderrthreshold", Value, Refused(LOG)),
    ("v", Value, Refused("set --log-level, such as --log-level debug")),
    ("vmodule", Value, Refused(LOG)),
    ("log_backtrace_at", Value, Refused(LOG)),
    ("add_dir_header", Switch, Refused(LOG)),
    ("skip_headers", Switch, Refused(LOG)),
    ("skip_log_headers", Switch, Refused(LOG)),
    ("one_output", Switch, Refused(LOG)),
];

/// The flags of `serve` with our names, and a note per flag that was changed.
#[derive(Debug, Default)]
pub(in crate::args) struct Translated {
    pub(in crate::args) arguments: Vec<OsString>,
    pub(in crate::args) notes: Vec<String>,
    /// What to do about each flag that is not accepted.
    pub(in crate::args) refused: Vec<String>,
}

/// Translates the arguments after `serve`.
pub(in crate::args) fn translate(arguments: &[OsString]) -> Translated {
    let mut translated = Translated::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            translated.arguments.push(argument.clone());
            translated.arguments.extend(rest.cloned());
            break;
        }
        let Some((flag, written, (_, kind, treatment))) = known(argument) else {
            translated.arguments.push(argument.clone());
            continue;
        };
        if matches!(treatment, Same) {
            translated.arguments.push(argument.clone());
            continue;
        }
        let value = match (written, kind) {
            (Some(value), _) => Some(value.to_owned()),
            (None, Switch) => Some("true".to_owned()),
            (None, Value) => rest.next().map(|next| next.to_string_lossy().into_owned()),
        };
        translated.take(flag, value, treatment);
    }
    translated
}

/// The flag as it was written, its value after `=`, and its entry in the table.
fn known(argument: &OsStr) -> Option<(&str, Option<&str>, Row)> {
    let argument = argument.to_str()?;
    let (flag, value) = match argument.split_once('=') {
        Some((flag, value)) => (flag, Some(value)),
        None => (argument, None),
    };
    // klog's flag of one letter is a short flag, too.
    let name = flag
        .strip_prefix("--")
        .or_else(|| flag.strip_prefix('-').filter(|name| *name == "v"))?;
    let entry = FLAGS.iter().find(|(peer, ..)| *peer == name)?;
    Some((flag, value, *entry))
}

impl Translated {
    /// Accepts or refuses one flag. Without a value, which the flag requires, clap reports ours.
    fn take(&mut self, flag: &str, value: Option<String>, treatment: Treatment) {
        const PEER: &str = "of amazon-eks-pod-identity-webhook";
        match (treatment, value) {
            (Renamed(_) | Port(_) | Refused(_), Some(value)) if value.is_empty() => {
                self.notes
                    .push(format!("{flag} {PEER} is ignored, because it is empty"));
            }
            (Renamed(ours), value) => {
                let ours = format!("--{ours}");
                self.notes
                    .push(format!("{flag} {PEER} has the name {ours} in rolegate"));
                self.arguments.push(match value {
                    Some(value) => format!("{ours}={value}").into(),
                    None => ours.into(),
                });
            }
            (Port(ours), Some(port)) => {
                let ours = format!("--{ours}=:{port}");
                self.notes
                    .push(format!("{flag} {port} {PEER} has the name {ours} in rolegate"));
                self.arguments.push(ours.into());
            }
            (Port(ours), None) => self.arguments.push(format!("--{ours}").into()),
            (Only(values, _), Some(value)) if values.contains(&value.as_str()) => {
                self.notes.push(format!("{flag}={value} {PEER} is not needed"));
            }
            (Only(_, instead) | Refused(instead), _) => self.refused.push(format!("{flag} {PEER}: {instead}")),
            (Same, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::clap;

    fn arguments(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    /// Every row of the table, as the peer's users write it.
    #[test]
    fn every_flag_is_the_same_here_or_renamed_or_refused_with_what_replaces_it() {
        let clap = clap();
        let serve = clap.find_subcommand("serve").unwrap();
        let is_ours = |name: &str| serve.get_arguments().any(|argument| argument.get_long() == Some(name));
        for (name, kind, treatment) in FLAGS {
            let flag = format!("--{name}");
            let written = match kind {
                Value => arguments(&[&flag, "7", "--drain", "5s"]),
                Switch => arguments(&[&flag, "--drain", "5s"]),
            };
            let Translated {
                arguments: ours,
                notes,
                refused,
            } = translate(&written);
            let rest = arguments(&["--drain", "5s"]);
            match treatment {
                Same => {
                    assert!(is_ours(name), "{flag}");
                    assert_eq!((ours, notes.len(), refused.len()), (written, 0, 0), "{flag}");
                }
                Renamed(new) => {
                    assert!(is_ours(new) && !is_ours(name), "{flag}");
                    let value = if kind == Value { "7" } else { "true" };
                    let expected = [arguments(&[&format!("--{new}={value}")]), rest].concat();
                    assert_eq!((ours, refused.len()), (expected, 0), "{flag}");
                    assert!(
                        notes[0].starts_with(&flag) && notes[0].contains(&format!("--{new} ")),
                        "{notes:?}"
                    );
                }
                Port(new) => {
                    assert!(is_ours(new) && !is_ours(name), "{flag}");
                    let expected = [arguments(&[&format!("--{new}=:7")]), rest].concat();
                    assert_eq!((ours, refused.len()), (expected, 0), "{flag}");
                    assert!(notes[0].starts_with(&flag), "{notes:?}");
                }
                Only(values, instead) => {
                    assert!(!is_ours(name), "{flag}");
                    for value in values {
                        let taken = translate(&arguments(&[&format!("{flag}={value}")]));
                        assert_eq!(
                            (taken.arguments.len(), taken.notes.len(), taken.refused.len()),
                            (0, 1, 0),
                            "{flag}"
                        );
                    }
                    let other = translate(&arguments(&[&format!("{flag}=7")]));
                    assert_eq!(other.notes.len(), 0, "{flag}");
                    assert!(
                        other.refused[0].starts_with(&flag) && other.refused[0].contains(instead),
                        "{flag}"
                    );
                }
                Refused(instead) => {
                    assert!(!is_ours(name), "{flag}");
                    assert_eq!((ours, notes.len()), (rest, 0), "{flag}");
                    assert!(refused[0].starts_with(&flag) && refused[0].contains(instead), "{flag}");
                }
            }
            // What a hint names exists.
            if let Only(_, instead) | Refused(instead) = treatment {
                for word in instead
                    .split([' ', ',', ':'])
                    .filter_map(|word| word.strip_prefix("--"))
                {
                    assert!(
                        is_ours(word.trim_end_matches('`')) || word == "version`",
                        "{flag}: --{word}"
                    );
                }
            }
        }
    }

    #[test]
    fn values_stay_what_they_are() {
        for (written, ours) in [
            (
                &["--aws-default-region", "us-west-2"][..],
                &["--aws-region=us-west-2"][..],
            ),
            (&["--aws-default-region="], &[]),
            (&["--sts-regional-endpoint=false"], &["--sts-regional-endpoints=false"]),
            (
                &["--port=8443", "--mode", "warn"],
                &["--listen=:8443", "--mode", "warn"],
            ),
            (&["--port"], &["--listen"]),
            (&["--listen", ":1", "--", "--port"], &["--listen", ":1", "--", "--port"]),
            (&["--log-level", "debug"], &["--log-level", "debug"]),
        ] {
            let translated = translate(&arguments(written));
            assert_eq!(translated.arguments, arguments(ours), "{written:?}");
            assert!(translated.refused.is_empty(), "{written:?}");
        }
        for verbosity in [&["-v=4"][..], &["-v", "4"], &["--v=4"], &["--v", "4"]] {
            let translated = translate(&arguments(verbosity));
            assert!(translated.refused[0].contains("--log-level debug"), "{verbosity:?}");
            assert!(translated.arguments.is_empty(), "{verbosity:?}");
        }
    }
}
