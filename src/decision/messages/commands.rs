//! The commands in messages. Each is complete and quoted for a shell, or omitted.

use super::Subject;
use crate::decision::Restart;
use crate::support::dns;
use crate::support::text::shell::Command;
use crate::trust::{Association, Cause, Hop, RoleArn, SessionTags, WebIdentity};

/// The role in a command whose reader fills it in.
pub(super) const ROLE_PLACEHOLDER: &str = "arn:aws:iam::ACCOUNT:role/NAME";

/// The audience that `rolegate trust-policy` assumes.
pub(crate) const DEFAULT_AUDIENCE: &str = "sts.amazonaws.com";

/// The command that adds the web identity to a role's current trust policy. None if the subject is not a ServiceAccount.
#[must_use]
pub(crate) fn trust_policy(role: &RoleArn, identity: &WebIdentity) -> Option<String> {
    let command = Command::new("rolegate trust-policy")
        .flag("--role-arn")
        .arg(role.as_str());
    for_identity(command, identity)
}

/// The command that prints the trust policy for a new role.
#[must_use]
pub(crate) fn trust_policy_for_new_role(role: &RoleArn, identity: &WebIdentity) -> Option<String> {
    let mut command = Command::new("rolegate trust-policy")
        .flag("--account")
        .arg(role.account());
    if role.partition() != identity.issuer.partition() {
        command = command.flag("--partition").arg(role.partition());
    }
    for_identity(command, identity)
}

fn for_identity(command: Command, identity: &WebIdentity) -> Option<String> {
    let (namespace, service_account) = identity.subject.namespace_and_name()?;
    let mut command = command
        .flag("--issuer")
        .arg(identity.issuer.as_str())
        .flag("-n")
        .arg(namespace)
        .flag("--service-account")
        .arg(service_account);
    if identity.audience.as_str() != DEFAULT_AUDIENCE {
        command = command.flag("--audience").arg(identity.audience.as_str());
    }
    command.finish()
}

/// The command that adds EKS Pod Identity to the current trust policy of a role of an association. None if the cluster is not known.
#[must_use]
pub(crate) fn trust_policy_for_association(role: &RoleArn, association: &Association, hop: Hop) -> Option<String> {
    let mut command = Command::new("rolegate trust-policy --pod-identity");
    if hop == Hop::Target {
        command = command
            .flag("--target --primary-role-arn")
            .arg(association.role.as_str());
    }
    command = command
        .flag("--role-arn")
        .arg(role.as_str())
        .flag("--cluster-arn")
        .arg(association.cluster.as_ref()?.as_str())
        .flag("-n")
        .arg(&association.namespace)
        .flag("--service-account")
        .arg(&association.service_account);
    if association.session_tags == SessionTags::Disabled {
        command = command.flag("--disable-session-tags");
        if let (Hop::Target, Some(external_id)) = (hop, &association.external_id) {
            command = command.flag("--external-id").arg(external_id);
        }
    }
    command.finish()
}

/// The AWS CLI command that fixes an OIDC provider. None for other causes.
pub(super) fn provider(cause: Cause, role: &RoleArn, identity: &WebIdentity) -> Option<String> {
    let audience = identity.audience.as_str();
    let command = match cause {
        Cause::ProviderNotFound => Command::new("aws iam create-open-id-connect-provider")
            .flag("--url")
            .arg(&format!("https://{}", identity.issuer.as_str()))
            .flag("--client-id-list")
            .arg(audience),
        Cause::AudienceNotRegistered => Command::new("aws iam add-client-id-to-open-id-connect-provider")
            .flag("--open-id-connect-provider-arn")
            .arg(&role.provider_arn(&identity.issuer))
            .flag("--client-id")
            .arg(audience),
        _ => return None,
    };
    command.finish()
}

/// The command that annotates a ServiceAccount with a role, whose ARN is a placeholder.
pub(crate) fn annotate(subject: &Subject<'_>, prefix: &str) -> Option<String> {
    annotate_with(subject, prefix, ROLE_PLACEHOLDER)
}

/// The command that annotates a ServiceAccount with this role.
pub(super) fn annotate_with(subject: &Subject<'_>, prefix: &str, role: &str) -> Option<String> {
    Command::new("kubectl annotate serviceaccount")
        .arg(subject.service_account)
        .flag("-n")
        .arg(subject.namespace)
        .flag("--overwrite")
        .arg(&format!("{prefix}role-arn={role}"))
        .finish()
}

