//! The commands of the program.

/// All that `rolegate --help` lists, but `help` itself.
pub(crate) const COMMANDS: [&str; 10] = [
    "serve",
    "check",
    "audit",
    "trust-policy",
    "inject",
    "explain",
    "certs",
    "demo",
    "completions",
    "version",
];
