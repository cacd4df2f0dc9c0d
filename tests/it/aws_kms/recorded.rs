//! What each answer of KMS, and of what may stand in its place, leads to. The bodies have the forms in which AWS
//! documents them for the JSON protocol, version 1.1.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tower_ward::{
    keys::{
        AwsKmsProvider, KeyContext, KeyProvider as _, MAX_WRAPPED, ProviderError,
        ProviderErrorKind::{self, Denied, Garbled, Mismatch, Unavailable},
        aws_sdk_kms::{
            Client, Config,
            config::{BehaviorVersion, Region},
        },
    },
    secret::ExposeSecret as _,
};

use super::{
    KEY_ARN, client, context, key, key_bytes,
    player::{Answer, Asked, Player},
    provider,
};

const OTHER_ARN: &str = "arn:aws:kms:eu-west-2:111122223333:key/ffffffff-12ab-34cd-56ef-1234567890ab";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Wrap,
    Unwrap,
    Describe,
}

const CALLS: [Call; 3] = [Call::Wrap, Call::Unwrap, Call::Describe];

impl Call {
    async fn make(self, provider: &AwsKmsProvider) -> Result<(), ProviderError> {
        match self {
            Self::Wrap => provider.wrap(&key(), &context()).await.map(drop),
            Self::Unwrap => provider.unwrap(b"wrapped", &context()).await.map(drop),
            Self::Describe => provider.describe().await.map(drop),
        }
    }

    /// The request is what it has to be.
    fn check(self, asked: &Asked, name: &str) {
        let target = asked.header("x-amz-target");
        let context = json!({ "tower-ward-purpose": "tenant-key", "tower-ward-tenant": "northgate" });
        let (operation, body) = match self {
            Self::Wrap => (
                "Encrypt",
                json!({
                    "KeyId": KEY_ARN, "Plaintext": BASE64.encode(&key_bytes()), "EncryptionContext": context,
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                }),
            ),
            Self::Unwrap => (
                "Decrypt",
                json!({
                    "KeyId": KEY_ARN, "CiphertextBlob": BASE64.encode(b"wrapped"), "EncryptionContext": context,
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                }),
            ),
            Self::Describe => ("DescribeKey", json!({ "KeyId": KEY_ARN })),
        };
        assert_eq!(target, Some(format!("TrentService.{operation}").as_str()), "{name}");
        assert_eq!(asked.body, body, "{name}");
        let signed = asked.header("authorization").unwrap();
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") && signed.contains("/eu-west-2/kms/"));
    }
}

/// Every call, given this answer, ends in an error of this kind, and was made once.
async fn every_call(name: &str, answer: &Answer, kind: ProviderErrorKind) -> String {
    let mut told = String::new();
    for call in CALLS {
        let player = Player::new(answer.clone()).await;
        let error = call.make(&provider(&player.url())).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}, {call:?}: {error}");
        assert_eq!(error.key(), KEY_ARN);
        call.check(&player.only(), name);
        told = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    }
    told
}

#[tokio::test]
async fn every_error_of_kms_has_its_kind() {
    let denied = "User: arn:aws:sts::111122223333:assumed-role/platform/i-0 is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab because no resource-based policy allows the kms:Decrypt action";
    for (status, code, message, kind) in [
        (400, "AccessDeniedException", denied, Denied),
        (403, "AccessDeniedException", denied, Denied),
        (400, "InvalidGrantTokenException", "", Denied),
        (400, "NotAuthorized", "You do not have permission to perform this action.", Denied),
        (403, "OptInRequired", "The AWS access key ID needs a subscription for the service.", Denied),
        (400, "UnrecognizedClientException", "The security token included in the request is invalid.", Denied),
        (403, "InvalidClientTokenId", "The security token included in the request is invalid.", Denied),
        (400, "InvalidSignatureException", "The request signature we calculated does not match", Denied),
        (400, "IncompleteSignature", "Credential must have exactly 5 slash-delimited elements", Denied),
        (400, "MissingAuthenticationToken", "Missing Authentication Token", Denied),
        (400, "ExpiredTokenException", "The security token included in the request is expired", Denied),
        (400, "DisabledException", "arn:aws:kms:… is disabled.", Denied),
        (400, "KMSInvalidStateException", "arn:aws:kms:… is pending deletion.", Denied),
        (400, "KMSInvalidStateException", "the custom key store is not connected", Denied),
        (400, "NotFoundException", "Key 'arn:aws:kms:…' does not exist", Denied),
        (400, "InvalidKeyUsageException", "arn:aws:kms:… key usage is SIGN_VERIFY", Denied),
        (400, "InvalidCiphertextException", "", Mismatch),
        (400, "IncorrectKeyException", "The key ID in the request does not identify a CMK", Mismatch),
        (400, "ThrottlingException", "You have exceeded the rate at which you may call KMS.", Unavailable),
        (429, "ThrottlingException", "Rate exceeded", Unavailable),
        (400, "LimitExceededException", "", Unavailable),
        (500, "KeyUnavailableException", "", Unavailable),
        (500, "DependencyTimeoutException", "", Unavailable),
        (500, "KMSInternalException", "", Unavailable),
        (500, "InternalFailure", "", Unavailable),
        (503, "ServiceUnavailable", "", Unavailable),
        (400, "RequestExpired", "", Unavailable),
        (400, "ValidationException", "1 validation error detected", Unavailable),
        (400, "AnExceptionThatCameLater", "", Unavailable),
        (400, "disabledexception", "", Unavailable),
        (400, "Disabled Exception", "", Unavailable),
        (400, "", "", Unavailable),
    ] {
        let name = format!("{status} {code} {message}");
        // KMS gives the code in the body and in some places a message with a capital, or none.
        let mut body = json!({ "__type": code });
        if !message.is_empty() {
            body[if code == "AccessDeniedException" { "Message" } else { "message" }] = message.into();
        }
        let told = every_call(&name, &Answer::new(status, body.to_string()), kind).await;
        let code = if code.is_empty() || code.contains(' ') { "no code".to_owned() } else { format!("`{code}`") };
        assert!(
            told.ends_with(&format!("status {status}, {code}, request `6b7f3c1e-0000-4000-8000-5ad1c0ffee00`")),
            "{told}"
        );
        assert!(message.is_empty() || !told.contains(message), "{told}");
    }
}

