//! Sessions and their refresh tokens, kept as `t:<tenant>:session:<session id>`.
//!
//! A refresh token is `<session id>.<64 characters>`: 32 random bytes and a tag of 16 bytes, which is an HMAC of the
//! clinic, the session and the random bytes under a key derived from the root key. It is accepted if, in this order,
//!
//! 1. it has exactly that form and its tag is right: it was issued by this server, for this clinic and this session.
//!    What does not pass costs no read of the store, and cannot end anybody's session;
//! 2. its session exists, has begun by our clock, give or take the leeway, and is neither idle for too long nor older than
//!    its end;
//! 3. its SHA-256 is the one stored. An issued token that is not the current one has been used before: somebody has a
//!    copy, and nobody can tell who, so the session ends for both (RFC 9700 §4.14.2);
//! 4. the user's epoch is still that of the session, and the account may log in;
//! 5. the new token's hash replaces the old one by compare-and-swap. Of two at once one wins, and the other is a reuse.
//!
//! The session's times are checked on use, at both edges, whatever the store does with expired entries.

use std::{sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    account::{Stored as Account, encode, load},
    error::Fault,
    options::IdentityOptions,
    principal::Factor,
};
use crate::{
    clock::Timestamp,
    codec::{base64url, hex, unbase64url, unhex},
    entropy,
    id::{SessionId, TenantId, UserId},
    keys::Keyring,
    secret::{SecretString, equal},
    store::{Durable, ObjectName},
};

const VERSION: u8 = 1;
const KIND: &str = "session";
const STARTED: &str = "user-sessions";
const TAG_LABEL: &str = "tower-ward/v1/refresh-token-tag";
const RANDOM: usize = 32;
const TAG: usize = 16;
const SECRET: usize = RANDOM + TAG;
/// A UUID, a point, and the secret in base64url.
const TEXT: usize = 36 + 1 + SECRET * 4 / 3;

/// A session as it is stored. No token is in it, only the current one's hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    v: u8,
    pub(crate) user: UserId,
    pub(crate) username: String,
    pub(crate) epoch: u64,
    /// SHA-256 of the current refresh token's secret, in hex.
    current: String,
    pub(crate) started: Timestamp,
    used: Timestamp,
    pub(crate) ends: Timestamp,
    /// By which factors it was started.
    pub(crate) factors: Vec<Factor>,
}

/// The sessions that were started for an account, the oldest first, some of which may be over.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Started {
    v: u8,
    sessions: Vec<SessionId>,
}

/// A refresh token that this server issued: whether it is still good, its session tells.
pub(crate) struct Presented {
    pub(crate) session: SessionId,
    hash: [u8; 32],
}

/// What a refresh token is worth, given its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Current,
    UsedBefore,
    Over,
}

/// The sessions in the store.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Arc<dyn Durable>,
    tag: Hmac<Sha256>,
    idle: Duration,
    absolute: Duration,
    leeway: Duration,
    per_user: usize,
}

impl Sessions {
    pub(crate) fn new(store: Arc<dyn Durable>, keyring: &Keyring, options: &IdentityOptions) -> Result<Self, Fault> {
        let tag = Hmac::new_from_slice(keyring.derive(TAG_LABEL).as_ref())
            .map_err(|_| Fault::Worker { what: "tagger of refresh tokens" })?;
        let (idle, absolute, leeway) = (options.idle, options.absolute, options.leeway);
        Ok(Self { store, tag, idle, absolute, leeway, per_user: options.sessions_per_user.get() })
    }

    /// Starts a session. Returns it with its first refresh token.
    pub(crate) async fn start(
        &self,
        tenant: &TenantId,
        id: SessionId,
        account: &Account,
        now: Timestamp,
    ) -> Result<(Session, SecretString), Fault> {
        let (token, hash) = self.issue(tenant, id);
        let session = Session {
            v: VERSION,
            user: account.user,
            username: account.username().to_owned(),
            epoch: account.epoch,
            current: hex(&hash),
            started: now,
            used: now,
            ends: now.checked_add(self.absolute).unwrap_or(Timestamp::MAX),
            factors: vec![Factor::Password],
        };
        let name = name(tenant, id)?;
        let inserted = self.store.insert_new(&name, &encode(&session, KIND)?, Some(self.over_at(&session))).await?;
        // 74 random bits and a millisecond do not meet again.
        if inserted { Ok((session, token)) } else { Err(Fault::Contended { what: KIND }) }
    }

    /// Step 1: reads a refresh token.
    pub(crate) fn read(&self, tenant: &TenantId, text: &str) -> Option<Presented> {
        if text.len() != TEXT || !text.is_ascii() {
            return None;
        }
        let (id, secret) = text.split_once('.')?;
        let session: SessionId = id.parse().ok()?;
        let secret = Zeroizing::new(unbase64url(secret)?);
        let (random, tag) = secret.split_first_chunk::<RANDOM>()?;
        equal(&self.tag(tenant, session, random), tag).then(|| Presented { session, hash: digest(&secret) })
    }

    /// The session of a token, and its version.
    pub(crate) async fn find(&self, tenant: &TenantId, id: SessionId) -> Result<Option<(Session, u64)>, Fault> {
        let found = load::<Session>(&*self.store, &name(tenant, id)?, KIND).await?;
        if found.as_ref().is_some_and(|(session, _)| session.v != VERSION) {
            return Err(Fault::Corrupt { what: KIND });
        }
        Ok(found)
    }

