//! The settings of [`Identity`](super::Identity), checked once, when it opens.

use std::{num::NonZeroUsize, time::Duration};

use super::{error::IdentityError, password::PasswordHashing};

/// No access token lives longer.
pub(crate) const ACCESS_TTL_CEILING: Duration = Duration::from_secs(15 * 60);
/// No clock is allowed to differ by more.
pub(crate) const LEEWAY_CEILING: Duration = Duration::from_secs(30);
/// How long a revocation is kept: until no token that it refuses can be within its time any more.
pub(crate) const REVOCATION_HOLD: Duration = Duration::from_secs(15 * 60 + 30 + 30);

/// Settings of [`Identity`](super::Identity). The defaults are the strict profile.
///
/// | setting | default | bounds |
/// |---|---|---|
/// | `access_ttl` | 10 min | 1 s to 15 min |
/// | `leeway` | 5 s | to 30 s, and below `access_ttl` |
/// | `idle` | 15 min | from `access_ttl` to `absolute` |
/// | `absolute` | 8 h | to 7 days |
/// | `sessions_per_user` | 16 | to 256; a login beyond ends the oldest |
/// | `min_password` | 15 characters | from 15 |
/// | `passwords` | argon2id, 19 MiB, 2 passes, 1 lane | the floor of [`PasswordHashing`] |
/// | `revocations`, `lockouts`, `warm_tokens` | 65,536; 65,536; 10,000 | entries |
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) access_ttl: Duration,
    pub(crate) leeway: Duration,
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
    pub(crate) sessions_per_user: NonZeroUsize,
    pub(crate) min_password: usize,
    pub(crate) passwords: PasswordHashing,
    pub(crate) revocations: NonZeroUsize,
    pub(crate) lockouts: NonZeroUsize,
    pub(crate) warm_tokens: NonZeroUsize,
}

impl IdentityOptions {
    /// The strict settings for tokens that `issuer` makes for itself: the audience is the issuer.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        Self {
            audience: issuer.clone(),
            issuer,
            access_ttl: Duration::from_secs(10 * 60),
            leeway: Duration::from_secs(5),
            idle: Duration::from_secs(15 * 60),
            absolute: Duration::from_secs(8 * 60 * 60),
            sessions_per_user: SESSIONS,
            min_password: 15,
            passwords: PasswordHashing::default(),
            revocations: LARGE,
            lockouts: LARGE,
            warm_tokens: MEDIUM,
        }
    }

    /// Replaces the audience of the tokens.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// Replaces the life of an access token. At most 15 minutes.
    #[must_use]
    pub fn with_access_ttl(mut self, ttl: Duration) -> Self {
        self.access_ttl = ttl;
        self
    }

    /// Replaces how far the clocks of two servers may differ. At most 30 s.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Replaces how long a session lives without a refresh.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Replaces how long a session lives at all.
    #[must_use]
    pub fn with_absolute(mut self, absolute: Duration) -> Self {
        self.absolute = absolute;
        self
    }

    /// Replaces how many sessions an account has at once. A login beyond ends the oldest. At most 256.
    #[must_use]
    pub fn with_sessions_per_user(mut self, sessions: NonZeroUsize) -> Self {
        self.sessions_per_user = sessions;
        self
    }

    /// Replaces the least number of characters of a new password. At least 15 (NIST SP 800-63B-4, one factor).
    #[must_use]
    pub fn with_min_password(mut self, characters: usize) -> Self {
        self.min_password = characters;
        self
    }

    /// Replaces how passwords are hashed.
    #[must_use]
    pub fn with_passwords(mut self, passwords: PasswordHashing) -> Self {
        self.passwords = passwords;
        self
    }

    /// Replaces how many ended sessions, and how many users with ended sessions, are remembered one by one. When there
    /// are more at once, all tokens of the clinic that were issued before are refused.
    #[must_use]
    pub fn with_revocations(mut self, entries: NonZeroUsize) -> Self {
        self.revocations = entries;
        self
    }

    /// Replaces how many user names with failed logins are remembered. When there are more, the least suspicious goes.
    #[must_use]
    pub fn with_lockouts(mut self, entries: NonZeroUsize) -> Self {
        self.lockouts = entries;
        self
    }

    /// Replaces how many verified tokens are kept warm.
    #[must_use]
    pub fn with_warm_tokens(mut self, entries: NonZeroUsize) -> Self {
        self.warm_tokens = entries;
        self
    }

    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let whole = |d: Duration| d.subsec_nanos() == 0;
        let text = |s: &str| (1..=255).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_graphic());
        let rules = [
            (text(&self.issuer), "issuer", "has to be 1 to 255 printable ASCII characters without spaces"),
            (text(&self.audience), "audience", "has to be 1 to 255 printable ASCII characters without spaces"),
            (
                whole(self.access_ttl) && (Duration::from_secs(1)..=ACCESS_TTL_CEILING).contains(&self.access_ttl),
                "access_ttl",
                "has to be whole seconds, from 1 s to the ceiling of 15 min",
            ),
            (
                whole(self.leeway) && self.leeway <= LEEWAY_CEILING && self.leeway < self.access_ttl,
                "leeway",
                "has to be whole seconds, at most 30 s, and less than `access_ttl`",
            ),
            (
                self.access_ttl <= self.idle && self.idle <= self.absolute,
                "idle",
                "has to be at least `access_ttl` and at most `absolute`",
            ),
            (self.sessions_per_user.get() <= 256, "sessions_per_user", "has to be at most 256"),
            (self.absolute <= Duration::from_secs(7 * 24 * 60 * 60), "absolute", "has to be at most 7 days"),
            (
                (15..=super::password::MAX_BYTES / 4).contains(&self.min_password),
                "min_password",
                "has to be at least 15 characters and at most 256",
            ),
        ];
        match rules.iter().find(|(holds, ..)| !holds) {
            Some(&(_, name, why)) => Err(IdentityError::Setting { name, why }),
            None => self.passwords.check(),
        }
    }
}

const SESSIONS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
const LARGE: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
const MEDIUM: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
