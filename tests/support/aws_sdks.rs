//! The AWS SDKs that tests run: boto3, and those for JavaScript and Go, each at the version that `tests/sdk/` pins.
//!
//! They are installed once by pip, npm and Go into the user's cache folder, under a name that changes with the pins.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{Missing, go, install, run};

/// An SDK with a program that resolves credentials with its default chain.
#[derive(Clone, Debug)]
pub struct AwsSdk {
    pub name: &'static str,
    /// The folder of the SDK and its program.
    pub folder: PathBuf,
    /// The interpreter, if it needs one.
    pub interpreter: Option<Interpreter>,
    /// The program, relative to the folder.
    pub program: &'static str,
    /// The SDK's own list of certificate authorities, relative to the folder, if it does not use that of the system.
    pub authorities: Option<PathBuf>,
}

/// What runs a program.
#[derive(Clone, Debug)]
pub enum Interpreter {
    /// In the SDK's folder, relative to it; it needs the files below `prefix`.
    InFolder { program: PathBuf, prefix: PathBuf },
    /// Installed on the system, below `prefix`.
    Installed { program: PathBuf, prefix: PathBuf },
}

/// All of them, installed.
pub fn aws_sdks() -> Result<[AwsSdk; 3], Missing> {
    Ok([boto3()?, javascript()?, go_sdk()?])
}

fn boto3() -> Result<AwsSdk, Missing> {
    let folder = install_sdk("boto3", &["main.py", "requirements.txt"], |folder| {
        run(
            Command::new("python3").args(["-m", "venv"]).arg(folder),
            "python3 with venv",
        )?;
        run(
            Command::new(folder.join("bin/python3"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                ])
                .args(["-r", "requirements.txt"])
                .current_dir(folder),
            "pip",
        )
        .map(|_| ())
    })?;
    let python = PathBuf::from("bin/python3");
    let prefix = run(
        Command::new(folder.join(&python)).args(["-c", "import sys; print(sys.base_prefix)"]),
        "python3",
    )?;
    let bundle = run(
        Command::new(folder.join(&python)).args(["-c", "from botocore.httpsession import where; print(where())"]),
        "boto3",
    )?;
    let bundle = Path::new(bundle.trim());
    Ok(AwsSdk {
        name: "boto3",
        interpreter: Some(Interpreter::InFolder {
            program: python,
            prefix: PathBuf::from(prefix.trim()),
        }),
        program: "main.py",
        authorities: bundle.strip_prefix(&folder).ok().map(Path::to_owned),
        folder,
    })
}

fn javascript() -> Result<AwsSdk, Missing> {
    let node = run(
        Command::new("node").args(["-p", "require('fs').realpathSync(process.execPath)"]),
        "Node.js 18 or later",
    )?;
    let node = PathBuf::from(node.trim());
    let folder = install_sdk(
        "javascript",
        &["main.mjs", "package.json", "package-lock.json"],
        |folder| {
            run(
                Command::new("npm")
                    .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                    .current_dir(folder),
                "npm",
            )
            .map(|_| ())
        },
    )?;
    let prefix = node
        .parent()
        .and_then(Path::parent)
        .expect("node is in a folder `bin`")
        .to_owned();
    Ok(AwsSdk {
        name: "javascript",
        folder,
        interpreter: Some(Interpreter::Installed { program: node, prefix }),
        program: "main.mjs",
        authorities: None,
    })
}

fn go_sdk() -> Result<AwsSdk, Missing> {
    let folder = install_sdk("go", &["main.go", "go.mod", "go.sum"], |folder| {
        run(
            Command::new(go()?)
                .args(["build", "-trimpath", "-ldflags", "-s -w", "-o", "sdk", "."])
                .env("CGO_ENABLED", "0")
                .env("GOWORK", "off")
                .current_dir(folder),
            "go",
        )
        .map(|_| ())
    })?;
    Ok(AwsSdk {
        name: "go",
        folder,
        interpreter: None,
        program: "sdk",
        authorities: None,
    })
}

/// The folder in the cache with these files of `tests/sdk/NAME`, after `install` completed in it.
fn install_sdk(
    name: &str,
    files: &[&str],
    install_in: impl FnOnce(&Path) -> Result<(), Missing>,
) -> Result<PathBuf, Missing> {
    let (what, key) = (format!("the AWS SDK {name}"), format!("aws-sdk-{name}"));
    install(&what, &key, &format!("tests/sdk/{name}"), files, install_in)
}