    /// Steps 2 and 3.
    pub(crate) fn worth(&self, session: &Session, token: &Presented, now: Timestamp) -> Result<Worth, Fault> {
        let current = unhex::<32>(&session.current).ok_or(Fault::Corrupt { what: KIND })?;
        Ok(if self.is_over(session, now) {
            Worth::Over
        } else if equal(&current, &token.hash) {
            Worth::Current
        } else {
            Worth::UsedBefore
        })
    }

    /// Step 5: the next refresh token; `None` if another refresh was faster.
    pub(crate) async fn rotate(
        &self,
        tenant: &TenantId,
        id: SessionId,
        (mut session, version): (Session, u64),
        now: Timestamp,
    ) -> Result<Option<SecretString>, Fault> {
        let (token, hash) = self.issue(tenant, id);
        session.current = hex(&hash);
        // A wall clock that was set back does not shorten the session's idle time.
        session.used = session.used.max(now);
        let value = encode(&session, KIND)?;
        let expires = Some(self.over_at(&session));
        let won = self.store.compare_and_swap(&name(tenant, id)?, version, &value, expires).await?;
        Ok(won.then_some(token))
    }

    /// Removes a session. A refresh that runs at the same time loses its compare-and-swap.
    pub(crate) async fn remove(&self, tenant: &TenantId, id: SessionId) -> Result<bool, Fault> {
        Ok(self.store.remove(&name(tenant, id)?).await?)
    }

    /// The sessions of an account that are not over, the oldest first, without the one that has just been started, and
    /// what they are to be written back with.
    pub(crate) async fn others(
        &self,
        tenant: &TenantId,
        account: &Account,
        new: SessionId,
        now: Timestamp,
    ) -> Result<(Vec<SessionId>, Option<u64>), Fault> {
        let Some((started, version)) =
            load::<Started>(&*self.store, &started_name(tenant, account.user)?, STARTED).await?
        else {
            return Ok((Vec::new(), None));
        };
        if started.v != VERSION {
            return Err(Fault::Corrupt { what: STARTED });
        }
        if started.sessions.len() < self.per_user {
            // There is room even if none is over.
            return Ok((started.sessions, Some(version)));
        }
        let mut live = Vec::with_capacity(started.sessions.len());
        for id in started.sessions {
            let found = if id == new { None } else { self.find(tenant, id).await? };
            if found.is_some_and(|(session, _)| session.epoch == account.epoch && !self.is_over(&session, now)) {
                live.push(id);
            }
        }
        Ok((live, Some(version)))
    }

    /// How many of so many sessions have to end before another may start.
    pub(crate) fn too_many(&self, others: usize) -> usize {
        (others + 1).saturating_sub(self.per_user)
    }

    /// Writes the sessions of an account; `false` if another login was faster.
    pub(crate) async fn keep(
        &self,
        tenant: &TenantId,
        user: UserId,
        sessions: Vec<SessionId>,
        version: Option<u64>,
        ends: Timestamp,
    ) -> Result<bool, Fault> {
        let name = started_name(tenant, user)?;
        let value = encode(&Started { v: VERSION, sessions }, STARTED)?;
        // The last one ends last.
        Ok(match version {
            Some(version) => self.store.compare_and_swap(&name, version, &value, Some(ends)).await?,
            None => self.store.insert_new(&name, &value, Some(ends)).await?,
        })
    }

    /// Forgets which sessions an account had.
    pub(crate) async fn forget(&self, tenant: &TenantId, user: UserId) -> Result<(), Fault> {
        self.store.remove(&started_name(tenant, user)?).await?;
        Ok(())
    }

    fn is_over(&self, session: &Session, now: Timestamp) -> bool {
        // Begun while the clock ran ahead, a session would last until that time has come.
        let to_come = session.started > now.checked_add(self.leeway).unwrap_or(Timestamp::MAX);
        to_come || now >= self.over_at(session)
    }

    fn over_at(&self, session: &Session) -> Timestamp {
        session.used.checked_add(self.idle).unwrap_or(Timestamp::MAX).min(session.ends)
    }

    fn issue(&self, tenant: &TenantId, id: SessionId) -> (SecretString, [u8; 32]) {
        let mut secret = Zeroizing::new([0; SECRET]);
        let (random, tag) = secret.split_at_mut(RANDOM);
        entropy::fill_key(random);
        tag.copy_from_slice(&self.tag(tenant, id, random));
        let encoded = Zeroizing::new(base64url(secret.as_ref()));
        // As large as it gets: a string that grows leaves copies behind.
        let mut text = String::with_capacity(TEXT);
        text.push_str(&id.to_string());
        text.push('.');
        text.push_str(&encoded);
        (text.into(), digest(secret.as_ref()))
    }

    fn tag(&self, tenant: &TenantId, id: SessionId, random: &[u8]) -> [u8; TAG] {
        let mut mac = self.tag.clone();
        // Two parts of fixed length first, so that no two inputs meet.
        mac.update(id.as_bytes());
        mac.update(random);
        mac.update(tenant.as_str().as_bytes());
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&full[..TAG]);
        tag
    }
}

fn name(tenant: &TenantId, id: SessionId) -> Result<ObjectName, Fault> {
    Ok(ObjectName::tenant(tenant, KIND, &id.to_string())?)
}

fn started_name(tenant: &TenantId, user: UserId) -> Result<ObjectName, Fault> {
    Ok(ObjectName::tenant(tenant, STARTED, &user.to_string())?)
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}
