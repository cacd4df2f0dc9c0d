//! Settings of the transit provider, and what it does not open with.

use std::{
    fmt,
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use super::exchange::{Endpoint, Tls};
use crate::keys::{KeySource, KeySourceError, ProviderError};

/// A bundle of authorities has a few; the whole web's is 220 KiB.
const LARGEST_CA_FILE: u64 = 1024 * 1024;
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of a [`TransitProvider`](super::TransitProvider).
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `address` | required | `https://host:port` of the server, without a path; 443 if there is no port |
/// | `key` | required | the key's name: letters, digits and `_`, within it also `-` and `.`, at most 128 |
/// | `token` | required | where the token stands; one that expires belongs in a file that an agent renews |
/// | [`with_ca_file`](Self::with_ca_file) | required for `https` | the authority that signed the server's certificate; no other is trusted |
/// | [`with_mount`](Self::with_mount) | `transit` | the path at which the engine is mounted |
/// | [`with_namespace`](Self::with_namespace) | none | the namespace in which the mount is |
/// | [`with_timeout`](Self::with_timeout) | 5 s | for a whole call: name, connection, TLS, question and answer |
///
/// ```
/// use std::time::Duration;
/// use tower_ward::keys::TransitOptions;
///
/// let options = TransitOptions::new("https://vault.clinic.example:8200", "clinic-kek", "file:/run/vault/token".parse()?)
///     .with_ca_file("/etc/clinic/vault-ca.pem")
///     .with_timeout(Duration::from_secs(2));
/// assert!(format!("{options:?}").contains("clinic-kek"));
/// # Ok::<(), tower_ward::keys::KeySourceError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct TransitOptions {
    address: String,
    key: String,
    token: KeySource,
    ca_file: Option<PathBuf>,
    mount: String,
    namespace: Option<String>,
    timeout: Duration,
    plain_http: bool,
}

impl TransitOptions {
    /// The key of that name at that address, and where the token is read with which to ask for it.
    pub fn new(address: impl Into<String>, key: impl Into<String>, token: KeySource) -> Self {
        Self {
            address: address.into(),
            key: key.into(),
            token,
            ca_file: None,
            mount: "transit".to_owned(),
            namespace: None,
            timeout: Duration::from_secs(5),
            plain_http: false,
        }
    }

    /// The PEM file of the authority, or the authorities, by whose word the server is believed. The system's are not
    /// asked: whoever of those issues a certificate would be handed the keys.
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// The path at which the engine is mounted, without a slash at either end.
    pub fn with_mount(mut self, mount: impl Into<String>) -> Self {
        self.mount = mount.into();
        self
    }

    /// The namespace in which the mount is, without a slash at either end.
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How long a whole call may take, up to 60 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Takes an `http` address, if its host is a loopback address in digits. For an agent or a test on this machine.
    ///
    /// # Security
    ///
    /// Every process of this machine that may listen to its loopback, or takes the port while the server is down, gets
    /// the token and every key.
    pub fn danger_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Checks every setting, and reads the authority's file. Asks nobody.
    pub(super) fn check(self) -> Result<(Checked, KeySource), TransitError> {
        let wrong = |setting, problem| Err(TransitError::Setting { setting, problem });
        if !is_name(&self.key) {
            return wrong("key", "is no key's name: letters, digits and `_`, within it also `-` and `.`, at most 128");
        }
        if !is_path(&self.mount) {
            return wrong("mount", "is no mount's path: names as of keys, with `/` between them and at neither end");
        }
        if self.namespace.as_deref().is_some_and(|namespace| !is_path(namespace)) {
            return wrong("namespace", "is no namespace: names as of keys, with `/` between them and at neither end");
        }
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            return wrong("timeout", "is out of its range: more than nothing, and at most 60 s");
        }
        let address = Address::parse(&self.address)?;
        let tls = match (address.encrypted, self.ca_file) {
            (true, Some(path)) => match ServerName::try_from(address.host.clone()) {
                Ok(name) => Some(Tls::new(client_config(&path)?, name)),
                Err(_) => return wrong("address", NOT_AN_ADDRESS),
            },
            (true, None) => {
                return wrong("ca_file", "is missing: name the PEM file of the authority that signed the certificate");
            }
            (false, _) if !self.plain_http => {
                return wrong(
                    "address",
                    "is plain `http`, which gives the token and the keys away: serve TLS and write `https`",
                );
            }
            (false, _) if !address.is_loopback() => {
                return wrong(
                    "address",
                    "is plain `http` to another machine: only a loopback address in digits is taken",
                );
            }
            (false, _) => None,
        };
        let scope = self.namespace.as_ref().map(|namespace| format!("{namespace}:")).unwrap_or_default();
        let path = |verb: &str| format!("/v1/{}/{verb}/{}", self.mount, self.key);
        let checked = Checked {
            name: format!("transit:{scope}{}/{}", self.mount, self.key).into(),
            encrypt: path("encrypt"),
            decrypt: path("decrypt"),
            key: path("keys"),
            endpoint: Endpoint::new(address.host, address.port, tls, self.namespace, self.timeout),
        };
        Ok((checked, self.token))
    }
}

