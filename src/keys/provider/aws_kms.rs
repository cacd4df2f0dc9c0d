//! A key-encryption key in AWS KMS, through the vendor's SDK: [`AwsKmsProvider`].

mod answer;
mod arn;

use std::{collections::HashMap, fmt, future::Future, sync::Arc, time::Duration};

use aws_sdk_kms::{
    Client, Config,
    config::{http::HttpResponse, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{EncryptionAlgorithmSpec, KeyMetadata, KeySpec, KeyState, KeyUsageType, OriginType},
};
use tracing::{Dispatch, instrument::WithSubscriber as _};
use zeroize::Zeroizing;

use super::{KeyBytes, KeyContext, KeyDescription, KeyProvider, MAX_WRAPPED, ProviderError, ProviderErrorKind as Kind};
use crate::{
    clock::Timestamp,
    secret::{ExposeSecret as _, Secret},
    store::BoxFuture,
};

/// How long a call may take if nobody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of an [`AwsKmsProvider`] are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsKmsError {
    /// The text names a key by an alias.
    #[error(
        "`{0}` is an alias, which whoever may edit aliases can point at another key: name the key by its own ARN, which `aws kms describe-key` shows"
    )]
    Alias(String),
    /// The text is not the ARN of a key.
    #[error(
        "`{0}` is not the ARN of a KMS key: write `arn:aws:kms:REGION:ACCOUNT:key/ID`, as `aws kms describe-key` does"
    )]
    NotAnArn(String),
    /// The client asks another region than the key's, or none.
    #[error("the client asks in {}, and the key is in `{key}`: give the client the key's region", .client.as_deref().map_or_else(|| "no region".to_owned(), |region| format!("`{region}`")))]
    Region {
        /// Where the client asks.
        client: Option<String>,
        /// Where the key is.
        key: String,
    },
    /// The time-out is zero.
    #[error("a call to KMS cannot take no time: give it some seconds")]
    NoTime,
}

