//! The role source `files=DIR`: formats, errors with their position, and what happens when files change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rolegate::roles::{Answer, FileRoles, RoleCache, RoleCacheSettings, RoleSource, Trust, WhenMissing};
use rolegate::trust::RoleArn;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A directory of files, and the source over it.
struct Dir(TempDir);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = Self(TempDir::new().unwrap());
        for (path, text) in files {
            dir.write(path, text);
        }
        dir
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn open(&self) -> FileRoles {
        self.open_as(WhenMissing::NoSuchRole)
    }

    fn open_as(&self, when_missing: WhenMissing) -> FileRoles {
        FileRoles::open(self.path(), when_missing, FileRoles::POLL).unwrap()
    }

    /// The error of the start, with the directory written as DIR.
    fn error(&self) -> String {
        let error = FileRoles::open(self.path(), WhenMissing::NoSuchRole, FileRoles::POLL).unwrap_err();
        error.to_string().replace(&self.path().display().to_string(), "DIR")
    }
}

fn policy(sid: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": sid,
            "Effect": "Allow",
            "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"},
            "Action": "sts:AssumeRoleWithWebIdentity"
        }]
    })
}

fn arn(path_and_name: &str) -> String {
    format!("arn:aws:iam::111122223333:role/{path_and_name}")
}

/// A role as the AWS CLI prints it.
fn cli_role(path_and_name: &str, policy: &Value) -> Value {
    json!({
        "Path": "/", "RoleName": path_and_name, "RoleId": "AROAEXAMPLE", "Arn": arn(path_and_name),
        "CreateDate": "2026-01-01T00:00:00+00:00", "AssumeRolePolicyDocument": policy, "MaxSessionDuration": 3600
    })
}

fn get_role(path_and_name: &str, sid: &str) -> String {
    json!({"Role": cli_role(path_and_name, &policy(sid))}).to_string()
}

fn ask(source: &FileRoles, arn: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(source.read(&RoleArn::parse(arn).unwrap(), Instant::now()))
}

/// The source's answer in a few words: the policy's Sid, or why there is none.
fn answer_of(source: &FileRoles, arn: &str) -> String {
    match ask(source, arn) {
        Answer::Role(document) => {
            let text = percent_encoding::percent_decode_str(&document.policy)
                .decode_utf8_lossy()
                .into_owned();
            let policy: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            format!("policy {}", policy["Statement"][0]["Sid"].as_str().unwrap_or("?"))
        }
        Answer::NoSuchRole { hint: None } => "no such role".to_owned(),
        Answer::NoSuchRole { hint: Some(hint) } => format!("no such role: {hint}"),
        Answer::NotMine => "not mine".to_owned(),
        Answer::CannotRead(reason) => format!("not mine: {reason}"),
        Answer::Failed(reason) | Answer::Throttled(reason) => format!("failed: {reason}"),
    }
}

#[test]
fn what_the_aws_cli_prints_is_understood() {
    let details = json!({
        "UserDetailList": [], "GroupDetailList": [], "Policies": [],
        "RoleDetailList": [cli_role("detailed", &policy("details"))]
    });
    let list = json!({"Roles": [cli_role("one", &policy("one")), cli_role("team/two", &policy("two"))]});
    let dir = Dir::new(&[
        ("get.json", &get_role("single", "single")),
        ("deep/down/list.json", &list.to_string()),
        ("details.json", &details.to_string()),
        ("README.md", "not JSON, not read"),
        ("notes.json.bak", "{"),
    ]);
    let source = dir.open();
    for (name, sid) in [
        ("single", "single"),
        ("one", "one"),
        ("team/two", "two"),
        ("detailed", "details"),
    ] {
        assert_eq!(answer_of(&source, &arn(name)), format!("policy {sid}"), "{name}");
    }
    assert_eq!(source.len(), 4);
}

#[test]
fn a_policy_may_be_an_object_json_text_or_percent_encoded() {
    let text = policy("x").to_string();
    let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let roles = [
        ("object", policy("x")),
        ("text", json!(text)),
        ("encoded", json!(encoded)),
    ]
    .map(|(name, policy)| cli_role(name, &policy));
    let dir = Dir::new(&[("list.json", &json!({ "Roles": roles }).to_string())]);
    let source = dir.open();
    for name in ["object", "text", "encoded"] {
        assert_eq!(answer_of(&source, &arn(name)), "policy x", "{name}");
    }
}

#[test]
fn a_policy_object_is_kept_byte_for_byte_so_that_a_repeated_key_is_still_seen() {
    let policy = r#"{ "Version": "2012-10-17",  "Statement": [], "Statement": [] }"#;
    let file = format!(
        r#"{{"Role": {{"Arn": "{}", "AssumeRolePolicyDocument": {policy}}}}}"#,
        arn("odd")
    );
    let dir = Dir::new(&[("get.json", &file)]);
    let Answer::Role(document) = ask(&dir.open(), &arn("odd")) else {
        panic!("not a role")
    };
    assert_eq!(&*document.policy, policy);
}

#[test]
fn tags_are_read_when_the_file_has_them() {
    let mut role = cli_role("tagged", &policy("x"));
    role["Tags"] = json!([{"Key": "team", "Value": "data"}]);
    let untagged = cli_role("untagged", &policy("x"));
    let dir = Dir::new(&[
        (
            "a.json",
            &json!({"Roles": [cli_role("tagged", &policy("x")), untagged]}).to_string(),
        ),
        ("b.json", &json!({ "Role": role }).to_string()),
    ]);
    let source = dir.open();
    let tags = |name| match ask(&source, &arn(name)) {
        Answer::Role(document) => document.tags,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        tags("tagged").as_deref(),
        Some([("team".to_owned(), "data".to_owned())].as_slice())
    );
    assert_eq!(tags("untagged"), None);
}

