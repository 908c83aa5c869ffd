//! Containers for runc: an image made of the system's files, with the variables and mounts of a pod's container.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kubelet::{Access, Mount};
use crate::servers;
use crate::support::aws_sdks::{AwsSdk, Interpreter};

/// Where the SDK of the container is.
const SDK: &str = "/opt/sdk";

/// The image's list of certificate authorities.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// What runs in a container.
pub(crate) enum Program<'s> {
    /// A program that ends at once.
    True,
    /// The program of an SDK.
    Sdk(&'s AwsSdk),
}

/// Writes the bundle of a container into an empty folder.
pub(crate) fn write_bundle(
    folder: &Path,
    program: &Program<'_>,
    variables: &BTreeMap<String, String>,
    mounts: &[Mount],
    authorities: &str,
) {
    let image = folder.join("rootfs");
    let mut binds = write_image(&image, authorities);
    let command = match program {
        Program::True => vec!["/bin/true".to_owned()],
        Program::Sdk(sdk) => {
            binds.extend(sdk_binds(sdk, &image));
            command(sdk)
        }
    };
    let system = [
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
    ];
    let binds = binds.iter().chain(mounts).map(bind);
    let variables: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": command,
            "env": variables,
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "report-x7k2p",
        "mounts": system.into_iter().chain(binds).collect::<Vec<_>>(),
        // The network namespace is that of the servers.
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]},
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

fn bind(mount: &Mount) -> Value {
    let access = match mount.access {
        Access::ReadOnly => "ro",
        Access::ReadWrite => "rw",
    };
    json!({"destination": mount.path, "type": "bind", "source": mount.source, "options": ["rbind", "rprivate", access]})
}

/// Writes the image's own files, and returns what it has from the system. As in most images, `/var/run` is a symbolic link to `/run`.
fn write_image(image: &Path, authorities: &str) -> Vec<Mount> {
    for folder in [
        "dev",
        "etc/ssl/certs",
        "opt",
        "proc",
        "root",
        "run",
        "tmp",
        "usr",
        "var",
    ] {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    symlink("../run", image.join("var/run")).unwrap();
    let files = [
        ("etc/hosts", servers::hosts()),
        ("etc/nsswitch.conf", "hosts: files\npasswd: files\n".to_owned()),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n".to_owned()),
        (AUTHORITIES, authorities.to_owned()),
    ];
    for (file, content) in files {
        fs::write(image.join(file), content).unwrap();
    }
    let _ = fs::copy("/etc/ld.so.cache", image.join("etc/ld.so.cache"));
    let mut binds = vec![read_only("/usr", "/usr")];
    for folder in ["/bin", "/sbin", "/lib", "/lib64"] {
        match fs::read_link(folder) {
            Ok(target) => symlink(target, image.join(&folder[1..])).unwrap(),
            Err(_) if Path::new(folder).exists() => binds.push(read_only(folder, folder)),
            Err(_) => {}
        }
    }
    binds
}

fn sdk_binds(sdk: &AwsSdk, image: &Path) -> Vec<Mount> {
    let mut binds = vec![read_only(&sdk.folder, SDK)];
    if let Some(Interpreter::InFolder { prefix, .. } | Interpreter::Installed { prefix, .. }) = &sdk.interpreter
        && !prefix.starts_with("/usr")
    {
        binds.push(read_only(prefix, &prefix.to_string_lossy()));
    }
    if let Some(authorities) = &sdk.authorities {
        binds.push(read_only(
            image.join(AUTHORITIES),
            &format!("{SDK}/{}", authorities.display()),
        ));
    }
    binds
}

fn command(sdk: &AwsSdk) -> Vec<String> {
    let interpreter = sdk.interpreter.iter().map(|interpreter| match interpreter {
        Interpreter::InFolder { program, .. } => format!("{SDK}/{}", program.display()),
        Interpreter::Installed { program, .. } => program.display().to_string(),
    });
    interpreter.chain([format!("{SDK}/{}", sdk.program)]).collect()
}

fn read_only(source: impl Into<PathBuf>, path: &str) -> Mount {
    Mount {
        source: source.into(),
        path: path.to_owned(),
        access: Access::ReadOnly,
    }
}
