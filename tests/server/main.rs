//! The server over real sockets and real TLS: each of its limits, the certificates it serves, and how it ends.

mod certificates;
mod ending;
mod fairness;
mod limits;
mod protocol;
mod requests;
mod rig;