#[test]
fn a_bare_policy_belongs_to_the_role_of_its_path_in_any_partition() {
    let dir = Dir::new(&[
        ("111122223333/loader.json", &policy("plain").to_string()),
        ("111122223333/team/data/loader.json", &policy("with path").to_string()),
    ]);
    let source = dir.open();
    for (arn, expected) in [
        ("arn:aws:iam::111122223333:role/loader", "policy plain"),
        ("arn:aws-cn:iam::111122223333:role/loader", "policy plain"),
        ("arn:aws:iam::111122223333:role/team/data/loader", "policy with path"),
    ] {
        assert_eq!(answer_of(&source, arn), expected, "{arn}");
    }
    assert_eq!(
        answer_of(&source, "arn:aws:iam::444455556666:role/loader"),
        "no such role: a role of that name exists as role/loader in 111122223333: the account differs"
    );
}

#[test]
fn roles_of_aws_services_in_a_listing_are_ignored_without_error() {
    let mut linked = cli_role(
        "aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS",
        &policy("x"),
    );
    linked["Path"] = json!("/aws-service-role/eks.amazonaws.com/");
    let sso = cli_role(
        "aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123456789abcdef",
        &policy("x"),
    );
    let list = json!({"Roles": [linked, sso, cli_role("mine", &policy("mine"))]});
    let dir = Dir::new(&[("list.json", &list.to_string())]);
    assert_eq!(answer_of(&dir.open(), &arn("mine")), "policy mine");
}

#[test]
fn the_error_for_a_missing_role_names_the_closest_match() {
    let list = json!({"Roles": [cli_role("team/loader", &policy("x")), cli_role("Trainer", &policy("x"))]});
    let dir = Dir::new(&[("list.json", &list.to_string())]);
    let source = dir.open();
    for (missing, expected) in [
        (
            "arn:aws:iam::111122223333:role/loader",
            "no such role: a role of that name exists as arn:aws:iam::111122223333:role/team/loader: the path differs",
        ),
        (
            "arn:aws:iam::111122223333:role/trainer",
            "no such role: a role of that name exists as arn:aws:iam::111122223333:role/Trainer: the case of the name differs",
        ),
        (
            "arn:aws:iam::444455556666:role/team/loader",
            "no such role: a role of that name exists as arn:aws:iam::111122223333:role/team/loader: the account differs",
        ),
        (
            "arn:aws-cn:iam::111122223333:role/team/loader",
            "no such role: a role of that name exists as arn:aws:iam::111122223333:role/team/loader: the partition differs",
        ),
        ("arn:aws:iam::111122223333:role/other", "no such role"),
    ] {
        assert_eq!(answer_of(&source, missing), expected, "{missing}");
    }
    assert_eq!(
        answer_of(&dir.open_as(WhenMissing::NotMine), &arn("loader")),
        "not mine"
    );
}

/// A resource of Terraform.
fn resource(address: &str, values: &Value) -> Value {
    json!({"address": address, "mode": "managed", "type": "aws_iam_role", "name": "x",
           "provider_name": "registry.terraform.io/hashicorp/aws", "schema_version": 0, "values": values})
}

fn terraform_values(path: &str, name: &str, sid: Option<&str>) -> Value {
    let mut values = json!({"path": path, "name": name, "tags": null, "tags_all": {"team": "data"}});
    if let Some(sid) = sid {
        values["assume_role_policy"] = json!(policy(sid).to_string());
    }
    values
}

fn with_arn(mut values: Value) -> Value {
    let path = values["path"].as_str().unwrap().trim_start_matches('/');
    values["arn"] = json!(arn(&format!("{path}{}", values["name"].as_str().unwrap())));
    values
}

fn module(resources: &[Value]) -> Value {
    json!({"root_module": {"resources": resources}})
}

