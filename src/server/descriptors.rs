//! The limit on open files of the process: every connection is one.

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
#[cfg(unix)]
use tracing::info;
use tracing::warn;

use super::limits::Limits;

/// Descriptors for everything that is not a connection: files, the API server, AWS.
const OTHERS: u64 = 256;

/// The fewest connections of a listener, however low the limit is: accepting pauses when descriptors run out.
const FEWEST: usize = 16;

/// Bodies that are being read are at most one in so many connections, and so are requests in flight: as in [`Limits::default`].
const SHARE: usize = 4;

/// Raises the limit on open files to the most that this process may have. Many container runtimes start processes with a limit of 1,024
/// that they may raise. Returns the limit; none when there is none.
#[cfg(unix)]
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            info!(from = current, to = maximum, "raised the limit on open files");
            maximum
        }
        Err(error) => {
            warn!(%error, limit = current, "failed to raise the limit on open files");
            current
        }
    }
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) fn raise() -> Option<u64> {
    None
}

/// The limits with no more connections than descriptors allow, so that connections do not take those of files. Bodies that are being read
/// and requests in flight keep their share of the connections: if they could take all, none would give way to a new one.
#[must_use]
pub fn fit(limits: Limits, descriptors: Option<u64>) -> Limits {
    let Some(descriptors) = descriptors else { return limits };
    // An eighth more than the limit can be open while connections give way.
    let left = descriptors.saturating_sub(OTHERS) / 9 * 8;
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let admin_connections = limits.admin_connections.min(left / 4).max(FEWEST);
    let connections = limits
        .connections
        .min(left.saturating_sub(admin_connections))
        .max(FEWEST);
    if connections < limits.connections {
        warn!(
            descriptors,
            connections, "the limit on open files is low: fewer connections are accepted; raise it (ulimit -n)"
        );
    }
    let share = connections / SHARE;
    Limits {
        connections,
        admin_connections,
        bodies: limits.bodies.min(share),
        in_flight: limits.in_flight.min(share),
        ..limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_files() {
        let fitted = |descriptors| {
            let Limits {
                connections,
                admin_connections,
                bodies,
                in_flight,
                ..
            } = fit(Limits::default(), descriptors);
            assert_eq!(bodies, in_flight);
            (connections, admin_connections, bodies)
        };
        assert_eq!(fitted(None), (4096, 256, 1024));
        assert_eq!(fitted(Some(1_048_576)), (4096, 256, 1024));
        assert_eq!(fitted(Some(1024)), (510, 170, 127));
        assert_eq!(fitted(Some(20)), (16, 16, 4));
    }
}
