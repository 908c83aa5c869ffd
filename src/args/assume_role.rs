//! `--assume-role ACCOUNT=ROLE_ARN`: other accounts, whose roles are read with a role of that account.

use std::fmt;
use std::str::FromStr;

use super::usage::UsageError;
use super::values;
use crate::trust::{AccountId, RoleArn};

/// An account, and the role in it that may read its other roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssumeRole {
    /// The account.
    pub(crate) account: AccountId,
    /// The role that is assumed for reading.
    pub(crate) role: RoleArn,
}

impl FromStr for AssumeRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (account, role) = text
            .split_once('=')
            .ok_or("expected ACCOUNT=ROLE_ARN, such as 111122223333=arn:aws:iam::111122223333:role/rolegate-reader")?;
        let account = values::account(account)?;
        let role = RoleArn::parse(role).map_err(|error| error.to_string())?;
        if role.account() != account.as_str() {
            return Err(format!(
                "the role belongs to account {}; only a role of {account} can read the roles of {account}",
                role.account()
            ));
        }
        Ok(Self { account, role })
    }
}

impl fmt::Display for AssumeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.account, self.role)
    }
}

/// Checks that each account has one role.
pub(super) fn refuse_repeated(assumed: &[AssumeRole]) -> Result<(), UsageError> {
    for (index, one) in assumed.iter().enumerate() {
        if assumed.iter().skip(index + 1).any(|other| other.account == one.account) {
            return Err(UsageError::invalid(format!(
                "--assume-role names account {} twice; remove one of the two",
                one.account
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AssumeRole, String> {
        text.parse()
    }

    #[test]
    fn an_account_is_read_with_a_role_of_its_own() {
        let text = "444455556666=arn:aws:iam::444455556666:role/tools/reader";
        assert_eq!(parse(text).unwrap().to_string(), text);
        for (text, expected) in [
            ("arn:aws:iam::444455556666:role/reader", "ACCOUNT=ROLE_ARN"),
            ("4444=arn:aws:iam::444455556666:role/reader", "twelve digits"),
            (
                "111122223333=arn:aws:iam::444455556666:role/reader",
                "only a role of 111122223333",
            ),
            ("444455556666=reader", "role"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_account_is_named_once() {
        let one = parse("444455556666=arn:aws:iam::444455556666:role/reader").unwrap();
        let other = parse("111122223333=arn:aws:iam::111122223333:role/reader").unwrap();
        assert!(refuse_repeated(&[one.clone(), other.clone()]).is_ok());
        assert!(
            refuse_repeated(&[one.clone(), other, one])
                .unwrap_err()
                .message
                .contains("444455556666 twice")
        );
    }
}