#[test]
fn roles_in_child_modules_of_a_terraform_state_are_read() {
    let other = json!({"address": "aws_s3_bucket.b", "mode": "managed", "type": "aws_s3_bucket", "name": "b",
                       "values": {"arn": ["odd"], "name": 7, "path": {}, "tags": []}});
    let inner = json!({"address": "module.a.module.b", "resources": [
        resource("module.a.module.b.aws_iam_role.x", &with_arn(terraform_values("/team/", "inner", Some("inner"))))]});
    let state = json!({
        "format_version": "1.0", "terraform_version": "1.9.0",
        "values": {"root_module": {
            "resources": [resource("aws_iam_role.x", &with_arn(terraform_values("/", "outer", Some("outer")))), other],
            "child_modules": [{"address": "module.a", "child_modules": [inner]}]
        }}
    });
    let dir = Dir::new(&[
        ("state.json", &state.to_string()),
        ("empty.json", r#"{"format_version":"1.0"}"#),
    ]);
    let source = dir.open();
    assert_eq!(answer_of(&source, &arn("outer")), "policy outer");
    assert_eq!(answer_of(&source, &arn("team/inner")), "policy inner");
    let Answer::Role(document) = ask(&source, &arn("outer")) else {
        panic!("not a role")
    };
    assert_eq!(
        document.tags.as_deref(),
        Some([("team".to_owned(), "data".to_owned())].as_slice())
    );
}

#[test]
fn a_terraform_plan_yields_roles_as_they_will_be_after_apply() {
    let changed = "aws_iam_role.changed";
    let replaced = "aws_iam_role.replaced";
    let looked_up = json!({"address": "data.aws_iam_role.read", "mode": "data", "type": "aws_iam_role", "name": "read",
                           "values": with_arn(terraform_values("/", "read", Some("read")))});
    let plan = json!({
        "format_version": "1.2", "terraform_version": "1.9.0",
        "planned_values": module(&[
            resource(changed, &with_arn(terraform_values("/", "changed", Some("after")))),
            resource(replaced, &terraform_values("/", "replaced", Some("after"))),
            resource("aws_iam_role.waiting", &with_arn(terraform_values("/", "waiting", None))),
            resource("aws_iam_role.new", &terraform_values("/team/", "new", Some("new"))),
            resource("aws_iam_role.new_waiting", &terraform_values("/", "new-waiting", None)),
            resource("aws_iam_role.nameless", &json!({"path": "/", "name_prefix": "job-"})),
        ]),
        "resource_changes": [], "configuration": {},
        "prior_state": {"format_version": "1.0", "values": module(&[
            resource(changed, &with_arn(terraform_values("/", "changed", Some("before")))),
            resource(replaced, &with_arn(terraform_values("/", "replaced", Some("before")))),
            resource("aws_iam_role.destroyed", &with_arn(terraform_values("/", "destroyed", Some("before")))),
            looked_up,
        ])}
    });
    let dir = Dir::new(&[("plan.json", &plan.to_string())]);
    let source = dir.open();
    for (name, expected) in [
        ("changed", "policy after"),
        ("replaced", "policy after"),
        (
            "waiting",
            "failed: the trust policy of aws_iam_role.waiting is known only after apply (plan.json)",
        ),
        ("team/new", "policy new"),
        (
            "new-waiting",
            "failed: the trust policy of aws_iam_role.new_waiting is known only after apply (plan.json)",
        ),
        ("destroyed", "no such role"),
        ("read", "policy read"),
        ("new", "no such role"),
    ] {
        assert_eq!(answer_of(&source, &arn(name)), expected, "{name}");
    }
    assert_eq!(
        answer_of(&source, "arn:aws:iam::444455556666:role/replaced"),
        "no such role: a role of that name exists as arn:aws:iam::111122223333:role/replaced: the account differs"
    );
}

#[test]
fn a_planned_role_belongs_to_the_account_that_the_configuration_reads() {
    let identity = json!({"address": "data.aws_caller_identity.current", "mode": "data", "type": "aws_caller_identity",
                          "name": "current", "values": {"account_id": "111122223333"}});
    let new = resource("aws_iam_role.new", &terraform_values("/", "new", Some("new")));
    let plan = |prior: &[Value]| {
        json!({"format_version": "1.2", "planned_values": module(std::slice::from_ref(&new)), "prior_state": {"values": module(prior)}})
            .to_string()
    };
    let elsewhere = "arn:aws:iam::444455556666:role/new";

    let dir = Dir::new(&[("plan.json", &plan(&[identity]))]);
    let known = dir.open();
    assert_eq!(answer_of(&known, &arn("new")), "policy new");
    assert!(
        answer_of(&known, elsewhere).starts_with("no such role"),
        "{}",
        answer_of(&known, elsewhere)
    );

    let unknown = Dir::new(&[("plan.json", &plan(&[]))]).open();
    assert_eq!(answer_of(&unknown, &arn("new")), "policy new");
    assert_eq!(answer_of(&unknown, elsewhere), "policy new");
}

#[test]
fn plans_that_each_make_a_role_of_the_same_name_leave_it_open_which_is_meant() {
    let plan = |sid| {
        let new = resource("aws_iam_role.new", &terraform_values("/", "new", Some(sid)));
        json!({"format_version": "1.2", "planned_values": module(&[new])}).to_string()
    };
    let dir = Dir::new(&[("dev.json", &plan("dev")), ("prod.json", &plan("prod"))]);
    let answer_of_both = answer_of(&dir.open(), &arn("new")).replace(&dir.path().display().to_string(), "DIR");
    assert_eq!(
        answer_of_both,
        "failed: DIR/dev.json and DIR/prod.json plan different roles of that path and name and do not specify the account"
    );
    dir.write("known.json", get_role("new", "known"));
    assert_eq!(answer_of(&dir.open(), &arn("new")), "policy known");
}

#[test]
fn a_file_that_is_not_understood_stops_the_start_and_says_where() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "empty.json",
            " \n",
            "DIR/empty.json:1:1: is empty; expected the output of `aws iam get-role`, `aws iam list-roles` or `aws iam \
             get-account-authorization-details`, `terraform show -json` of a plan or a state, or a trust policy at \
             ACCOUNT/PATH/NAME.json",
        ),
        (
            "cut.json",
            "{\n  \"Role\": {\n",
            "DIR/cut.json:3:1: is not JSON: EOF while parsing an object",
        ),
        (
            "comma.json",
            "{\n  \"Role\": {},\n}",
            "DIR/comma.json:3:1: is not JSON: trailing comma",
        ),
        (
            "no-arn.json",
            "{\"Role\": {\n  \"AssumeRolePolicyDocument\": {}\n}}",
            "DIR/no-arn.json:3:1: looks like the output of `aws iam get-role`, but: missing field `Arn`",
        ),
        (
            "no-policy.json",
            "{\"Roles\": [\n  {\"Arn\": \"arn:aws:iam::111122223333:role/x\"}\n]}",
            "DIR/no-policy.json:2:45: looks like the output of `aws iam list-roles`, but: missing field \
             `AssumeRolePolicyDocument`",
        ),
        (
            "twice.json",
            "{} {}",
            "DIR/twice.json:1:4: is not JSON: trailing characters",
        ),
        (
            "loader.json",
            r#"{"Version": "2012-10-17", "Statement": []}"#,
            "DIR/loader.json:1:1: a trust policy without its role must be at ACCOUNT/[PATH/]NAME.json, such as \
             111122223333/team/loader.json: it is not in the directory of an account",
        ),
        (
            "team/loader.json",
            r#"{"Version": "2012-10-17", "Statement": []}"#,
            "DIR/team/loader.json:1:1: a trust policy without its role must be at ACCOUNT/[PATH/]NAME.json, such as \
             111122223333/team/loader.json: the first directory is not an account of twelve digits",
        ),
        (
            "terraform.tfstate.json",
            r#"{"version": 4, "terraform_version": "1.9.0", "serial": 1, "lineage": "x", "resources": []}"#,
            "DIR/terraform.tfstate.json:1:1: this is Terraform's own state file; write it with `terraform show -json` instead",
        ),
    ];
    for (path, text, expected) in cases {
        assert_eq!(Dir::new(&[(path, text)]).error(), *expected, "{path}");
    }
}

