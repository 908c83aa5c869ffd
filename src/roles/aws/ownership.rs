//! The owner of a role, before its trust policy is changed by hand: which tool would undo the change, and which principals no longer
//! exist.

use crate::trust::Policy;

/// The tool that manages a role, by the tags that such tools set or that people set for them. None when no tag says so, which is
/// not evidence that it is not managed.
#[must_use]
pub(crate) fn managed_by(tags: &[(String, String)]) -> Option<&'static str> {
    let prefixed = || tags.iter().find_map(|(key, _)| by_prefix(key));
    let valued = || tags.iter().find_map(|(key, value)| by_value(key, value));
    let stack = || {
        let is_stack = tags.iter().any(|(key, _)| key.starts_with("aws:cloudformation:"));
        is_stack.then_some("AWS CloudFormation")
    };
    let keyed = || tags.iter().find_map(|(key, value)| by_key(key, value));
    // eksctl and the CDK deploy CloudFormation stacks; the change has to be made with eksctl or the CDK.
    prefixed().or_else(valued).or_else(stack).or_else(keyed)
}

/// Keys that only one tool sets.
fn by_prefix(key: &str) -> Option<&'static str> {
    const PREFIXES: [(&str, &str); 5] = [
        ("alpha.eksctl.io/", "eksctl"),
        ("eksctl.cluster.k8s.io/", "eksctl"),
        ("aws-cdk:", "AWS CDK"),
        ("aws:servicecatalog:", "AWS Service Catalog"),
        ("services.k8s.aws/", "AWS Controllers for Kubernetes"),
    ];
    PREFIXES
        .iter()
        .find_map(|(prefix, tool)| key.starts_with(prefix).then_some(*tool))
}

/// Tags whose key is the tool: `terraform: true`, `pulumi:project: …`, `crossplane-name: …`.
fn by_key(key: &str, value: &str) -> Option<&'static str> {
    let is_denied = ["false", "no", "0"]
        .iter()
        .any(|no| value.trim().eq_ignore_ascii_case(no));
    let word = key.split([':', '-', '_', '/', '.']).next().unwrap_or_default();
    if is_denied { None } else { tool(word) }
}

/// Tags whose value is the tool: `ManagedBy: terraform`, `created-by: Terraform Cloud`.
fn by_value(key: &str, value: &str) -> Option<&'static str> {
    const KEYS: [&str; 9] = [
        "managedby",
        "createdby",
        "provisionedby",
        "deployedby",
        "provisioner",
        "managed",
        "iac",
        "iactool",
        "tool",
    ];
    // `app.kubernetes.io/managed-by`
    let key = key.rsplit('/').next().unwrap_or_default();
    let key: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if !KEYS.contains(&key.as_str()) {
        return None;
    }
    value.split(|c: char| !c.is_ascii_alphanumeric()).find_map(tool)
}

fn tool(word: &str) -> Option<&'static str> {
    const TOOLS: [(&str, &str); 9] = [
        ("terraform", "Terraform"),
        ("terragrunt", "Terraform"),
        ("opentofu", "OpenTofu"),
        ("tofu", "OpenTofu"),
        ("pulumi", "Pulumi"),
        ("crossplane", "Crossplane"),
        ("cloudformation", "AWS CloudFormation"),
        ("cdk", "AWS CDK"),
        ("eksctl", "eksctl"),
    ];
    TOOLS
        .iter()
        .find_map(|(name, tool)| word.eq_ignore_ascii_case(name).then_some(*tool))
}

/// The AWS principals of a trust policy that are unique IDs, each once: IAM shows the ID of a user or role that was deleted, and
/// takes no document that names one. Empty when the document is not a trust policy.
#[must_use]
pub(crate) fn unique_id_principals(document: &str) -> Vec<String> {
    let Ok(policy) = Policy::parse(document) else {
        return Vec::new();
    };
    let mut ids: Vec<String> = Vec::new();
    let principals = policy.statements.iter().flat_map(|statement| &statement.principals.aws);
    for principal in principals.filter(|principal| is_unique_id(principal)) {
        if !ids.iter().any(|id| **id == **principal) {
            ids.push(principal.to_string());
        }
    }
    ids
}

/// IAM's unique IDs: a prefix for the kind of thing, then capital letters and digits.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>
fn is_unique_id(principal: &str) -> bool {
    const PREFIXES: [&str; 8] = ["AIDA", "AROA", "AGPA", "AIPA", "ANPA", "ANVA", "APKA", "ASCA"];
    // The shortest that IAM's API takes.
    const SHORTEST: usize = 16;
    principal.len() >= SHORTEST
        && PREFIXES.iter().any(|prefix| principal.starts_with(prefix))
        && principal
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_the_tool_that_manages_a_role() {
        for (tags, tool) in [
            (&[("Terraform", "true")][..], Some("Terraform")),
            (&[("terraform", "")], Some("Terraform")),
            (&[("terraform", "false")], None),
            (&[("terraform-module", "iam")], Some("Terraform")),
            (&[("ManagedBy", "terraform")], Some("Terraform")),
            (&[("managed-by", "Terraform")], Some("Terraform")),
            (&[("managed_by", "terraform-cloud")], Some("Terraform")),
            (&[("app.kubernetes.io/managed-by", "terraform")], Some("Terraform")),
            (&[("provisioner", "OpenTofu")], Some("OpenTofu")),
            (&[("pulumi:project", "net")], Some("Pulumi")),
            (&[("crossplane-name", "loader")], Some("Crossplane")),
            (
                &[("services.k8s.aws/controller-version", "iam-v1")],
                Some("AWS Controllers for Kubernetes"),
            ),
            (&[("aws:cloudformation:stack-name", "net")], Some("AWS CloudFormation")),
            (
                &[
                    ("aws:cloudformation:stack-name", "eksctl-prod"),
                    ("alpha.eksctl.io/cluster-name", "prod"),
                ],
                Some("eksctl"),
            ),
            (
                &[("aws:cloudformation:stack-id", "arn"), ("managed-by", "cdk")],
                Some("AWS CDK"),
            ),
            (&[("managed-by", "platform team")], None),
            (&[("team", "terraform")], None),
            (&[], None),
        ] {
            let owned: Vec<_> = tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(managed_by(&owned), tool, "{tags:?}");
        }
    }

    #[test]
    fn principals_that_were_deleted_are_found_once() {
        let document = r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "AROAJQABLZS4A3QDU576Q"}},
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": [
                "AIDAJQABLZS4A3QDU576Q", "AROAJQABLZS4A3QDU576Q", "111122223333", "*",
                "arn:aws:iam::111122223333:role/AROAJQABLZS4A3QDU576Q", "AROA", "AROAjqablzs4a3qdu576q"]}},
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "AROAJQABLZS4A3QDU5760"}}]}"#;
        assert_eq!(
            unique_id_principals(document),
            ["AROAJQABLZS4A3QDU576Q", "AIDAJQABLZS4A3QDU576Q"]
        );
        assert_eq!(unique_id_principals("no JSON"), [""; 0]);
    }
}