/// Settings that were looked at.
pub(super) struct Checked {
    /// How errors and descriptions call the key.
    pub(super) name: Arc<str>,
    pub(super) encrypt: String,
    pub(super) decrypt: String,
    pub(super) key: String,
    pub(super) endpoint: Endpoint,
}

impl fmt::Debug for TransitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is no address may have a password in it.
        let address = if Address::parse(&self.address).is_ok() { &self.address } else { "[not an address]" };
        f.debug_struct("TransitOptions")
            .field("address", &address)
            .field("key", &self.key)
            .field("token", &self.token)
            .field("ca_file", &self.ca_file)
            .field("mount", &self.mount)
            .field("namespace", &self.namespace)
            .field("timeout", &self.timeout)
            .field("plain_http", &self.plain_http)
            .finish()
    }
}

/// What [`TransitProvider::open`](super::TransitProvider::open) found wrong.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TransitError {
    /// A setting cannot be right. Nobody was asked.
    #[error("transit setting `{setting}` {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it, and what is right.
        problem: &'static str,
    },
    /// The authority's file cannot be used. Nobody was asked.
    #[error("transit setting `ca_file`: {}: {problem}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The token cannot be had from its source.
    #[error("token: {0}")]
    Token(KeySourceError),
    /// The key may be read out of the server.
    #[error("{key}: the key is exportable, so it may be anywhere: make one without `exportable`, and wrap under that")]
    Exportable {
        /// The key, as [`describe`](crate::keys::KeyProvider::describe) calls it.
        key: String,
    },
    /// The key is of another kind.
    #[error("{key}: the key's type is not `aes256-gcm96`: make one of that type")]
    KeyType {
        /// The key, as [`describe`](crate::keys::KeyProvider::describe) calls it.
        key: String,
    },
    /// The server unwrapped in another context than it had wrapped in.
    #[error("{key}: the server does not bind what it wraps to its context: use a release that knows `associated_data`")]
    Unbound {
        /// The key, as [`describe`](crate::keys::KeyProvider::describe) calls it.
        key: String,
    },
    /// The server did not do as asked.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

const NOT_AN_ADDRESS: &str = "is no address: write `https://host:port`, with no path, user or password";

struct Address {
    encrypted: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Address {
    fn parse(text: &str) -> Result<Self, TransitError> {
        let parse = || {
            let uri: Uri = text.parse().ok()?;
            let encrypted = match uri.scheme_str()? {
                "https" => true,
                "http" => false,
                _ => return None,
            };
            let authority = uri.authority()?.as_str();
            // What is thrown away would be a setting that does nothing: a path, a query, a fragment, a user.
            let (_, after) = text.split_once("://")?;
            if after.strip_suffix('/').unwrap_or(after) != authority || authority.contains('@') {
                return None;
            }
            let host = uri.host()?;
            // Not by `Uri::port`, for which a port beyond 65,535 is none.
            let port = match authority.strip_prefix(host)? {
                "" if encrypted => 443,
                "" => 80,
                port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
            };
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            (!host.is_empty()).then_some(Self { encrypted, host, port })
        };
        parse().ok_or(TransitError::Setting { setting: "address", problem: NOT_AN_ADDRESS })
    }

    /// In digits: a name leads wherever who answers for it says.
    fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// A name that needs no escape in a path and is never `.` or `..`.
fn is_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = name.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.len() <= 128
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn is_path(path: &str) -> bool {
    path.len() <= 512 && path.split('/').all(is_name)
}

/// TLS 1.2 or 1.3, and no authority but those of the file.
fn client_config(path: &Path) -> Result<ClientConfig, TransitError> {
    let wrong = |problem| TransitError::CaFile { path: path.to_owned(), problem };
    let mut pem = Vec::new();
    let file =
        std::fs::File::open(path).map_err(|_| wrong("cannot be opened: check that it is there, and may be read"))?;
    file.take(LARGEST_CA_FILE + 1).read_to_end(&mut pem).map_err(|_| wrong("cannot be read"))?;
    if pem.len() as u64 > LARGEST_CA_FILE {
        return Err(wrong("is larger than 1 MiB: name the file of one authority"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|_| wrong("is not PEM: store what stands from `BEGIN` to `END CERTIFICATE`"))?;
        roots.add(certificate).map_err(|_| wrong("holds a certificate that is none of an authority"))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate: store what stands from `BEGIN` to `END CERTIFICATE`"));
    }
    // The provider by name: another crate of the program may have made another one the default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::DEFAULT_VERSIONS);
    let builder = builder.map_err(|_| wrong("cannot be used: the TLS library was built without TLS 1.2 and 1.3"))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