#[test]
fn json_that_holds_no_role_stops_the_start_and_says_what_is_understood() {
    for (text, found) in [
        (r#"{"hello": "world"}"#, "contains no role that can be read; expected "),
        ("[]", "invalid type: sequence, expected an object: "),
        ("7", "invalid type: integer `7`, expected an object: "),
        ("null", "invalid type: null, expected an object: "),
    ] {
        let error = Dir::new(&[("x.json", text)]).error();
        let expected = format!(
            "{found}the output of `aws iam get-role`, `aws iam list-roles` or `aws iam get-account-authorization-details`, \
             `terraform show -json` of a plan or a state, or a trust policy at ACCOUNT/PATH/NAME.json"
        );
        assert!(error.starts_with("DIR/x.json:1:"), "{error}");
        assert!(error.ends_with(&expected), "{error}\nshould end with\n{expected}");
    }
}

#[test]
fn an_invalid_arn_is_reported_with_its_line() {
    let user = "{\"Role\": {\n\"Arn\": \"arn:aws:iam::111122223333:user/x\",\n\"AssumeRolePolicyDocument\": {}}}";
    let error = Dir::new(&[("user.json", user)]).error();
    let expected = "DIR/user.json:2:41: looks like the output of `aws iam get-role`, but: expected a role's ARN, found \
                    \"arn:aws:iam::111122223333:user/x\": ";
    assert!(error.starts_with(expected), "{error}");

    let mut values = terraform_values("/", "x", Some("x"));
    values["arn"] = json!("arn:aws:iam::1:role/x");
    let state = json!({"format_version": "1.0", "values": module(&[resource("aws_iam_role.x", &values)])});
    let error = Dir::new(&[("state.json", &serde_json::to_string_pretty(&state).unwrap())]).error();
    assert!(error.starts_with("DIR/state.json:"), "{error}");
    assert!(
        error.contains(": aws_iam_role.x: expected a role's ARN, found \"arn:aws:iam::1:role/x\": "),
        "{error}"
    );
    assert!(!error.contains(":1:1:"), "{error}");
}

#[test]
fn invalid_utf_8_and_unclosed_brackets_are_ordinary_errors() {
    let dir = Dir::new(&[]);
    dir.write("bytes.json", b"{\n \"Role\": \"\xff\"}");
    assert_eq!(
        dir.error(),
        "DIR/bytes.json:2:11: expected JSON in UTF-8, found a byte that is not"
    );

    let deep = format!("{{\"Roles\": {}", "[".repeat(100_000));
    let error = Dir::new(&[("deep.json", &deep)]).error();
    assert!(error.starts_with("DIR/deep.json:1:"), "{error}");
    let deep = format!("{{\"Roles\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let error = Dir::new(&[("deep.json", &deep)]).error();
    assert!(error.starts_with("DIR/deep.json:1:"), "{error}");
}

#[test]
fn an_error_is_one_line_whatever_the_file_is_called() {
    let error = Dir::new(&[("a\n\u{1b}[31m.json", "{\"Ro\\nle\"")]).error();
    assert_eq!(
        error,
        "DIR/a\\n\\u{1b}[31m.json:1:9: is not JSON: EOF while parsing an object"
    );
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_json() {
    let dir = Dir::new(&[("get.json", &format!("\u{feff}{}", get_role("x", "x")))]);
    assert_eq!(answer_of(&dir.open(), &arn("x")), "policy x");
}

#[test]
fn a_directory_that_is_not_there_stops_the_start() {
    let dir = Dir::new(&[]);
    let error = FileRoles::open(dir.path().join("nowhere"), WhenMissing::NoSuchRole, FileRoles::POLL).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("/nowhere: cannot be read: No such file or directory (os error 2)"),
        "{error}"
    );
}

#[test]
fn two_files_that_define_a_role_differently_stop_the_start_and_are_both_named() {
    let dir = Dir::new(&[("a.json", &get_role("x", "a")), ("b.json", &get_role("x", "b"))]);
    let expected = format!(
        "DIR/b.json: defines {} differently from DIR/a.json; keep one of the two",
        arn("x")
    );
    assert_eq!(dir.error(), expected);

    let bare = ("111122223333/x.json", &*policy("bare").to_string());
    let dir = Dir::new(&[bare, ("z.json", &get_role("x", "z"))]);
    let error = dir.error();
    assert!(
        error.contains("DIR/z.json") && error.contains("DIR/111122223333/x.json"),
        "{error}"
    );

    let same_file = json!({"Roles": [cli_role("x", &policy("a")), cli_role("x", &policy("b"))]});
    let error = Dir::new(&[("list.json", &same_file.to_string())]).error();
    assert_eq!(
        error,
        format!(
            "DIR/list.json: defines {} differently from this file; keep one of the two",
            arn("x")
        )
    );
}

#[test]
fn two_files_with_equivalent_content_do_not_conflict() {
    let pretty = serde_json::to_string_pretty(&json!({"Role": cli_role("x", &policy("same"))})).unwrap();
    let as_text = json!({"Role": cli_role("x", &json!(policy("same").to_string()))}).to_string();
    let dir = Dir::new(&[
        ("a.json", &get_role("x", "same")),
        ("b.json", &pretty),
        ("c.json", &as_text),
        ("111122223333/x.json", &policy("same").to_string()),
    ]);
    assert_eq!(answer_of(&dir.open(), &arn("x")), "policy same");
}

#[test]
fn a_malformed_policy_in_a_role_does_not_stop_the_start() {
    let dir = Dir::new(&[
        (
            "get.json",
            &json!({"Role": cli_role("x", &json!({"Statment": []}))}).to_string(),
        ),
        (
            "text.json",
            &json!({"Role": cli_role("y", &json!("{not json"))}).to_string(),
        ),
    ]);
    let source = dir.open();
    assert_eq!(answer_of(&source, &arn("x")), "policy ?");
    assert_eq!(answer_of(&source, &arn("y")), "policy ?");
}

#[test]
fn a_file_that_breaks_after_the_start_keeps_its_last_good_content_and_is_counted_once() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one")), ("b.json", &get_role("b", "one"))]);
    let source = dir.open();
    let changes = source.changes().unwrap();

    dir.write("a.json", "{\"Role\": ");
    dir.write("b.json", get_role("b", "two"));
    source.reload();
    source.reload();
    assert_eq!(answer_of(&source, &arn("a")), "policy one", "its last good content");
    assert_eq!(
        answer_of(&source, &arn("b")),
        "policy two",
        "other files change all the same"
    );
    assert_eq!(
        (
            source.health().reload_failures,
            source.broken_files(),
            *changes.borrow()
        ),
        (1, 1, 1)
    );

    dir.write("a.json", "{\"Role\": {");
    source.reload();
    assert_eq!(
        (source.health().reload_failures, *changes.borrow()),
        (2, 2),
        "another mistake is another failure, and another reason"
    );

    dir.write("a.json", get_role("a", "two"));
    source.reload();
    assert_eq!(answer_of(&source, &arn("a")), "policy two");
    assert_eq!(
        (
            source.health().reload_failures,
            source.broken_files(),
            *changes.borrow()
        ),
        (2, 0, 3)
    );

    source.reload();
    assert_eq!(*changes.borrow(), 3, "nothing changed");
}

#[test]
fn a_broken_file_that_comes_back_as_it_was_is_good_again() {
    let good = get_role("a", "one");
    let dir = Dir::new(&[("a.json", &good)]);
    let source = dir.open();
    dir.write("a.json", "{");
    source.reload();
    dir.write("a.json", &good);
    source.reload();
    assert_eq!(
        (answer_of(&source, &arn("a")).as_str(), source.broken_files()),
        ("policy one", 0)
    );
}

#[test]
fn roles_are_added_and_removed_with_their_files() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one"))]);
    let source = dir.open();
    dir.write("new/b.json", get_role("b", "one"));
    fs::remove_file(dir.path().join("a.json")).unwrap();
    source.reload();
    assert_eq!(answer_of(&source, &arn("a")), "no such role");
    assert_eq!(answer_of(&source, &arn("b")), "policy one");
}

