//! The Region whose endpoints are used when nothing sets one. IAM is one service per partition, so any Region of the correct
//! partition will do.

/// The Region that answers for IAM in a partition: where its control plane is, as far as AWS documents it.
pub(crate) fn of_partition(partition: &str) -> &'static str {
    match partition {
        "aws-cn" => "cn-north-1",
        "aws-us-gov" => "us-gov-west-1",
        "aws-iso" => "us-iso-east-1",
        "aws-iso-b" => "us-isob-east-1",
        "aws-iso-e" => "eu-isoe-west-1",
        "aws-iso-f" => "us-isof-south-1",
        "aws-eusc" => "eusc-de-east-1",
        _ => "us-east-1",
    }
}

/// The partition of an ARN; none for other text.
pub(crate) fn partition_of(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    (parts.next() == Some("arn")).then(|| parts.next()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_a_region_of_its_own() {
        for (arn, region) in [
            ("arn:aws:iam::111122223333:role/x", "us-east-1"),
            ("arn:aws-cn:iam::111122223333:role/x", "cn-north-1"),
            ("arn:aws-us-gov:iam::111122223333:role/x", "us-gov-west-1"),
            ("arn:aws-eusc:iam::111122223333:role/x", "eusc-de-east-1"),
            ("arn:aws-test:iam::111122223333:role/x", "us-east-1"),
        ] {
            assert_eq!(partition_of(arn).map(of_partition), Some(region), "{arn}");
        }
        assert_eq!(partition_of("role/x"), None);
    }
}
