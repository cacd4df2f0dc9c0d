//! What is kept of rotations: where each stands, signed, so that nobody else moves it.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::RotationError;
use crate::{
    clock::SharedClock,
    id::{TenantId, TrailId},
    keys::Keyring,
    store::{Durable, MAX_PAGE, ObjectName},
};

/// The label of the key that signs what is kept, and that a rotation is complete.
const SIGNATURE: &str = "tower-ward/v1/rotation-signature";

/// What a rotation is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RotationMode {
    /// Count people and values, and change nothing.
    Count,
    /// New keys, and every value sealed anew under them. The old keys stay, so that a backup of the data from before still
    /// opens.
    Reseal,
    /// What [`Reseal`](Self::Reseal) left: look at every value once more, and destroy the old keys. **Backups of the data from
    /// before the values were sealed anew do not open any more**: make one first.
    Retire,
    /// Both at once.
    Whole,
}

/// Where a rotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RotationStage {
    /// Each person gets a new key, which seals nothing yet.
    Prepare,
    /// Every process gets to know the new keys.
    Known,
    /// The new keys seal from now on.
    Switch,
    /// The doors that were opened before are closed.
    Settle,
    /// What the old keys sealed is sealed anew.
    Reseal,
    /// Nothing is left that the old keys sealed.
    Verify,
    /// The old keys are destroyed.
    Retire,
    /// It is complete.
    Done,
}

impl RotationStage {
    /// What it is called.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "new keys",
            Self::Known => "making them known",
            Self::Switch => "switching to them",
            Self::Settle => "waiting for open doors",
            Self::Reseal => "sealing anew",
            Self::Verify => "verifying",
            Self::Retire => "retiring old keys",
            Self::Done => "done",
        }
    }

    pub(super) const fn next(self) -> Self {
        match self {
            Self::Prepare => Self::Known,
            Self::Known => Self::Switch,
            Self::Switch => Self::Settle,
            Self::Settle => Self::Reseal,
            Self::Reseal => Self::Verify,
            Self::Verify => Self::Retire,
            Self::Retire | Self::Done => Self::Done,
        }
    }
}

/// How far a rotation has come. It is kept in the key store, so that a run that was killed goes on where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RotationProgress {
    /// Which rotation it is.
    pub id: TrailId,
    /// Where it stands.
    pub stage: RotationStage,
    /// What it is to do.
    pub mode: RotationMode,
    /// How many people there were when it began.
    pub total: u64,
    /// How many people this stage has looked at.
    pub people: u64,
    /// How many values were sealed anew so far; where it only counts, how many there are.
    pub values: u64,
    /// How many values did not open, and were left as they are. Whose they are keeps the old key.
    pub damaged: u64,
    /// When it began, milliseconds since 1970.
    pub begun: i64,
    /// The last of the people that this stage has looked at.
    pub(super) after: Option<String>,
}

/// What is kept of rotations in the key store: for whoever begins one and looks on, such as `ward rotate`, while a server
/// does the work.
///
/// ```
/// use std::sync::Arc;
/// use tower_ward::{
///     clock::SystemClock, db::{RotationError, RotationLog, RotationMode, RotationProgress, RotationStage}, id::TenantId, keys::Keyring,
///     store::Durable,
/// };
///
/// /// Begins one, unless one is going on, and says how far it has come.
/// async fn ask(keyring: &Keyring, store: Arc<dyn Durable>, clinic: &TenantId) -> Result<RotationStage, RotationError> {
///     let log = RotationLog::new(keyring, store, SystemClock::shared());
///     match log.begin(clinic, RotationMode::Reseal).await {
///         Ok(_) | Err(RotationError::GoingOn) => {}
///         Err(error) => return Err(error),
///     }
///     let there: Option<RotationProgress> = log.progress(clinic).await?;
///     Ok(there.map_or(RotationStage::Done, |there| there.stage))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct RotationLog {
    keyring: Keyring,
    pub(super) store: Arc<dyn Durable>,
    clock: SharedClock,
}

impl RotationLog {
    /// Of the rotations of the tenants of `keyring`, in its own store.
    #[must_use]
    pub fn new(keyring: &Keyring, store: Arc<dyn Durable>, clock: SharedClock) -> Self {
        Self { keyring: keyring.clone(), store, clock }
    }