#[test]
fn an_edit_applies_to_every_lookup_after_it() {
    let dir = Dir::new(&[("none.json", r#"{"Roles": []}"#)]);
    let source = dir.open();
    for round in 0..50 {
        let name = format!("a{round}");
        assert_eq!(answer_of(&source, &arn(&name)), "no such role");
        dir.write(&format!("{name}.json"), get_role(&name, "one"));
        assert_eq!(answer_of(&source, &arn(&name)), "policy one");
    }
}

#[test]
fn a_read_of_the_directory_answers_callers_that_asked_before_it_began() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one"))]);
    let source = dir.open();
    let before = Instant::now();
    source.reload();
    dir.write("a.json", get_role("a", "two"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let role = RoleArn::parse(&arn("a")).unwrap();
    let answer = |as_of| runtime.block_on(source.read(&role, as_of));
    assert!(format!("{:?}", answer(before)).contains("one"), "no read was needed");
    assert!(format!("{:?}", answer(Instant::now())).contains("two"));
}

#[test]
fn an_edit_that_makes_two_files_conflict_changes_nothing() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one")), ("c.json", &get_role("c", "one"))]);
    let source = dir.open();
    dir.write("b.json", get_role("a", "two"));
    dir.write("c.json", get_role("c", "two"));
    source.reload();
    source.reload();
    assert_eq!(answer_of(&source, &arn("a")), "policy one");
    assert_eq!(answer_of(&source, &arn("c")), "policy one");
    assert_eq!((source.health().reload_failures, source.broken_files()), (1, 1));

    fs::remove_file(dir.path().join("a.json")).unwrap();
    source.reload();
    assert_eq!(answer_of(&source, &arn("a")), "policy two");
    assert_eq!(answer_of(&source, &arn("c")), "policy two");
    assert_eq!(source.broken_files(), 0);
}

#[test]
fn roles_of_a_directory_that_disappears_are_kept_until_it_returns() {
    let outer = Dir::new(&[("roles/a.json", &get_role("a", "one"))]);
    let roles = outer.path().join("roles");
    let source = FileRoles::open(&roles, WhenMissing::NoSuchRole, FileRoles::POLL).unwrap();
    fs::rename(&roles, outer.path().join("elsewhere")).unwrap();
    source.reload();
    source.reload();
    assert_eq!(answer_of(&source, &arn("a")), "policy one");
    assert_eq!((source.health().reload_failures, source.broken_files()), (1, 1));

    fs::rename(outer.path().join("elsewhere"), &roles).unwrap();
    source.reload();
    assert_eq!(
        (answer_of(&source, &arn("a")).as_str(), source.broken_files()),
        ("policy one", 0)
    );
}

/// A ConfigMap as the kubelet mounts it: generations in hidden directories, one link swapped.
fn mount(dir: &Dir, generation: &str, files: &[(&str, &str)]) {
    for (path, text) in files {
        dir.write(&format!("..{generation}/{path}"), text);
    }
    symlink(format!("..{generation}"), dir.path().join("..data_tmp")).unwrap();
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
}

#[test]
fn the_mount_of_a_config_map_is_read_once_and_again_when_it_is_swapped() {
    let dir = Dir::new(&[]);
    let bare = policy("one").to_string();
    mount(
        &dir,
        "2026_11_22_01",
        &[("a.json", &get_role("a", "one")), ("111122223333/b.json", &bare)],
    );
    symlink("..data/a.json", dir.path().join("a.json")).unwrap();
    symlink("..data/111122223333", dir.path().join("111122223333")).unwrap();
    let source = dir.open();
    assert_eq!(source.len(), 2);
    assert_eq!(answer_of(&source, &arn("b")), "policy one");

    let bare = policy("two").to_string();
    mount(
        &dir,
        "2026_11_22_02",
        &[("a.json", &get_role("a", "two")), ("111122223333/b.json", &bare)],
    );
    fs::remove_dir_all(dir.path().join("..2026_11_22_01")).unwrap();
    source.reload();
    assert_eq!(answer_of(&source, &arn("a")), "policy two");
    assert_eq!(answer_of(&source, &arn("b")), "policy two");
}

#[test]
fn a_circular_link_is_followed_once_and_a_link_to_nothing_is_named() {
    let dir = Dir::new(&[("deep/a.json", &get_role("a", "one"))]);
    symlink("..", dir.path().join("deep/round")).unwrap();
    assert_eq!(answer_of(&dir.open(), &arn("a")), "policy one");

    symlink("nothing", dir.path().join("gone.json")).unwrap();
    assert_eq!(
        dir.error(),
        "DIR/gone.json: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_role_that_is_asked_for_is_read_from_the_disk_as_it_is_now() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one"))]);
    let source = dir.open();
    dir.write("a.json", get_role("a", "two"));
    assert_eq!(answer_of(&source, &arn("a")), "policy two");
}

