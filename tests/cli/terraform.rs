//! The guide for the CI of a Terraform repository, command by command.

use insta::assert_snapshot;

use super::rolegate;

const GUIDE: &str = include_str!("../../docs/guides/terraform-ci.md");

#[test]
fn the_guide_finds_the_typing_error() {
    let typed: Vec<Vec<&str>> = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("$ rolegate "))
        .map(|command| command.split(' ').collect())
        .collect();
    let [audit, check] = typed.as_slice() else {
        panic!("{typed:?}")
    };
    let ran = rolegate(audit);
    assert_eq!((ran.code, &*ran.err), (1, ""));
    assert_snapshot!(ran.out);
    let ran = rolegate(check);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{}", ran.out);
}
