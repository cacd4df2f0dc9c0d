//! Access tokens: JWTs in compact form (RFC 7519, RFC 9068), signed with Ed25519, verified without a store.
//!
//! A token is accepted if, in this order,
//!
//! 1. it has at most 16 KiB and is three parts of canonical base64url;
//! 2. its header is exactly `alg`, `typ` and `kid`: `alg` is `EdDSA`, `typ` is `at+jwt`, and `kid` names a key of this
//!    issuer. A header that brings or points at a key (`jwk`, `jku`, `x5c`, `x5u`) or makes demands (`crit`) is refused;
//! 3. the signature verifies under that key;
//! 4. its claims are exactly those that this issuer writes, each once;
//! 5. `iss` and `aud` are the configured ones;
//! 6. `nbf` and `iat` have come and `exp` has not, by our clock, give or take the leeway; and it does not live longer
//!    than the ceiling;
//! 7. neither its session nor its user's epoch has been revoked.
//!
//! `cv` is the version of the claims: a new claim raises it, so that a server that does not know the claim refuses the
//! token for its version and does not ignore what it says. A new value of `amr` does not.
//!
//! Steps 6 and 7 are done again each time a token is found warm. Of RFC 9068 the claim `client_id` is missing: users log
//! in to the clinic itself, and there is no client to name.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::{
    error::{Fault, TokenError},
    options::{ACCESS_TTL_CEILING, IdentityOptions},
    principal::{Factor, Parts, Principal},
    signing_key::SigningKey,
};
use crate::{
    clock::Timestamp,
    codec::{base64url, unbase64url},
    entropy,
    id::{SessionId, SubjectId, TenantId, UserId, is_name},
    secret::SecretString,
};

/// The longest token.
pub(crate) const MAX_BYTES: usize = 16 * 1024;
const ALGORITHM: Algorithm = Algorithm::EdDSA;
/// The version of the claims. A new claim raises it.
const CLAIMS_VERSION: u32 = 1;
const TYPE: &str = "at+jwt";

/// The claims, all of them, and no others.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    cv: u32,
    iss: String,
    aud: String,
    sub: UserId,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    auth_time: i64,
    amr: Vec<Factor>,
    tenant: TenantId,
    sid: SessionId,
    role: String,
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    subject: Option<SubjectId>,
}

/// The header, all of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader<'a> {
    #[serde(borrow)]
    alg: &'a str,
    #[serde(borrow)]
    typ: &'a str,
    #[serde(borrow)]
    kid: &'a str,
}

/// Whom a token is minted for.
pub(crate) struct Subject<'a> {
    pub(crate) user: UserId,
    pub(crate) role: &'a str,
    pub(crate) tenant: &'a TenantId,
    pub(crate) session: SessionId,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) epoch: u64,
    pub(crate) authenticated_at: Timestamp,
    pub(crate) factors: &'a [Factor],
}

impl Subject<'_> {
    /// Whom the token will prove.
    pub(crate) fn principal(&self) -> Principal {
        Principal::new(Parts {
            user: self.user,
            role: self.role.into(),
            tenant: self.tenant.clone(),
            session: self.session,
            subject: self.subject,
            epoch: self.epoch,
            factors: self.factors.into(),
            // As precise as the claim.
            authenticated_at: Timestamp::from_second(self.authenticated_at.as_second()).unwrap_or(Timestamp::MIN),
        })
    }
}

/// What a token says, once its signature, its issuer and its audience have been checked. Its time and its session have
/// not: they are checked on every use.
#[derive(Clone)]
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) issued_at: i64,
    not_before: i64,
    expires: i64,
}

/// Mints and verifies.
pub(crate) struct Issuer {
    issuer: String,
    audience: String,
    ttl: Duration,
    leeway: i64,
    header: Header,
    signer: EncodingKey,
    verifiers: Vec<(String, DecodingKey)>,
    validation: Validation,
}