/// A key-encryption key that AWS KMS holds and does not give out.
///
/// What is decided, in this order; every failure is a refusal:
///
/// 1. The key is named by its own ARN. An alias, a bare id, or a client of another region is refused when the provider is
///    made.
/// 2. Every call carries the [`KeyContext`] as KMS's encryption context, the ARN as `KeyId`, and `SYMMETRIC_DEFAULT`. With
///    `KeyId` KMS refuses what another key wrapped, even one that the caller may use.
/// 3. What is to be unwrapped and is empty or longer than [`MAX_WRAPPED`] is a
///    [`Mismatch`](super::ProviderErrorKind::Mismatch) without a call.
/// 4. A call is made once, whatever the client's settings say of retries, and ends within the time-out, 5 s by default.
/// 5. An answer of success must name this ARN and hold what was asked for: a ciphertext of 1 to [`MAX_WRAPPED`] bytes, a
///    key of 32 bytes, the state of the key. Otherwise it is [`Garbled`](super::ProviderErrorKind::Garbled).
/// 6. An error is definite if KMS says so by its code *and* a status 4xx. A status 5xx, a page of some proxy, a code that is
///    not in the table, a time-out, no connection or no credentials are
///    [`Unavailable`](super::ProviderErrorKind::Unavailable).
///
/// | code | kind |
/// |---|---|
/// | `AccessDeniedException`, `NotAuthorized`, `OptInRequired`, `InvalidGrantTokenException` | `Denied`: not permitted |
/// | `ExpiredTokenException`, `IncompleteSignature`, `InvalidClientTokenId`, `InvalidSignatureException`, `MissingAuthenticationToken`, `UnrecognizedClientException` | `Denied`: the credentials are not accepted. Credentials that ended and were not renewed are credentials no more |
/// | `DisabledException`, `NotFoundException`, `InvalidKeyUsageException` | `Denied`: no such key, or none that may be used |
/// | `KMSInvalidStateException` | `Denied`. Most often the key is to be deleted. It is also said of a key store that was disconnected, which is how the owner of an external one withdraws it; only a sentence for people tells the two apart |
/// | `InvalidCiphertextException`, `IncorrectKeyException` | `Mismatch` |
/// | `ThrottlingException`, `LimitExceededException`, `KeyUnavailableException`, `DependencyTimeoutException`, `KMSInternalException` and every other | `Unavailable` |
///
/// # The client
///
/// The application makes the [`Client`] with its own credentials; this crate reads no profile, no variable and no metadata
/// service. [`aws_sdk_kms`](crate::keys::aws_sdk_kms) is the SDK that this crate was built with. To name it, or
/// `aws-config`, in a `Cargo.toml` of your own, write `default-features = false, features = ["default-https-client",
/// "rt-tokio"]`: features add up, and the defaults of the SDK add a second TLS library, of the generation before, with a
/// second provider of cryptography.
///
/// # Deployment caveat
///
/// Give each clinic a key of its own, best in the clinic's own AWS account: its key policy, or a grant, allows the
/// platform's role `kms:Encrypt`, `kms:Decrypt` and `kms:DescribeKey` and nothing else, and the clinic can take that back
/// by itself. Bind the permission to the clinic, so that a mistake here cannot use the wrong key:
///
/// ```json
/// "Condition": { "StringEquals": {
///   "kms:EncryptionContext:tower-ward-purpose": "tenant-key",
///   "kms:EncryptionContext:tower-ward-tenant": "northgate" } }
/// ```
///
/// (`kms:DescribeKey` has no context: it needs a statement of its own.) CloudTrail records every call with its context in
/// plain text: the clinic's id stands there, and nothing of a patient. A multi-region key has an ARN in each region; the
/// provider takes one, and a replica in another region needs a client and a provider of its own. Rotation by KMS leaves the
/// ARN as it is, and old wrapped keys open. A deleted key is gone for good, and so is all that was sealed below it.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use tower_ward::{
///     id::TenantId,
///     keys::{
///         AwsKmsError, AwsKmsProvider, KeyContext, KeyProvider as _, MAX_WRAPPED, ProviderErrorKind,
///         aws_sdk_kms::{Client, Config, config::{BehaviorVersion, Region}},
///     },
/// };
///
/// // In production the credentials too: `.credentials_provider(…)`.
/// let config = Config::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("eu-west-2")).build();
/// let client = Client::from_conf(config);
///
/// let arn = "arn:aws:kms:eu-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/// let provider = AwsKmsProvider::new(client.clone(), arn)?.with_timeout(Duration::from_secs(2))?;
/// assert_eq!(provider.key_arn(), arn);
///
/// // Whoever may edit aliases would choose the key.
/// let alias = AwsKmsProvider::new(client.clone(), "arn:aws:kms:eu-west-2:111122223333:alias/northgate");
/// assert!(matches!(alias, Err(AwsKmsError::Alias(_))));
/// let elsewhere = AwsKmsProvider::new(client, &arn.replace("eu-west-2", "us-east-1")).unwrap_err();
/// assert!(elsewhere.to_string().starts_with("the client asks in `eu-west-2`, and the key is in `us-east-1`"));
///
/// // No key can have wrapped this, so nobody is asked.
/// let context = KeyContext::tenant(TenantId::new("northgate")?);
/// let refused = provider.unwrap(&[0; MAX_WRAPPED + 1], &context).await.unwrap_err();
/// assert_eq!(refused.kind(), ProviderErrorKind::Mismatch);
/// # Ok(()) }
/// ```
///
/// # Security
///
/// The attacker reads the store, the logs and the errors, moves wrapped keys about, or sits between here and KMS without
/// its certificate. Promised: what was wrapped for one clinic opens for no other and under no other key; no error, `Debug` or
/// trace holds key bytes, a credential, or anything of an answer but its status, code and request id. The SDK traces whole
/// requests, in which a key to be wrapped stands; so no subscriber of `tracing` is told what happens inside a call. Not
/// promised: AWS sees each key in the clear when it wraps and unwraps it. The SDK keeps copies in buffers (JSON, base64, TLS)
/// that it does not wipe. A client that the application points at an endpoint without TLS, or gives interceptors of its own,
/// shows keys there.
#[derive(Clone)]
pub struct AwsKmsProvider {
    client: Client,
    key: Arc<str>,
    timeout: Duration,
}

impl AwsKmsProvider {
    /// The key of this ARN, asked for through `client`. Nothing is asked yet:
    /// [`describe`](KeyProvider::describe) says whether the key is there.
    ///
    /// # Errors
    ///
    /// If the text is not the ARN of a key in the client's region.
    pub fn new(client: Client, key_arn: &str) -> Result<Self, AwsKmsError> {
        let region = arn::region(key_arn)?;
        let asked = client.config().region().map(|region| region.as_ref().to_owned());
        if asked.as_deref() != Some(region) {
            return Err(AwsKmsError::Region { client: asked, key: region.to_owned() });
        }
        Ok(Self { client, key: key_arn.into(), timeout: TIMEOUT })
    }

