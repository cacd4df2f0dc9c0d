//! The provider on AWS KMS: against a server that plays recorded answers, and against moto, which speaks the same
//! protocol. Moto proves the form of what is said and no more: it decrypts with keys that are disabled.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod canary;
mod moto;
mod player;
mod recorded;

use std::time::Duration;

use tower_ward::{
    id::TenantId,
    keys::{
        AwsKmsError, AwsKmsProvider, KeyBytes, KeyContext,
        aws_sdk_kms::{
            Client, Config,
            config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
        },
    },
    secret::Secret,
};

const KEY_ARN: &str = "arn:aws:kms:eu-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const SECRET_KEY: &str = "canary/wJalrXUtnFEMI/K7MDENG/bPxRfiCY";
const SESSION_TOKEN: &str = "canary-IQoJb3JpZ2luX2VjEJr";

/// A client that would try five times, were it left to itself.
fn client(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-2"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", SECRET_KEY, Some(SESSION_TOKEN.to_owned()), None, "test"))
        .retry_config(RetryConfig::standard().with_max_attempts(5).with_initial_backoff(Duration::from_millis(1)))
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

fn provider(endpoint: &str) -> AwsKmsProvider {
    AwsKmsProvider::new(client(endpoint), KEY_ARN).unwrap()
}

fn key_bytes() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i * 37 % 251).unwrap() ^ 0xa5)
}

fn key() -> KeyBytes {
    Secret::new(Box::new(key_bytes()))
}

fn context() -> KeyContext {
    KeyContext::tenant(TenantId::new("northgate").unwrap())
}

#[test]
fn a_key_is_named_by_its_own_arn_alone() {
    let client = client("http://127.0.0.1:9");
    for arn in [
        KEY_ARN,
        "arn:aws-us-gov:kms:eu-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws:kms:eu-west-2:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
    ] {
        assert_eq!(AwsKmsProvider::new(client.clone(), arn).unwrap().key_arn(), arn);
    }
    for (name, alias) in [
        ("an alias", "alias/northgate"),
        ("an alias of AWS", "alias/aws/s3"),
        ("the ARN of an alias", "arn:aws:kms:eu-west-2:111122223333:alias/northgate"),
    ] {
        let refused = AwsKmsProvider::new(client.clone(), alias).unwrap_err();
        assert_eq!(refused, AwsKmsError::Alias(alias.to_owned()), "{name}");
    }
    for (name, arn) in [
        ("nothing", String::new()),
        ("a bare id", "1234abcd-12ab-34cd-56ef-1234567890ab".to_owned()),
        ("a resource", "key/1234abcd-12ab-34cd-56ef-1234567890ab".to_owned()),
        ("white space before it", format!(" {KEY_ARN}")),
        ("a line end after it", format!("{KEY_ARN}\n")),
        ("one part more", format!("{KEY_ARN}:1")),
        ("one path more", format!("{KEY_ARN}/1")),
        ("another service", KEY_ARN.replace(":kms:", ":s3:")),
        ("another scheme", KEY_ARN.replace("arn:", "urn:")),
        ("no partition", KEY_ARN.replace(":aws:", "::")),
        ("a partition of somebody else", KEY_ARN.replace(":aws:", ":awsome:")),
        ("no region", KEY_ARN.replace("eu-west-2", "")),
        ("a region in capitals", KEY_ARN.replace("eu-west-2", "EU-WEST-2")),
        ("no account", KEY_ARN.replace("111122223333", "")),
        ("an account of eleven digits", KEY_ARN.replace("111122223333", "11112222333")),
        ("an account with a letter", KEY_ARN.replace("111122223333", "11112222333x")),
        ("no id", KEY_ARN.replace("1234abcd-12ab-34cd-56ef-1234567890ab", "")),
        ("an id in capitals", KEY_ARN.replace("1234abcd", "1234ABCD")),
        ("an id that is cut off", KEY_ARN.replace("1234567890ab", "1234567890a")),
        ("an id without its dashes", KEY_ARN.replace("-12ab-34cd-56ef-", "12ab34cd56ef")),
        ("an id of a multi-region key that is too long", KEY_ARN.replace("key/", "key/mrk-")),
        ("all keys", KEY_ARN.replace("1234abcd-12ab-34cd-56ef-1234567890ab", "*")),
    ] {
        let refused = AwsKmsProvider::new(client.clone(), &arn).unwrap_err();
        assert_eq!(refused, AwsKmsError::NotAnArn(arn), "{name}");
    }
}

#[test]
fn the_client_asks_where_the_key_is_and_has_time() {
    let elsewhere = KEY_ARN.replace("eu-west-2", "us-east-1");
    let refused = AwsKmsProvider::new(client("http://127.0.0.1:9"), &elsewhere).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the client asks in `eu-west-2`, and the key is in `us-east-1`: give the client the key's region"
    );
    let config = Config::builder().behavior_version(BehaviorVersion::latest()).build();
    let refused = AwsKmsProvider::new(Client::from_conf(config), KEY_ARN).unwrap_err();
    assert_eq!(refused, AwsKmsError::Region { client: None, key: "eu-west-2".to_owned() });
    let refused = provider("http://127.0.0.1:9").with_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(refused, AwsKmsError::NoTime);
}
