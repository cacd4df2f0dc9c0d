//! The transit provider, against a real OpenBao server and against one that does what no real one does.

mod answers;
mod fake;
mod server;
mod settings;

use std::{error::Error, fmt::Debug, os::unix::fs::PermissionsExt as _, path::Path};

use tower_ward::{
    id::TenantId,
    keys::{KeyBytes, KeyContext, KeyProvider as _, ProviderError, ProviderErrorKind, TransitProvider},
    secret::{ExposeSecret as _, Secret},
};

/// Bytes that are found wherever they are printed.
const KEY: [u8; 32] = *b"canary-of-a-key-to-be-wrapped-7f";
const TOKEN: &str = "hvs.canary-of-a-token-51c6";

fn key() -> KeyBytes {
    Secret::new(Box::new(KEY))
}

fn north() -> KeyContext {
    KeyContext::tenant(TenantId::new("northgate").unwrap())
}

fn south() -> KeyContext {
    KeyContext::tenant(TenantId::new("southgate").unwrap())
}

/// All that an error says, its sources too.
fn said(error: &dyn Error) -> String {
    let mut said = format!("{error:?} {error:#?}");
    let mut next = Some(error);
    while let Some(error) = next {
        said += &format!(" {error} {error:?}");
        next = error.source();
    }
    said
}

/// Neither the key, in any spelling, nor the token.
fn assert_silent(row: &str, said: &str, token: &str) {
    let base64 = data_encoding::BASE64.encode(&KEY);
    let list = format!("{KEY:?}");
    let key = std::str::from_utf8(&KEY).unwrap();
    for secret in [key, &base64[..40], &hex::encode(KEY), list.trim_matches(['[', ']']), token] {
        assert!(!said.contains(secret), "{row} tells a secret: {said}");
    }
}

/// The kind is the one expected, and the text names the key, says something after it, and tells no secret.
fn assert_refused<T: Debug>(
    row: &str,
    result: Result<T, ProviderError>,
    kind: ProviderErrorKind,
    key: &str,
    tells: &str,
) {
    let error = result.map(|_| ()).expect_err(row);
    assert_eq!(error.kind(), kind, "{row}: {error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("transit:transit/{key}: ")) && text.contains(tells), "{row}: {text}");
    assert_eq!(error.key(), format!("transit:transit/{key}"));
    assert_silent(row, &said(&error), TOKEN);
}

async fn opens(row: &str, provider: &TransitProvider, wrapped: &[u8]) {
    let unwrapped = provider.unwrap(wrapped, &north()).await.unwrap_or_else(|error| panic!("{row}: {error}"));
    assert_eq!(unwrapped.expose_secret(), &KEY, "{row}");
}

fn blob(wrapped: &[u8]) -> &str {
    std::str::from_utf8(wrapped).unwrap()
}

fn restrict(file: &Path, mode: u32) {
    if file.exists() {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}