#[test]
fn the_poll_is_the_documented_one() {
    let documented = include_str!("../docs/role-files.md");
    assert!(documented.contains("rolegate checks the directories every two seconds"));
    assert_eq!(FileRoles::POLL, Duration::from_secs(2));
}

#[tokio::test]
async fn a_change_of_a_file_reaches_the_cache_by_itself() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one"))]);
    let source = FileRoles::open(dir.path(), WhenMissing::NoSuchRole, Duration::from_millis(10)).unwrap();
    let settings = RoleCacheSettings {
        ttl: Duration::from_secs(60),
        max_stale: Duration::from_secs(3600),
        read_timeout: Duration::from_millis(700),
        capacity: 100,
    };
    let cache = RoleCache::new(vec![Arc::new(source)], settings);
    let (a, b) = (RoleArn::parse(&arn("a")).unwrap(), RoleArn::parse(&arn("b")).unwrap());
    let stop = CancellationToken::new();
    let referenced = vec![a.clone(), b.clone()];
    let refresher = tokio::spawn(Arc::clone(&cache).run(move || referenced.clone(), stop.clone()));
    let deadline = Instant::now() + Duration::from_secs(30);
    assert!(matches!(
        cache.entry(&b, deadline).await.trust,
        Trust::NoSuchRole { .. }
    ));

    dir.write("b.json", get_role("b", "created"));
    dir.write(
        "a.json",
        json!({"Role": cli_role("a", &json!({"Statment": []}))}).to_string(),
    );
    let arrived = || {
        let trust = |role| cache.cached(role).map(|entry| entry.trust);
        matches!(
            (trust(&a), trust(&b)),
            (Some(Trust::Malformed(_)), Some(Trust::Policy { .. }))
        )
    };
    while !arrived() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(arrived(), "{:?}", cache.snapshot());
    stop.cancel();
    refresher.await.unwrap();
}

/// Makes a FIFO that nothing writes to: a reader that opens it as usual waits forever.
fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn what_is_not_a_regular_file_or_too_long_stops_the_start_and_is_named() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one"))]);
    let bad = dir.path().join("bad.json");
    let error_with = |make: &dyn Fn(&Path)| {
        make(&bad);
        let error = dir.error();
        fs::remove_file(&bad).unwrap();
        error
    };
    let sparse = |path: &Path| fs::File::create(path).unwrap().set_len(3 << 30).unwrap();
    for (make, expected) in [
        (&fifo as &dyn Fn(&Path), "it is a FIFO, not a regular file"),
        (
            &|path| symlink("/dev/zero", path).unwrap(),
            "it is a device, not a regular file",
        ),
        (
            &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            "it is a socket, not a regular file",
        ),
        (&sparse, "it is longer than 16 MiB"),
    ] {
        assert_eq!(error_with(make), format!("DIR/bad.json: cannot be read: {expected}"));
    }
}

#[test]
fn a_file_that_becomes_something_else_keeps_its_roles() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one")), ("b.json", &get_role("b", "one"))]);
    let source = dir.open();
    let a = dir.path().join("a.json");
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    for (count, make) in [
        (&fifo) as &dyn Fn(&Path),
        &|path: &Path| symlink("/dev/zero", path).unwrap(),
        &|path: &Path| symlink("nothing", path).unwrap(),
        &|path: &Path| symlink("elsewhere", path).unwrap(),
        &|path: &Path| fs::File::create(path).unwrap().set_len(3 << 30).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        fs::remove_file(&a).unwrap();
        make(&a);
        source.reload();
        source.poll();
        assert_eq!(answer_of(&source, &arn("a")), "policy one", "{count}");
        let answer = doubt(&source, &dir, &arn("missing"));
        assert!(answer.starts_with("failed: DIR/a.json: "), "{count}: {answer}");
        let failures = u64::try_from(count).unwrap() + 1;
        assert_eq!((source.health().reload_failures, source.broken_files()), (failures, 1));
    }
    fs::remove_file(&a).unwrap();
    dir.write("a.json", get_role("a", "two"));
    source.poll();
    assert_eq!(
        (answer_of(&source, &arn("a")).as_str(), source.broken_files()),
        ("policy two", 0)
    );
    fs::remove_file(&a).unwrap();
    source.poll();
    assert_eq!(
        answer_of(&source, &arn("a")),
        "no such role",
        "a file that is deleted is no failure"
    );
    assert_eq!(source.broken_files(), 0);
}

#[test]
fn files_behind_a_link_that_breaks_keep_their_roles() {
    let outer = Dir::new(&[
        ("volume/b.json", &get_role("b", "one")),
        ("roles/a.json", &get_role("a", "one")),
    ]);
    symlink("../volume", outer.path().join("roles/team")).unwrap();
    let source = FileRoles::open(outer.path().join("roles"), WhenMissing::NoSuchRole, FileRoles::POLL).unwrap();
    fs::rename(outer.path().join("volume"), outer.path().join("unmounted")).unwrap();
    source.poll();
    assert_eq!(answer_of(&source, &arn("b")), "policy one");
    assert_eq!(source.broken_files(), 1);
    fs::remove_file(outer.path().join("roles/team")).unwrap();
    source.poll();
    assert_eq!(
        answer_of(&source, &arn("b")),
        "no such role",
        "without the link, its files are deleted"
    );
    assert_eq!(source.broken_files(), 0);
}