/// The command that sets a label of a namespace to `enforce`, as a value that is not valid is treated.
#[must_use]
pub(crate) fn label_namespace(namespace: &str, label: &str) -> Option<String> {
    let command = Command::new("kubectl label namespace").arg(namespace);
    command.arg(&format!("{label}=enforce")).flag("--overwrite").finish()
}

/// The AWS CLI command that creates an EKS Pod Identity association; its role is a placeholder.
#[must_use]
pub(super) fn create_association(subject: &Subject<'_>, cluster: &str) -> Option<String> {
    Command::new("aws eks create-pod-identity-association")
        .flag("--cluster-name")
        .arg(cluster)
        .flag("--namespace")
        .arg(subject.namespace)
        .flag("--service-account")
        .arg(subject.service_account)
        .flag("--role-arn")
        .arg(ROLE_PLACEHOLDER)
        .finish()
}

/// The command that makes a controller that backs off for minutes try again. None if no controller can have the owner's name: owner
/// references are written by the pod's author.
pub(super) fn restart(restart: Restart<'_>, namespace: &str) -> Option<String> {
    dns::is_subdomain(restart.name).then(|| {
        Command::new("kubectl rollout restart")
            .arg(&format!("{}/{}", restart.kind, restart.name))
            .flag("-n")
            .arg(namespace)
            .finish()
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Audience, Issuer, Subject as TokenSubject};

    fn identity(issuer: &str, audience: &str) -> WebIdentity {
        WebIdentity {
            issuer: Issuer::parse(issuer).unwrap(),
            subject: TokenSubject::service_account("jobs", "worker"),
            audience: Audience::new(audience),
        }
    }

    #[test]
    fn a_command_names_what_is_not_the_default() {
        let role = RoleArn::parse("arn:aws-cn:iam::111122223333:role/jobs/worker").unwrap();
        let chinese = identity("oidc.eks.cn-north-1.amazonaws.com.cn/id/A", DEFAULT_AUDIENCE);
        assert_eq!(
            trust_policy(&role, &chinese).unwrap(),
            "rolegate trust-policy --role-arn arn:aws-cn:iam::111122223333:role/jobs/worker --issuer \
             oidc.eks.cn-north-1.amazonaws.com.cn/id/A -n jobs --service-account worker"
        );
        assert_eq!(
            trust_policy_for_new_role(&role, &chinese).unwrap(),
            "rolegate trust-policy --account 111122223333 --issuer oidc.eks.cn-north-1.amazonaws.com.cn/id/A -n jobs \
             --service-account worker"
        );
        let command = trust_policy_for_new_role(&role, &identity("issuer.example", "a b")).unwrap();
        assert!(
            command.contains(" --partition aws-cn ") && command.ends_with(" --audience 'a b'"),
            "{command}"
        );
        for audience in ["a\nb", "\u{1b}[31m", "a\u{202e}"] {
            assert_eq!(
                trust_policy(&role, &identity("issuer.example", audience)),
                None,
                "{audience:?}"
            );
        }
        let mut other = identity("issuer.example", DEFAULT_AUDIENCE);
        other.subject = TokenSubject::from_text("repo:a/b");
        assert_eq!(trust_policy(&role, &other), None);
    }

    #[test]
    fn the_command_for_a_provider_names_it_and_the_audience() {
        let role = RoleArn::parse("arn:aws-cn:iam::111122223333:role/loader").unwrap();
        let issuer = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
        let command = |cause| provider(cause, &role, &identity(issuer, "x"));
        assert_eq!(
            command(Cause::ProviderNotFound).unwrap(),
            format!("aws iam create-open-id-connect-provider --url https://{issuer} --client-id-list x")
        );
        assert_eq!(
            command(Cause::AudienceNotRegistered).unwrap(),
            format!(
                "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn \
                 arn:aws-cn:iam::111122223333:oidc-provider/{issuer} --client-id x"
            )
        );
        assert_eq!(command(Cause::WrongSubject), None);
    }

    #[test]
    fn only_a_name_that_a_controller_can_have_is_restarted() {
        let command = |name| {
            restart(
                Restart {
                    kind: "statefulset",
                    name,
                },
                "jobs",
            )
        };
        assert_eq!(
            command("web-0.a").unwrap(),
            "kubectl rollout restart statefulset/web-0.a -n jobs"
        );
        let long = "a".repeat(254);
        for name in [
            "",
            "x; touch pwned; echo ",
            "$(id)",
            "a\nb",
            "A",
            "-a",
            "a-",
            "a..b",
            "a_b",
            long.as_str(),
        ] {
            assert_eq!(command(name), None, "{name:?}");
        }
    }
}
