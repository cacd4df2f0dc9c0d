//! The token: read when the provider opens, and again when the server no longer takes it.

use std::{
    io,
    sync::{PoisonError, RwLock},
};

use bytes::Bytes;
use http::HeaderValue;

use crate::{
    keys::{
        KeySource, KeySourceError,
        source::{KeySourceErrorKind as Kind, environment, read_secret},
    },
    secret::{self, ExposeSecret, SecretString},
    trace,
};

/// A batch token is some hundreds of characters long, a service token less than one hundred.
const LONGEST: usize = 4096;

/// A token, as the header that it goes out in. Its one buffer is wiped with the last clone.
#[derive(Clone)]
pub(super) struct BearerToken(HeaderValue);

impl BearerToken {
    fn new(text: SecretString) -> Result<Self, Kind> {
        if !text.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Kind::NotText);
        }
        let text = Bytes::from_owner(Wiped(text));
        let mut header = HeaderValue::from_maybe_shared(text).map_err(|_| Kind::NotText)?;
        // Then it is not in the header's `Debug`.
        header.set_sensitive(true);
        Ok(Self(header))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

struct Wiped(SecretString);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

/// Where the token stands, and the one that was read there last.
pub(super) struct TokenSource {
    source: KeySource,
    last: RwLock<BearerToken>,
}

impl TokenSource {
    /// Reads the token.
    pub(super) async fn open(source: KeySource) -> Result<Self, KeySourceError> {
        let last = RwLock::new(load(&source).await?);
        Ok(Self { source, last })
    }

    /// The token that was read last.
    pub(super) fn current(&self) -> BearerToken {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another token than `refused`, if one stands there by now.
    pub(super) async fn renewed(&self, refused: &BearerToken) -> Option<BearerToken> {
        // A process's variables do not change.
        if matches!(self.source, KeySource::Env(_)) {
            return None;
        }
        match load(&self.source).await {
            Ok(token) if secret::equal(token.0.as_bytes(), refused.0.as_bytes()) => None,
            Ok(token) => {
                *self.last.write().unwrap_or_else(PoisonError::into_inner) = token.clone();
                Some(token)
            }
            Err(error) => {
                trace::event!(warn, error = %error, "the transit token cannot be read again");
                None
            }
        }
    }
}

async fn load(source: &KeySource) -> Result<BearerToken, KeySourceError> {
    let wrong = |kind| KeySourceError::new(source.to_string(), kind);
    let from = source.clone();
    let reading = tokio::task::spawn_blocking(move || read_secret(&from, LONGEST, &environment));
    // Not run to its end, if the runtime is shutting down.
    let text = reading.await.map_err(|_| wrong(Kind::Unreadable(io::ErrorKind::Interrupted)))??;
    BearerToken::new(text).map_err(wrong)
}
