//! The provider against moto's server: what it says is what the protocol's other implementation understands.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tower_ward::{
    id::TenantId,
    keys::{AwsKmsProvider, KeyContext, KeyProvider as _, ProviderErrorKind, aws_sdk_kms::types::KeyUsageType},
    secret::ExposeSecret as _,
};

use super::{client, context, key, key_bytes};
use crate::support::program::program;

/// A server that ends with its test.
struct Moto {
    child: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    fn start() -> Self {
        let program = program("moto_server");
        let mut child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (found, url) = std::sync::mpsc::channel();
        // It goes on reading: a server whose pipe is full stops.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("Running on ") {
                    let _ = found.send(url.trim().to_owned());
                }
            }
        });
        let mut moto = Self { child, url: String::new() };
        moto.url = url.recv_timeout(Duration::from_secs(60)).expect("moto_server says where it listens");
        moto
    }
}

#[tokio::test]
async fn moto_understands_what_is_asked_and_is_understood() {
    let moto = Moto::start();
    let client = client(&moto.url);
    // Without a use, moto describes a key that has none.
    let new_key = || client.create_key().key_usage(KeyUsageType::EncryptDecrypt);
    let created = new_key().send().await.unwrap().key_metadata.unwrap();
    let arn = created.arn().unwrap();
    let provider = AwsKmsProvider::new(client.clone(), arn).unwrap();

    let described = provider.describe().await.unwrap();
    assert_eq!((described.provider, described.key.as_str()), ("aws-kms", arn));
    assert!(described.enabled && described.confined);
    assert_eq!(described.created.unwrap().as_second(), created.creation_date().unwrap().secs());

    let wrapped = provider.wrap(&key(), &context()).await.unwrap();
    assert!(!wrapped.windows(8).any(|part| key_bytes().windows(8).any(|bytes| bytes == part)));
    let unwrapped = provider.unwrap(&wrapped, &context()).await.unwrap();
    assert_eq!(unwrapped.expose_secret(), &key_bytes());
    let platform = provider.wrap(&key(), &KeyContext::platform()).await.unwrap();
    assert_eq!(provider.unwrap(&platform, &KeyContext::platform()).await.unwrap().expose_secret(), &key_bytes());

    // Another context, and bytes that were changed.
    let south = KeyContext::tenant(TenantId::new("southgate").unwrap());
    for (name, wrapped, context) in [
        ("another tenant", &wrapped, &south),
        ("no tenant", &wrapped, &KeyContext::platform()),
        ("a tenant where there was none", &platform, &context()),
    ] {
        let error = provider.unwrap(wrapped, context).await.unwrap_err();
        assert_eq!(error.kind(), ProviderErrorKind::Mismatch, "{name}: {error}");
    }
    for at in [wrapped.len() / 2, wrapped.len() - 1] {
        let mut flipped = wrapped.clone();
        flipped[at] ^= 1;
        let error = provider.unwrap(&flipped, &context()).await.unwrap_err();
        assert_eq!(error.kind(), ProviderErrorKind::Mismatch, "byte {at}: {error}");
    }

    // Another key, that the same caller may use. KMS says `IncorrectKeyException`, moto that it is not permitted.
    let other = new_key().send().await.unwrap().key_metadata.unwrap();
    let other = AwsKmsProvider::new(client.clone(), other.arn().unwrap()).unwrap();
    let error = other.unwrap(&wrapped, &context()).await.unwrap_err();
    assert!(error.kind().is_definite(), "{error}");

    // A key that is not there.
    let unknown = arn.rsplit_once('/').unwrap().0.to_owned() + "/00000000-0000-4000-8000-000000000000";
    let unknown = AwsKmsProvider::new(client.clone(), &unknown).unwrap();
    for error in [unknown.describe().await.unwrap_err(), unknown.wrap(&key(), &context()).await.unwrap_err()] {
        assert_eq!(error.kind(), ProviderErrorKind::Denied, "{error}");
    }
}