    /// Begins a rotation of this clinic's values. The steps do the rest.
    ///
    /// # Errors
    ///
    /// [`GoingOn`](RotationError::GoingOn) if one was begun and has not ended.
    pub async fn begin(&self, tenant: &TenantId, mode: RotationMode) -> Result<RotationProgress, RotationError> {
        let (mut after, mut total) = (None::<String>, 0);
        loop {
            let (page, next) = self.keyring.epochs(tenant, after.as_deref(), MAX_PAGE).await?;
            total += u64::try_from(page.len()).unwrap_or(u64::MAX);
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let clock = &self.clock;
        let progress = RotationProgress {
            id: TrailId::generate(&**clock),
            // Whoever retires waits once more for doors that may still seal under the old keys.
            stage: if mode == RotationMode::Retire { RotationStage::Settle } else { RotationStage::Prepare },
            mode,
            total,
            people: 0,
            values: 0,
            damaged: 0,
            begun: clock.now().as_millisecond(),
            after: None,
        };
        let version = match self.read(tenant).await? {
            Some((there, _)) if there.stage != RotationStage::Done => return Err(RotationError::GoingOn),
            other => other.map(|(_, version)| version),
        };
        if !self.write(tenant, &progress, version).await? {
            return Err(RotationError::GoingOn);
        }
        Ok(progress)
    }

    /// How far the rotation of this clinic's values has come; `None` if there never was one.
    ///
    /// # Errors
    ///
    /// If the store fails, or what it holds was changed.
    pub async fn progress(&self, tenant: &TenantId) -> Result<Option<RotationProgress>, RotationError> {
        Ok(self.read(tenant).await?.map(|(progress, _)| progress))
    }

    /// The public key that the record of a complete rotation is checked with: 32 bytes, Ed25519 (RFC 8032).
    ///
    /// # Errors
    ///
    /// Never, as long as the platform's secret is one.
    pub fn public_key(&self) -> Result<[u8; 32], RotationError> {
        self.pair()?.public_key().as_ref().try_into().map_err(|_| RotationError::State)
    }

    pub(super) fn pair(&self) -> Result<Ed25519KeyPair, RotationError> {
        let seed = self.keyring.derive(SIGNATURE);
        Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| RotationError::State)
    }

    pub(super) async fn read(&self, tenant: &TenantId) -> Result<Option<(RotationProgress, u64)>, RotationError> {
        let Some(entry) = self.store.get(&name(tenant, "progress")).await? else { return Ok(None) };
        let (text, signature) = entry.value.split_last_chunk::<64>().ok_or(RotationError::State)?;
        let pair = self.pair()?;
        let key = UnparsedPublicKey::new(&ED25519, pair.public_key());
        key.verify(&signed(tenant, text), signature).map_err(|_| RotationError::State)?;
        let progress = serde_json::from_slice(text).map_err(|_| RotationError::State)?;
        Ok(Some((progress, entry.version)))
    }

    /// `false` if somebody else wrote it since it was read.
    pub(super) async fn write(
        &self,
        tenant: &TenantId,
        progress: &RotationProgress,
        version: Option<u64>,
    ) -> Result<bool, RotationError> {
        let mut bytes = serde_json::to_vec(progress).map_err(|_| RotationError::State)?;
        let signature = self.pair()?.sign(&signed(tenant, &bytes));
        bytes.extend_from_slice(signature.as_ref());
        let name = name(tenant, "progress");
        Ok(match version {
            None => self.store.insert_new(&name, &bytes, None).await?,
            Some(version) => self.store.compare_and_swap(&name, version, &bytes, None).await?,
        })
    }
}

pub(super) fn name(tenant: &TenantId, what: &'static str) -> ObjectName {
    ObjectName::tenant(tenant, "rotation", what).expect("the kind and the key are constants")
}

fn signed(tenant: &TenantId, text: &[u8]) -> Vec<u8> {
    [b"tower-ward/v1/rotation-progress\n", tenant.as_str().as_bytes(), b"\n", text].concat()
}
