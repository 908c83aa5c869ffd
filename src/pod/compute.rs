//! The compute that EKS Pod Identity does not support: its agent runs only on Linux nodes, and not on Fargate.

use super::view::PodView;

/// The scheduler that EKS sets on pods of a Fargate profile.
const FARGATE_SCHEDULER: &str = "fargate-scheduler";

/// Where no EKS Pod Identity agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsupportedCompute {
    /// AWS Fargate, by `schedulerName: fargate-scheduler`.
    Fargate,
    /// Windows nodes.
    Windows,
}

impl UnsupportedCompute {
    /// The unsupported compute that the pod will run on, as far as its specification shows; none if the agent can run there.
    #[must_use]
    pub fn of(pod: &PodView<'_>) -> Option<Self> {
        if pod.scheduler_name() == Some(FARGATE_SCHEDULER) {
            Some(Self::Fargate)
        } else {
            pod.is_windows().then_some(Self::Windows)
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fargate => "AWS Fargate",
            Self::Windows => "Windows nodes",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn fargate_and_windows_have_no_agent() {
        let of = |spec: Value| {
            let json = json!({"spec": spec}).to_string();
            UnsupportedCompute::of(&serde_json::from_str(&json).unwrap())
        };
        let fargate = Some(UnsupportedCompute::Fargate);
        assert_eq!(of(json!({"schedulerName": "fargate-scheduler"})), fargate);
        assert_eq!(of(json!({"schedulerName": "default-scheduler"})), None);
        assert_eq!(of(json!({"schedulerName": null})), None);
        assert_eq!(
            of(json!({"os": {"name": "windows"}})),
            Some(UnsupportedCompute::Windows)
        );
        assert_eq!(of(json!({})), None);
    }
}