impl Issuer {
    /// `keys`: newest first, at least one.
    pub(crate) fn new(options: &IdentityOptions, keys: &[SigningKey]) -> Result<Self, Fault> {
        let newest = keys.first().ok_or(Fault::Corrupt { what: "signing key" })?;
        let mut header = Header::new(ALGORITHM);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(newest.kid.clone());
        let mut validation = Validation::new(ALGORITHM);
        validation.set_issuer(&[&options.issuer]);
        validation.set_audience(&[&options.audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // It asks the machine's clock; `Issuer::check_time` asks ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.leeway = 0;
        Ok(Self {
            issuer: options.issuer.clone(),
            audience: options.audience.clone(),
            ttl: options.access_ttl,
            leeway: whole_seconds(options.leeway),
            header,
            signer: EncodingKey::from_ed_der(&newest.pkcs8),
            verifiers: keys.iter().map(|key| (key.kid.clone(), DecodingKey::from_ed_der(&key.public))).collect(),
            validation,
        })
    }

    /// Mints a token that was asked for at `now` and ends with its session at the latest. Returns how long it lives.
    pub(crate) fn mint(
        &self,
        subject: &Subject<'_>,
        now: Timestamp,
        session_ends: Timestamp,
    ) -> Result<(SecretString, Duration), Fault> {
        let iat = now.as_second();
        let exp = (iat + whole_seconds(self.ttl)).min(session_ends.as_second());
        let claims = Claims {
            cv: CLAIMS_VERSION,
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: subject.user,
            exp,
            nbf: iat,
            iat,
            jti: base64url(&entropy::array::<16>()),
            auth_time: subject.authenticated_at.as_second(),
            amr: subject.factors.to_vec(),
            tenant: subject.tenant.clone(),
            sid: subject.session,
            role: subject.role.to_owned(),
            epoch: subject.epoch,
            subject: subject.subject,
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.signer).map_err(|_| SIGNER)?;
        Ok((token.into(), Duration::from_secs(u64::try_from(exp - iat).unwrap_or(0))))
    }

    /// Steps 1 to 5.
    pub(crate) fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let key = self.key(token)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => TokenError::Signature,
                ErrorKind::InvalidIssuer => TokenError::Issuer,
                ErrorKind::InvalidAudience => TokenError::Audience,
                ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
                ErrorKind::Json(_) | ErrorKind::MissingRequiredClaim(_) => TokenError::Claims,
                _ => TokenError::Malformed,
            })?
            .claims;
        // serde takes a list for a struct; `ey` is how `{"` begins in base64url.
        let object = token.split('.').nth(1).is_some_and(|part| part.starts_with("ey"));
        if !object {
            return Err(TokenError::Claims);
        }
        if claims.cv != CLAIMS_VERSION || !Factor::are_good(&claims.amr) {
            return Err(TokenError::Claims);
        }
        if !is_name(&claims.role) || claims.jti.len() != 22 || claims.nbf > claims.exp || claims.iat > claims.exp {
            return Err(TokenError::Claims);
        }
        // Saturates where a wrong clock or a wrong key has signed nonsense.
        if claims.exp.saturating_sub(claims.iat.min(claims.nbf)) > whole_seconds(ACCESS_TTL_CEILING) {
            return Err(TokenError::TooLongLived);
        }
        let authenticated_at = Timestamp::from_second(claims.auth_time).map_err(|_| TokenError::Claims)?;
        Ok(Verified {
            issued_at: claims.iat,
            not_before: claims.nbf.max(claims.iat),
            expires: claims.exp,
            principal: Principal::new(Parts {
                user: claims.sub,
                role: claims.role.into(),
                tenant: claims.tenant,
                session: claims.sid,
                subject: claims.subject,
                epoch: claims.epoch,
                factors: claims.amr.into(),
                authenticated_at,
            }),
        })
    }

    /// Step 6.
    pub(crate) fn check_time(&self, token: &Verified, now: Timestamp) -> Result<(), TokenError> {
        let now = now.as_second();
        // RFC 7519 §4.1.4: not "on or after" `exp`.
        if now >= token.expires.saturating_add(self.leeway) {
            return Err(TokenError::Expired);
        }
        if now.saturating_add(self.leeway) < token.not_before {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }

    /// Steps 1 and 2: the one key that may have signed this token.
    fn key(&self, token: &str) -> Result<&DecodingKey, TokenError> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        if claims.is_empty() || signature.is_empty() {
            return Err(TokenError::Malformed);
        }
        let header = unbase64url(header).ok_or(TokenError::Malformed)?;
        // serde takes a list for a struct.
        if !header.starts_with(b"{") {
            return Err(TokenError::Header);
        }
        let header: StrictHeader<'_> = serde_json::from_slice(&header).map_err(|_| TokenError::Header)?;
        if header.alg != "EdDSA" {
            return Err(TokenError::Algorithm);
        }
        if header.typ != TYPE {
            return Err(TokenError::Type);
        }
        let known = self.verifiers.iter().find(|(kid, _)| kid == header.kid);
        known.map(|(_, key)| key).ok_or(TokenError::UnknownKey)
    }
}

/// For the fuzz target: verifies `text`, or the token of a header, a newline and claims, which it signs, so that what is
/// behind the signature is reached. Whether it was accepted.
///
/// Only under the fuzzer: its key is known to everybody.
#[cfg(fuzzing)]
pub(super) fn fuzz(text: &str) -> bool {
    static ISSUER: std::sync::OnceLock<Issuer> = std::sync::OnceLock::new();
    let issuer = ISSUER.get_or_init(|| {
        // PKCS#8 around a seed of ones (RFC 8410 §7).
        let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let key = super::signing_key::parse(zeroize::Zeroizing::new([&head[..], &[1; 32]].concat()));
        Issuer::new(&IdentityOptions::new("https://fuzz.example"), &[key.expect("a key")]).expect("good settings")
    });
    let accepted = match text.split_once('\n') {
        None => issuer.verify(text),
        Some((header, claims)) => {
            let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
            let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &issuer.signer, ALGORITHM);
            issuer.verify(&format!("{signed}.{}", signature.expect("a good key signs")))
        }
    };
    let Ok(accepted) = accepted else { return false };
    let who = &accepted.principal;
    let subject = Subject {
        user: who.user(),
        role: who.role(),
        tenant: who.tenant(),
        session: who.session(),
        subject: who.subject(),
        epoch: who.epoch(),
        authenticated_at: who.authenticated_at(),
        factors: who.factors(),
    };
    let times = (Timestamp::from_second(accepted.issued_at), Timestamp::from_second(accepted.expires));
    // Beyond the years that a timestamp has, no server mints; `check_time` refuses there.
    let (Ok(issued), Ok(expires)) = times else { return true };
    let (minted, _) = issuer.mint(&subject, issued, expires).expect("whom a token named can be named again");
    let again = issuer.verify(crate::secret::ExposeSecret::expose_secret(&minted)).expect("a minted token verifies");
    let says = |token: &Verified| {
        let who = &token.principal;
        let ids = (who.user(), who.tenant().clone(), who.session(), who.subject());
        (ids, who.role().to_owned(), who.authenticated_at(), who.epoch(), token.issued_at)
    };
    assert_eq!(says(&again), says(&accepted));
    true
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

const SIGNER: Fault = Fault::Worker { what: "signer of tokens" };
