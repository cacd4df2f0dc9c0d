//! Neither a key nor a credential is in anything that comes out.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex},
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::json;
use tower_ward::keys::{AwsKmsProvider, KeyProvider as _, aws_sdk_kms::primitives::Blob};

use super::{
    KEY_ARN, SECRET_KEY, SESSION_TOKEN, client, context, key, key_bytes,
    player::{Answer, Player},
    provider,
};

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.0.lock().unwrap())).into_owned()
    }
}

/// In which of its spellings a secret is in a text.
fn found(text: &str) -> Vec<String> {
    let key = key_bytes();
    let list = format!("{key:?}");
    // The last digits of base64 depend on what follows.
    let base64 = BASE64.encode(&key[..30]);
    let escaped: String = key.iter().flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect();
    let url = BASE64URL_NOPAD.encode(&key[..30]);
    let spellings =
        [hex::encode(key), hex::encode_upper(key), list.trim_matches(['[', ']']).to_owned(), base64, url, escaped];
    let secrets = spellings.into_iter().chain([SECRET_KEY.to_owned(), SESSION_TOKEN.to_owned()]);
    secrets.filter(|secret| text.contains(secret)).collect()
}

/// All that an error prints, and its causes.
fn told(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!(" {inner} {inner:?} {inner:#?}");
        cause = inner.source();
    }
    text
}

#[tokio::test]
async fn no_key_and_no_credential_comes_out() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);

    let base64 = BASE64.encode(&key_bytes());
    let long = BASE64.encode(&[&key_bytes()[..], b"!"].concat());
    let full =
        json!({ "KeyId": KEY_ARN, "Plaintext": base64, "CiphertextBlob": BASE64.encode(b"wrapped") }).to_string();

    // The SDK by itself traces the key: were it otherwise, what follows would prove nothing.
    let player = Player::new(Answer::new(200, full.clone())).await;
    let request = client(&player.url()).encrypt().key_id(KEY_ARN).plaintext(Blob::new(key_bytes()));
    request.send().await.unwrap();
    assert!(found(&log.take()).contains(&BASE64.encode(&key_bytes()[..30])), "the search finds what is there");

    let mut texts = Vec::new();
    for (name, answer) in [
        ("what was asked for", Answer::new(200, full.clone())),
        ("a broken success", Answer::new(200, &full[..full.len() - 1])),
        ("a success that breaks off", Answer::Cut(200, String::new(), full.clone())),
        ("a key of 33 bytes", Answer::new(200, json!({ "KeyId": KEY_ARN, "Plaintext": long }).to_string())),
        ("a key for a name", Answer::new(200, json!({ "KeyId": base64, "Plaintext": base64 }).to_string())),
        (
            "a key in a message",
            Answer::new(400, json!({ "__type": "DisabledException", "message": base64 }).to_string()),
        ),
        ("a key for a code", Answer::new(400, json!({ "__type": base64 }).to_string())),
        ("a key in hex for a code", Answer::new(400, json!({ "__type": hex::encode(key_bytes()) }).to_string())),
        (
            "a credential in a message",
            Answer::new(400, json!({ "__type": "AccessDeniedException", "Message": SESSION_TOKEN }).to_string()),
        ),
        ("a credential in a header", Answer::Whole(400, format!("x-amzn-errortype: {SECRET_KEY}\r\n"), "{}".into())),
        ("a key on a page", Answer::new(502, format!("<html>{base64}{SECRET_KEY}</html>"))),
        ("a closed connection", Answer::Close),
    ] {
        let player = Player::new(answer).await;
        let provider = provider(&player.url());
        let (wrapped, unwrapped) =
            (provider.wrap(&key(), &context()).await, provider.unwrap(b"wrapped", &context()).await);
        assert_eq!(player.times(), 2, "{name}");
        texts.push((name, format!("{provider:?} {provider:#?} {wrapped:?} {unwrapped:?}")));
        texts.push((name, wrapped.err().map(|error| told(&error)).unwrap_or_default()));
        texts.push((name, unwrapped.err().map(|error| told(&error)).unwrap_or_default()));
        texts.push((name, provider.describe().await.err().map(|error| told(&error)).unwrap_or_default()));
    }
    texts.push(("a setting", told(&AwsKmsProvider::new(client("http://127.0.0.1:9"), "alias/x").unwrap_err())));
    texts.push(("the log", log.take()));
    for (name, text) in texts {
        assert_eq!(found(&text), [""; 0], "{name}: {text}");
    }
}