#[test]
fn roles_of_a_directory_that_becomes_empty_are_kept_until_a_file_says_that_there_are_none() {
    let dir = Dir::new(&[
        ("a.json", &get_role("a", "one")),
        ("team/b.json", &get_role("b", "one")),
    ]);
    let source = dir.open();
    fs::remove_file(dir.path().join("a.json")).unwrap();
    fs::remove_dir_all(dir.path().join("team")).unwrap();
    for _ in 0..3 {
        source.poll();
        source.reload();
        assert_eq!(answer_of(&source, &arn("a")), "policy one");
        assert_eq!(answer_of(&source, &arn("b")), "policy one");
    }
    assert_eq!((source.health().reload_failures, source.broken_files()), (1, 1));

    dir.write("none.json", r#"{"Roles": []}"#);
    source.poll();
    assert_eq!(answer_of(&source, &arn("a")), "no such role");
    assert_eq!((source.health().reload_failures, source.broken_files()), (1, 0));
}

#[test]
fn directories_that_link_to_each_other_are_entered_once() {
    let dir = Dir::new(&[]);
    let names: Vec<_> = (0..20).map(|number| format!("team{number:02}")).collect();
    for name in &names {
        dir.write(&format!("{name}/role.json"), get_role(name, "one"));
        for other in names.iter().filter(|other| *other != name) {
            symlink(dir.path().join(other), dir.path().join(name).join(other)).unwrap();
        }
    }
    let source = dir.open();
    assert_eq!((source.len(), source.looks()), (20, 20), "each file is looked at once");
}

/// A directory with so many files `role0.json`, …, which have been left alone for long enough that their metadata prove what they hold.
fn settled(count: usize) -> (Dir, FileRoles) {
    let dir = Dir::new(&[]);
    for number in 0..count {
        dir.write(&format!("role{number}.json"), get_role(&format!("role{number}"), "one"));
    }
    let source = dir.open();
    std::thread::sleep(Duration::from_secs(4));
    // Each file was written shortly before it was read.
    source.reload();
    (dir, source)
}

#[test]
fn a_read_costs_a_look_at_the_files_of_its_role_and_a_poll_one_at_a_share_of_the_files() {
    const FILES: usize = 3000;
    let (dir, source) = settled(FILES);
    let cost_of = |work: &dyn Fn()| {
        let (looks, reads) = (source.looks(), source.content_reads());
        work();
        (source.looks() - looks, source.content_reads() - reads)
    };
    let read = |name: &str| assert_eq!(answer_of(&source, &arn(name)), "policy one");
    assert_eq!(cost_of(&|| read("role7")), (1, 0));
    let all = u64::try_from(FILES).unwrap();
    assert_eq!(
        cost_of(&|| assert_eq!(answer_of(&source, &arn("missing")), "no such role")),
        (all, 0)
    );
    assert_eq!(cost_of(&|| source.poll()), (1000, 0));

    // A list of many roles is not read again for each of them.
    let list: Vec<_> = (0..10)
        .map(|number| cli_role(&format!("listed{number}"), &policy("one")))
        .collect();
    dir.write("list.json", json!({ "Roles": list }).to_string());
    read("listed0");
    std::thread::sleep(Duration::from_secs(4));
    source.reload();
    for number in 0..10 {
        assert_eq!(cost_of(&|| read(&format!("listed{number}"))), (1, 0));
    }

    // Written in place, with the same length: its directory does not change.
    dir.write("role7.json", get_role("role7", "two"));
    dir.write("role8.json", get_role("role8", "two"));
    assert_eq!(
        answer_of(&source, &arn("role7")),
        "policy two",
        "at once if it is asked for"
    );
    dir.write("role9.json", get_role("role9", "two"));
    let changes = source.changes().unwrap();
    let before = *changes.borrow();
    let polls = (1..=FILES.div_ceil(1000) + 1).find(|_| {
        source.poll();
        *changes.borrow() > before
    });
    assert!(polls.is_some(), "else after a few polls");
}

/// A refusal has no time for a look at each of 100,000 files.
#[test]
fn among_many_files_a_missing_role_costs_a_look_at_those_that_define_other_than_one_role() {
    const FILES: usize = 10_001;
    let (dir, source) = settled(FILES);
    let list = |names: &[&str]| {
        let roles: Vec<_> = names.iter().map(|name| cli_role(name, &policy("one"))).collect();
        json!({ "Roles": roles }).to_string()
    };
    let is_missing = |name: &str| assert_eq!(answer_of(&source, &arn(name)), "no such role");
    let looks = |work: &dyn Fn()| {
        let before = source.looks();
        work();
        source.looks() - before
    };
    assert_eq!(looks(&|| is_missing("missing")), 0);
    // Nevertheless, a new file counts at once, and a role that is added in place to a list of none or several.
    dir.write("new.json", get_role("new", "one"));
    assert_eq!(answer_of(&source, &arn("new")), "policy one");
    dir.write("list.json", list(&[]));
    is_missing("listed");
    std::thread::sleep(Duration::from_secs(4));
    source.reload();
    assert_eq!(looks(&|| is_missing("listed")), 1);
    for (names, added) in [
        (&["listed", "second"][..], "listed"),
        (&["listed", "second", "third"], "third"),
    ] {
        dir.write("list.json", list(names));
        assert_eq!(answer_of(&source, &arn(added)), "policy one");
        std::thread::sleep(Duration::from_secs(4));
        source.reload();
    }
    // A file of one role that becomes that of another is found when its own role is asked for.
    dir.write("role7.json", get_role("other", "one"));
    is_missing("other");
    is_missing("role7");
    assert_eq!(answer_of(&source, &arn("other")), "policy one");
}

#[test]
fn a_role_that_moves_to_another_file_is_found_there() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one")), ("b.json", &get_role("b", "one"))]);
    let source = dir.open();
    dir.write("a.json", get_role("other", "one"));
    dir.write(
        "b.json",
        json!({"Roles": [cli_role("a", &policy("two")), cli_role("b", &policy("two"))]}).to_string(),
    );
    assert_eq!(answer_of(&source, &arn("a")), "policy two");
    fs::rename(dir.path().join("b.json"), dir.path().join("c.json")).unwrap();
    assert_eq!(answer_of(&source, &arn("a")), "policy two");
}

