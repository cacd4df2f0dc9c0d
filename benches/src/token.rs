//! Access tokens: verified cold, and found warm.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tower_ward::{
    clock::{Clock, SystemClock},
    identity::{Identity, IdentityOptions},
    secret::ExposeSecret,
};

use crate::{
    bench::Bench,
    ratio::{Effort, Row, Target, compare, row, time},
};

/// The claims that an application's own token would have.
#[derive(Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    sub: String,
    exp: u64,
    nbf: u64,
    jti: String,
    tenant: String,
    sid: String,
    role: String,
}

/// A token that is not ours, and what verifies it.
pub(crate) struct Foreign {
    pub(crate) token: String,
    pub(crate) key: DecodingKey,
    pub(crate) validation: Validation,
    public: Vec<u8>,
}

pub(crate) fn ed25519() -> Foreign {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let pkcs8 = pair.to_pkcs8().expect("encoded");
    let public = pair.public_key().as_ref().to_vec();
    let (encoding, key) = (EncodingKey::from_ed_der(pkcs8.as_ref()), DecodingKey::from_ed_der(&public));
    foreign(Algorithm::EdDSA, &encoding, key, public)
}

pub(crate) fn hmac() -> Foreign {
    foreign(Algorithm::HS256, &EncodingKey::from_secret(&[7; 32]), DecodingKey::from_secret(&[7; 32]), Vec::new())
}

fn foreign(algorithm: Algorithm, encoding: &EncodingKey, key: DecodingKey, public: Vec<u8>) -> Foreign {
    let now = SystemClock::new().now().as_second().unsigned_abs();
    let claims = Claims {
        iss: "https://clinic.example".into(),
        aud: "https://clinic.example".into(),
        sub: "01999999-9999-7999-9999-999999999999".into(),
        exp: now + 36_000,
        nbf: now - 1,
        jti: "01999999-9999-7999-9999-999999999998".into(),
        tenant: "harbour".into(),
        sid: "01999999-9999-7999-9999-999999999997".into(),
        role: "doctor".into(),
    };
    let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, encoding).expect("signed");
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["https://clinic.example"]);
    validation.set_issuer(&["https://clinic.example"]);
    validation.validate_nbf = true;
    Foreign { token, key, validation, public }
}

pub(crate) async fn rows(effort: Effort) -> Vec<Row> {
    let bench = Bench::new().await;
    let identity = open(&bench, 16_384).await;
    let user = "doctor";
    let (trail, _closer) = bench.trail();
    crate::path::create_account(&identity, &bench, &trail, user, "doctor").await;
    let mut tokens = Vec::new();
    let password = || crate::path::PASSWORD.into();
    for _ in 0..4 {
        let (trail, _closer) = bench.trail();
        let session = identity.login(&trail, &bench.tenant, user, password()).await.expect("logged in");
        tokens.push(session.access_token().expose_secret().to_owned());
    }
    let token = tokens[0].clone();

    let Foreign { token: theirs, key, validation, public } = ed25519();
    let (signed, signature) = theirs.rsplit_once('.').expect("three parts");
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64");
    let raw = UnparsedPublicKey::new(&ED25519, public);

    // No room to keep anything warm beyond one token: two that take turns are cold each time.
    let cold = open(&bench, 1).await;
    let mut turn = 0;
    let mut rows = vec![
        row(
            effort,
            "verify cold, EdDSA / jsonwebtoken with aws-lc",
            Target::AtMost(1.1),
            || jsonwebtoken::decode::<Claims>(&theirs, &key, &validation).expect("valid"),
            || {
                turn += 1;
                cold.verify(&tokens[turn % tokens.len()]).expect("valid")
            },
        ),
        row(
            effort,
            "verify cold, EdDSA / the bare signature",
            Target::None,
            || raw.verify(signed.as_bytes(), &signature).expect("valid"),
            || {
                turn += 1;
                cold.verify(&tokens[turn % tokens.len()]).expect("valid")
            },
        ),
    ];
    let (empty, warm, _) = compare(effort, || token.len(), || identity.verify(&token).expect("valid"));
    rows.push(Row {
        what: "verify warm, one hot token / 0.4 µs".into(),
        floor: time(400.0),
        ours: time(warm - empty),
        ratio: (warm - empty) / 400.0,
        target: Target::AtMost(1.0),
    });
    rows
}

async fn open(bench: &Bench, warm: usize) -> Identity {
    let options = IdentityOptions::new("https://clinic.example").with_warm_tokens(warm.try_into().expect("not zero"));
    Identity::open(bench.store.clone(), &bench.keyring, bench.clock.clone(), options).await.expect("an identity")
}