#[tokio::test]
async fn a_code_counts_however_it_is_spelt_and_only_with_its_status() {
    let disabled = r#"{"__type":"DisabledException","message":"is disabled"}"#;
    let in_header = "x-amzn-errortype: DisabledException:http://internal.amazon.com/coral/com.amazonaws.kms/\r\n";
    for (name, answer, kind) in [
        ("in a header with an address", Answer::Whole(400, in_header.into(), "{}".into()), Denied),
        ("with its namespace", Answer::new(400, r#"{"__type":"com.amazonaws.kms#DisabledException"}"#), Denied),
        ("of a refusal, by a server that failed", Answer::new(500, disabled), Unavailable),
        ("of a refusal, by a gateway", Answer::new(502, disabled), Unavailable),
        (
            "of a mismatch, by a server that failed",
            Answer::new(503, r#"{"__type":"InvalidCiphertextException"}"#),
            Unavailable,
        ),
        ("of a refusal, with a redirection", Answer::new(307, disabled), Unavailable),
        ("in a body that is cut off", Answer::new(400, &disabled[..disabled.len() - 1]), Unavailable),
    ] {
        every_call(name, &answer, kind).await;
    }
}

#[tokio::test]
async fn what_is_no_answer_of_kms_decides_nothing() {
    let page = "<html><head><title>403 Forbidden</title></head></html>";
    for (name, answer, kind) in [
        ("a proxy forbids", Answer::Whole(403, String::new(), page.into()), Unavailable),
        ("a proxy wants a password", Answer::new(407, page), Unavailable),
        ("nothing stands there", Answer::new(404, ""), Unavailable),
        ("too many", Answer::new(429, ""), Unavailable),
        ("a server that failed", Answer::new(500, ""), Unavailable),
        ("a bad gateway", Answer::new(502, page), Unavailable),
        ("a service that is down", Answer::new(503, ""), Unavailable),
        ("a connection that is closed", Answer::Close, Unavailable),
        ("a success that breaks off", Answer::Cut(200, String::new(), "{}".into()), Unavailable),
        ("a success that is a page", Answer::new(200, page), Garbled),
        ("a success with half an object", Answer::new(200, r#"{"KeyId":"arn:aws"#), Garbled),
        ("a success with a list", Answer::new(200, "[]"), Garbled),
    ] {
        every_call(name, &answer, kind).await;
    }
}

#[tokio::test]
async fn a_success_holds_what_was_asked_for_or_is_garbled() {
    let wrapped = |length: usize| BASE64.encode(&vec![7; length]);
    let key = |length: usize| BASE64.encode(&[&key_bytes()[..], &[0]].concat()[..length]);
    let metadata = |change: fn(&mut Value)| {
        let mut metadata = metadata();
        change(&mut metadata);
        json!({ "KeyMetadata": metadata })
    };
    for (name, call, body) in [
        ("nothing", Call::Wrap, json!({})),
        ("no ciphertext", Call::Wrap, json!({ "KeyId": KEY_ARN })),
        ("an empty ciphertext", Call::Wrap, json!({ "KeyId": KEY_ARN, "CiphertextBlob": "" })),
        (
            "a ciphertext that is too long",
            Call::Wrap,
            json!({ "KeyId": KEY_ARN, "CiphertextBlob": wrapped(MAX_WRAPPED + 1) }),
        ),
        ("a ciphertext that is no base64", Call::Wrap, json!({ "KeyId": KEY_ARN, "CiphertextBlob": "*" })),
        ("a ciphertext that is a number", Call::Wrap, json!({ "KeyId": KEY_ARN, "CiphertextBlob": 7 })),
        ("a ciphertext of no key", Call::Wrap, json!({ "CiphertextBlob": wrapped(150) })),
        ("a ciphertext of another key", Call::Wrap, json!({ "KeyId": OTHER_ARN, "CiphertextBlob": wrapped(150) })),
        ("a ciphertext of a bare id", Call::Wrap, json!({ "KeyId": &KEY_ARN[40..], "CiphertextBlob": wrapped(150) })),
        (
            "a ciphertext of another algorithm",
            Call::Wrap,
            json!({ "KeyId": KEY_ARN, "CiphertextBlob": wrapped(150), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" }),
        ),
        ("nothing", Call::Unwrap, json!({})),
        ("no key", Call::Unwrap, json!({ "KeyId": KEY_ARN })),
        ("an empty key", Call::Unwrap, json!({ "KeyId": KEY_ARN, "Plaintext": "" })),
        ("a key of 31 bytes", Call::Unwrap, json!({ "KeyId": KEY_ARN, "Plaintext": key(31) })),
        ("a key of 33 bytes", Call::Unwrap, json!({ "KeyId": KEY_ARN, "Plaintext": key(33) })),
        ("a key that is no base64", Call::Unwrap, json!({ "KeyId": KEY_ARN, "Plaintext": "*" })),
        ("a key under no key", Call::Unwrap, json!({ "Plaintext": key(32) })),
        ("a key under another key", Call::Unwrap, json!({ "KeyId": OTHER_ARN, "Plaintext": key(32) })),
        (
            "a key by another algorithm",
            Call::Unwrap,
            json!({ "KeyId": KEY_ARN, "Plaintext": key(32), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" }),
        ),
        ("a key for an enclave", Call::Unwrap, json!({ "KeyId": KEY_ARN, "CiphertextForRecipient": key(32) })),
        ("nothing", Call::Describe, json!({})),
        ("no state", Call::Describe, metadata(|m| m["KeyState"] = Value::Null)),
        ("no use", Call::Describe, metadata(|m| m["KeyUsage"] = Value::Null)),
        ("no spec", Call::Describe, metadata(|m| m["KeySpec"] = Value::Null)),
        ("no ARN", Call::Describe, metadata(|m| m["Arn"] = Value::Null)),
        ("another key", Call::Describe, metadata(|m| m["Arn"] = OTHER_ARN.into())),
    ] {
        let player = Player::new(Answer::new(200, body.to_string())).await;
        let error = call.make(&provider(&player.url())).await.unwrap_err();
        assert_eq!(error.kind(), Garbled, "{name}, {call:?}: {error}");
        call.check(&player.only(), name);
    }
}

fn metadata() -> Value {
    json!({
        "AWSAccountId": "111122223333", "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Arn": KEY_ARN,
        "CreationDate": 1_566_518_783.394_f64, "Enabled": true, "Description": "", "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "KeySpec": "SYMMETRIC_DEFAULT",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": false,
        "CurrentKeyMaterialId": "123456789012345678901234567890123456789012345678901234567890abcd",
    })
}

#[tokio::test]
async fn a_success_is_taken() {
    for length in [1, 150, MAX_WRAPPED] {
        let body = json!({ "KeyId": KEY_ARN, "CiphertextBlob": BASE64.encode(&vec![7; length]) });
        let player = Player::new(Answer::new(200, body.to_string())).await;
        assert_eq!(provider(&player.url()).wrap(&key(), &context()).await.unwrap(), vec![7; length]);
        Call::Wrap.check(&player.only(), "wrap");
    }
    let body = json!({
        "KeyId": KEY_ARN, "Plaintext": BASE64.encode(&key_bytes()), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "KeyMaterialId": "a field that nobody asks for",
    });
    let player = Player::new(Answer::new(200, body.to_string())).await;
    let unwrapped = provider(&player.url()).unwrap(b"wrapped", &context()).await.unwrap();
    assert_eq!(unwrapped.expose_secret(), &key_bytes());
    Call::Unwrap.check(&player.only(), "unwrap");

    let player = Player::new(Answer::new(200, body.to_string())).await;
    provider(&player.url()).unwrap(b"wrapped", &KeyContext::platform()).await.unwrap();
    assert_eq!(player.only().body["EncryptionContext"], json!({ "tower-ward-purpose": "platform-secret" }));
}

#[tokio::test]
async fn what_no_key_can_have_wrapped_is_not_asked_for() {
    let player = Player::new(Answer::Hang).await;
    for wrapped in [vec![], vec![7; MAX_WRAPPED + 1]] {
        let error = provider(&player.url()).unwrap(&wrapped, &context()).await.unwrap_err();
        assert_eq!(error.kind(), Mismatch, "{} bytes", wrapped.len());
    }
    assert_eq!(player.times(), 0);
}

#[tokio::test]
async fn a_description_says_what_kms_says() {
    for (name, field, value, enabled, confined) in [
        ("a key in use", "KeyState", "Enabled", true, true),
        ("a disabled key", "KeyState", "Disabled", false, true),
        ("a key that is to be deleted", "KeyState", "PendingDeletion", false, true),
        ("a key whose material is missing", "KeyState", "PendingImport", false, true),
        ("a key store that is not connected", "KeyState", "Unavailable", false, true),
        ("a state that came later", "KeyState", "Sleeping", false, true),
        ("a key in an HSM of one's own", "Origin", "AWS_CLOUDHSM", true, true),
        ("imported material", "Origin", "EXTERNAL", true, false),
        ("an external store", "Origin", "EXTERNAL_KEY_STORE", true, false),
        ("an origin that came later", "Origin", "ELSEWHERE", true, false),
    ] {
        let mut metadata = metadata();
        metadata[field] = value.into();
        let player = Player::new(Answer::new(200, json!({ "KeyMetadata": metadata }).to_string())).await;
        let key = provider(&player.url()).describe().await.unwrap();
        assert_eq!((key.enabled, key.confined), (enabled, confined), "{name}");
        assert_eq!((key.provider, key.key.as_str()), ("aws-kms", KEY_ARN));
        assert_eq!(key.created.unwrap().to_string(), "2019-08-23T00:06:23Z");
        assert_eq!(key.version.unwrap(), "123456789012345678901234567890123456789012345678901234567890abcd");
        Call::Describe.check(&player.only(), name);
    }
    for (name, field, value) in [
        ("a key that signs", "KeyUsage", "SIGN_VERIFY"),
        ("a key that makes MACs", "KeyUsage", "GENERATE_VERIFY_MAC"),
        ("a key of RSA", "KeySpec", "RSA_4096"),
    ] {
        let mut metadata = metadata();
        metadata[field] = value.into();
        let player = Player::new(Answer::new(200, json!({ "KeyMetadata": metadata }).to_string())).await;
        assert_eq!(provider(&player.url()).describe().await.unwrap_err().kind(), Denied, "{name}");
    }
}

#[tokio::test]
async fn a_call_is_made_once_though_the_client_would_try_five_times() {
    for answer in [Answer::new(503, ""), Answer::new(400, r#"{"__type":"ThrottlingException"}"#), Answer::Close] {
        let player = Player::new(answer.clone()).await;
        client(&player.url()).describe_key().key_id(KEY_ARN).send().await.unwrap_err();
        assert_eq!(player.times(), 5, "{answer:?}");
        every_call("once", &answer, Unavailable).await;
    }
}

#[tokio::test]
async fn a_call_ends_in_time_whatever_is_at_the_other_end() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = Player::new(Answer::Hang).await;
    for (name, url) in [
        ("nobody accepts", format!("http://{}", deaf.local_addr().unwrap())),
        ("nobody answers", hanging.url()),
        // TEST-NET-1, RFC 5737 §3: nobody is there.
        ("nobody is there", "http://192.0.2.1:443".to_owned()),
    ] {
        for call in CALLS {
            let provider = provider(&url).with_timeout(Duration::from_millis(100)).unwrap();
            let began = tokio::time::Instant::now();
            let error = call.make(&provider).await.unwrap_err();
            assert_eq!(error.kind(), Unavailable, "{name}, {call:?}: {error}");
            assert!(began.elapsed() < Duration::from_secs(2), "{name}, {call:?}: {:?}", began.elapsed());
        }
    }
    assert_eq!(hanging.times(), CALLS.len(), "each was made once");
}

#[tokio::test]
async fn who_is_not_reached_or_not_asked_is_unavailable() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for call in CALLS {
        let error = call.make(&provider(&format!("http://{closed}"))).await.unwrap_err();
        assert_eq!(error.kind(), Unavailable, "{call:?}: {error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "no connection: connection refused");
    }
    let player = Player::new(Answer::new(200, "{}")).await;
    let config = Config::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("eu-west-2"));
    let client = Client::from_conf(config.endpoint_url(player.url()).build());
    let provider = AwsKmsProvider::new(client, KEY_ARN).unwrap();
    for call in CALLS {
        let error = call.make(&provider).await.unwrap_err();
        assert_eq!(error.kind(), Unavailable, "{call:?}: {error}");
        assert!(error.to_string().contains("credentials"), "{error}");
    }
    assert_eq!(player.times(), 0, "nothing is asked without credentials");
}