#[tokio::test]
async fn a_command_reads_each_file_once_however_many_roles_it_asks_for() {
    const ROLES: usize = 300;
    let dir = Dir::new(&[]);
    for number in 0..ROLES {
        dir.write(&format!("role{number}.json"), get_role(&format!("role{number}"), "one"));
    }
    let source = Arc::new(dir.open().without_changes());
    let settings = RoleCacheSettings {
        ttl: Duration::from_secs(3600),
        max_stale: Duration::from_secs(3600),
        read_timeout: Duration::from_secs(30),
        capacity: 2 * ROLES,
    };
    let cache = RoleCache::new(vec![source.clone()], settings);
    for number in 0..2 * ROLES {
        let role = RoleArn::parse(&arn(&format!("role{number}"))).unwrap();
        let trust = cache.entry(&role, Instant::now() + Duration::from_secs(30)).await.trust;
        assert_eq!(matches!(trust, Trust::Policy { .. }), number < ROLES, "{trust:?}");
    }
    let roles = u64::try_from(ROLES).unwrap();
    assert_eq!((source.looks(), source.content_reads()), (roles, roles));
}

#[tokio::test]
async fn the_swap_of_a_config_map_reaches_the_source_by_itself() {
    let dir = Dir::new(&[]);
    mount(&dir, "2026_11_22_01", &[("a.json", &get_role("a", "one"))]);
    symlink("..data/a.json", dir.path().join("a.json")).unwrap();
    let source = FileRoles::open(dir.path(), WhenMissing::NoSuchRole, Duration::from_millis(10)).unwrap();
    // Past the time in which every file is read again because it was just written.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut changes = source.changes().unwrap();
    let stop = CancellationToken::new();
    let swapped = async {
        mount(&dir, "2026_11_22_02", &[("a.json", &get_role("a", "two"))]);
        tokio::time::timeout(Duration::from_secs(30), changes.changed())
            .await
            .expect("seen")
            .unwrap();
        stop.cancel();
    };
    tokio::join!(source.run(stop.clone()), swapped);
    let before = Instant::now();
    source.reload();
    let answer = source.read(&RoleArn::parse(&arn("a")).unwrap(), before).await;
    assert!(format!("{answer:?}").contains("two"));
}

/// Why a role is not known, with the directory written as DIR.
fn doubt(source: &FileRoles, dir: &Dir, arn: &str) -> String {
    answer_of(source, arn).replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn a_directory_without_a_role_file_proves_nothing() {
    const NONE: &str = "DIR: has no role file (*.json); add one";
    const UNLIKE: &str = "DIR: has no role file (*.json); the names of role files must end in .json, unlike a-role";
    let dir = Dir::new(&[]);
    // A hidden file explains nothing.
    dir.write(".gitkeep", "");
    let source = dir.open();
    assert_eq!(doubt(&source, &dir, &arn("a")), format!("failed: {NONE}"));
    assert_eq!(
        doubt(&dir.open_as(WhenMissing::NotMine), &dir, &arn("a")),
        format!("not mine: {NONE}")
    );
    assert!(source.without_files().is_some());

    dir.write("b-role", get_role("b", "one"));
    dir.write("a-role", get_role("a", "one"));
    assert_eq!(doubt(&dir.open(), &dir, &arn("a")), format!("failed: {UNLIKE}"));
    assert_eq!(
        doubt(&dir.open().without_changes(), &dir, &arn("a")),
        format!("failed: {UNLIKE}")
    );
    source.reload();
    assert_eq!(doubt(&source, &dir, &arn("a")), format!("failed: {UNLIKE}"));
    assert_eq!((source.health().reload_failures, source.broken_files()), (0, 0));

    dir.write("none.json", r#"{"Roles": []}"#);
    assert_eq!(answer_of(&source, &arn("a")), "no such role");
    assert!(dir.open().without_files().is_none());
}

/// The key of the ConfigMap has no `.json`.
#[test]
fn the_mount_of_a_config_map_names_the_key() {
    let dir = Dir::new(&[]);
    mount(&dir, "2026_11_22_01", &[("worker", &get_role("worker", "one"))]);
    symlink("..data/worker", dir.path().join("worker")).unwrap();
    let answer = doubt(&dir.open(), &dir, &arn("worker"));
    assert!(
        answer.starts_with("failed: DIR: has no role file") && answer.ends_with("unlike worker"),
        "{answer}"
    );
}

#[test]
fn a_role_that_no_file_defines_is_not_known_while_a_change_cannot_be_taken_over() {
    let dir = Dir::new(&[("a.json", &get_role("a", "one"))]);
    let (source, first) = (dir.open(), dir.open_as(WhenMissing::NotMine));
    let changes = source.changes().unwrap();
    let version = *changes.borrow();
    assert_eq!(answer_of(&source, &arn("b")), "no such role");

    dir.write("b.json", "{");
    let reason = "DIR/b.json:1:1: is not JSON";
    for source in [&source, &first] {
        assert_eq!(answer_of(source, &arn("a")), "policy one");
        let answer = doubt(source, &dir, &arn("b"));
        assert!(answer.contains(reason), "{answer}");
    }
    assert!(doubt(&source, &dir, &arn("b")).starts_with("failed: "));
    assert!(doubt(&first, &dir, &arn("b")).starts_with("not mine: "));
    let broken = *changes.borrow();
    assert!(broken > version, "what was kept of missing roles is read again");

    dir.write("b.json", get_role("b", "two"));
    assert_eq!(answer_of(&source, &arn("b")), "policy two");
    assert_eq!(answer_of(&source, &arn("c")), "no such role");

    // A file that is broken and deleted proves nothing any more.
    dir.write("c.json", "{");
    assert!(doubt(&source, &dir, &arn("c")).contains("DIR/c.json"));
    fs::remove_file(dir.path().join("c.json")).unwrap();
    assert_eq!(answer_of(&source, &arn("c")), "no such role");

    // Files that contradict each other, and files that are all gone.
    dir.write("c.json", get_role("a", "other"));
    assert!(doubt(&source, &dir, &arn("d")).contains("differently from"));
    fs::remove_file(dir.path().join("c.json")).unwrap();
    source.reload();
    assert_eq!(answer_of(&source, &arn("d")), "no such role");
    fs::remove_file(dir.path().join("a.json")).unwrap();
    fs::remove_file(dir.path().join("b.json")).unwrap();
    assert_eq!(answer_of(&source, &arn("a")), "policy one");
    assert!(doubt(&source, &dir, &arn("d")).contains("no longer has any role files"));
}