    /// How long a call may take in all, finding the host and the credentials included. 5 s by default.
    ///
    /// # Errors
    ///
    /// If it is zero.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Self, AwsKmsError> {
        if timeout.is_zero() {
            return Err(AwsKmsError::NoTime);
        }
        self.timeout = timeout;
        Ok(self)
    }

    /// The key's ARN.
    #[must_use]
    pub fn key_arn(&self) -> &str {
        &self.key
    }

    async fn encrypt(&self, key: &KeyBytes, context: &KeyContext) -> Result<Vec<u8>, ProviderError> {
        let request = self
            .client
            .encrypt()
            .key_id(&*self.key)
            .plaintext(Blob::new(key.expose_secret()))
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .set_encryption_context(Some(pairs(context)));
        let answer = self.call(request.customize().config_override(once()).send()).await?;
        let wrapped = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED {
            return Err(self.garbled("the ciphertext in the answer is missing or too long"));
        }
        self.check(answer.key_id.as_deref(), answer.encryption_algorithm.as_ref())?;
        Ok(wrapped)
    }

    async fn decrypt(&self, wrapped: &[u8], context: &KeyContext) -> Result<KeyBytes, ProviderError> {
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED {
            return Err(self.error(Kind::Mismatch, "these bytes are empty or too long to be a wrapped key"));
        }
        let request = self
            .client
            .decrypt()
            .key_id(&*self.key)
            .ciphertext_blob(Blob::new(wrapped))
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .set_encryption_context(Some(pairs(context)));
        let answer = self.call(request.customize().config_override(once()).send()).await?;
        // Taken first, so that it is wiped whatever else is wrong.
        let bytes = Zeroizing::new(answer.plaintext.map(Blob::into_inner).unwrap_or_default());
        self.check(answer.key_id.as_deref(), answer.encryption_algorithm.as_ref())?;
        let bytes: &[u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| self.garbled("what the answer unwraps to is not a key of 32 bytes"))?;
        Ok(Secret::init_with_mut(|key: &mut [u8; 32]| key.copy_from_slice(bytes)))
    }

    async fn ask(&self) -> Result<KeyDescription, ProviderError> {
        let request = self.client.describe_key().key_id(&*self.key);
        let answer = self.call(request.customize().config_override(once()).send()).await?;
        let Some(metadata) = answer.key_metadata else {
            return Err(self.garbled("the answer describes no key"));
        };
        self.check(metadata.arn(), None)?;
        self.description(&metadata)
    }

    fn description(&self, metadata: &KeyMetadata) -> Result<KeyDescription, ProviderError> {
        let (Some(state), Some(usage), Some(spec)) = (metadata.key_state(), metadata.key_usage(), metadata.key_spec())
        else {
            return Err(self.garbled("the answer leaves out the state or the use of the key"));
        };
        if (usage, spec) != (&KeyUsageType::EncryptDecrypt, &KeySpec::SymmetricDefault) {
            return Err(self.error(Kind::Denied, "this key is not for symmetric encryption: make one that is"));
        }
        let created = metadata.creation_date().and_then(|date| Timestamp::from_second(date.secs()).ok());
        Ok(KeyDescription {
            provider: "aws-kms",
            key: self.key.to_string(),
            version: metadata.current_key_material_id().and_then(answer::material),
            created,
            enabled: *state == KeyState::Enabled,
            // Imported material has a copy elsewhere, and what an external store does nobody here knows.
            confined: matches!(metadata.origin(), Some(OriginType::AwsKms | OriginType::AwsCloudhsm)),
        })
    }

    /// One call: bounded in time, and unseen by any subscriber.
    async fn call<T, E: ProvideErrorMetadata>(
        &self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, ProviderError> {
        // The SDK traces requests with their bodies.
        let request = request.with_subscriber(Dispatch::none());
        match tokio::time::timeout(self.timeout, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(answer::error(&self.key, &error)),
            Err(_) => {
                Err(self.error(Kind::Unavailable, "KMS did not answer in time: look at the network on the way to it"))
            }
        }
    }

    /// Whether an answer is of this key and of the algorithm that was asked for.
    fn check(&self, key: Option<&str>, algorithm: Option<&EncryptionAlgorithmSpec>) -> Result<(), ProviderError> {
        if key != Some(&*self.key) {
            return Err(self.garbled("the answer is of another key"));
        }
        if algorithm.is_some_and(|algorithm| *algorithm != EncryptionAlgorithmSpec::SymmetricDefault) {
            return Err(self.garbled("the answer is of another algorithm"));
        }
        Ok(())
    }

    fn garbled(&self, what: &'static str) -> ProviderError {
        self.error(Kind::Garbled, what)
    }

    fn error(&self, kind: Kind, what: &'static str) -> ProviderError {
        ProviderError::new(kind, self.key.clone(), what)
    }
}

impl fmt::Debug for AwsKmsProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: it holds the credentials.
        f.debug_struct("AwsKmsProvider").field("key", &self.key).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl KeyProvider for AwsKmsProvider {
    fn wrap<'a>(&'a self, key: &'a KeyBytes, context: &'a KeyContext) -> BoxFuture<'a, Result<Vec<u8>, ProviderError>> {
        Box::pin(self.encrypt(key, context))
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<KeyBytes, ProviderError>> {
        Box::pin(self.decrypt(wrapped, context))
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyDescription, ProviderError>> {
        Box::pin(self.ask())
    }
}

fn pairs(context: &KeyContext) -> HashMap<String, String> {
    context.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What a call says over the client's own settings: no second try, which would take the caller's time without a word.
fn once() -> aws_sdk_kms::config::Builder {
    Config::builder().retry_config(RetryConfig::disabled())
}
