//! What names a key, and where it is.

use super::AwsKmsError;

/// The region of a key's ARN, `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, if it is one in the form in which KMS writes it:
/// an answer is compared with it.
pub(super) fn region(arn: &str) -> Result<&str, AwsKmsError> {
    let parts: Vec<_> = arn.splitn(7, ':').collect();
    let is_key = |partition: &str, region: &str, account: &str, id: &str| {
        (partition == "aws" || partition.strip_prefix("aws-").is_some_and(is_label))
            && is_label(region)
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && is_id(id)
    };
    match parts[..] {
        ["arn", partition, "kms", region, account, resource] => match resource.split_once('/') {
            Some(("key", id)) if is_key(partition, region, account, id) => Ok(region),
            Some(("alias", _)) => Err(AwsKmsError::Alias(arn.to_owned())),
            _ => Err(AwsKmsError::NotAnArn(arn.to_owned())),
        },
        _ if arn.starts_with("alias/") => Err(AwsKmsError::Alias(arn.to_owned())),
        _ => Err(AwsKmsError::NotAnArn(arn.to_owned())),
    }
}

fn is_label(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A UUID, or of a multi-region key `mrk-` and 32 digits.
fn is_id(id: &str) -> bool {
    id.strip_prefix("mrk-").map_or_else(|| is_uuid(id), |rest| is_hex(rest, 32))
}

/// `1234abcd-12ab-34cd-56ef-1234567890ab`.
pub(super) fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.len() == 5 && groups.iter().zip([8, 4, 4, 4, 12]).all(|(group, length)| is_hex(group, length))
}

pub(super) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
