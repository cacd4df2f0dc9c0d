//! The platform's own secret: what vouches for records, and what keys of no tenant are derived from.

use std::{collections::HashMap, sync::Arc};

use super::{
    super::{
        kek::KekId,
        provider::{KeyBytes, KeyContext, KeyProvider, ProviderErrorKind},
        record::{Authority, Guarded, Owner, Record},
    },
    FIRST_EPOCH, KeyError,
    copies::Copy,
    guard, platform_name, random_key, unguard,
};
use crate::{clock::Clock, secret::ExposeSecret, store::Durable};

pub(super) struct Platform {
    pub(super) secret: KeyBytes,
    pub(super) authority: Authority,
}

impl Platform {
    /// Reads the secret, or makes it in an empty store; the first to come writes it.
    pub(super) async fn open(
        root: &KekId,
        keks: &HashMap<KekId, Arc<dyn KeyProvider>>,
        store: &dyn Durable,
        clock: &dyn Clock,
        copies: &[Copy],
    ) -> Result<Self, KeyError> {
        let name = platform_name();
        let entry = match store.get(&name).await? {
            Some(entry) => entry,
            None => {
                // A store that is empty while its copy is not has lost its disk; to begin anew would be the end of both.
                for copy in copies {
                    copy.must_be_empty().await?;
                }
                let (secret, made) = (random_key(), clock.now().as_millisecond().max(0));
                let provider = &*keks[root];
                let key =
                    guard(provider, root, Owner::PLATFORM, &KeyContext::platform(), FIRST_EPOCH, made, &secret).await?;
                let record = Record::Guarded(Guarded::new(vec![key], None));
                let record = Authority::new(secret.expose_secret()).sign(Owner::PLATFORM, record);
                store.insert_new(&name, &record.to_bytes(), None).await?;
                store.get(&name).await?.ok_or(KeyError::Corrupt)?
            }
        };
        let record = Record::parse(&entry.value)?;
        let Record::Guarded(guarded) = &record else { return Err(KeyError::Corrupt) };
        let key = guarded.current();
        let provider = keks.get(&key.kek).ok_or_else(|| KeyError::UnknownKek(key.kek.clone()))?;
        let secret = unguard(&**provider, Owner::PLATFORM, &KeyContext::platform(), key).await;
        let secret = secret.map_err(|error| match error {
            KeyError::Provider(error) if error.kind() == ProviderErrorKind::Mismatch => KeyError::WrongRoot,
            error => error,
        })?;
        let authority = Authority::new(secret.expose_secret());
        authority.check(Owner::PLATFORM, &record)?;
        Ok(Self { secret, authority })
    }
}
