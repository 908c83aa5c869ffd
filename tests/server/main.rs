//! The server over real sockets and real TLS: each of its limits, the certificates that it serves, and its shutdown.

mod certificates;
mod ending;
mod fairness;
mod limits;
mod protocol;
mod requests;
mod rig;
