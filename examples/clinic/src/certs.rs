//! TLS for `https://{clinic}.localhost` without a certificate authority that anybody has to trust with more.
//!
//! The first start makes a certificate authority, issues one certificate and forgets the authority's key. What
//! [`open`] does:
//!
//! 1. Every host must be `localhost` or a name under it, in lower case. Anything else is an error.
//! 2. If the folder holds a certificate for exactly these hosts, issued by the `ca.pem` beside it, with its key, that
//!    nobody but the owner can read, and that stays valid for [`RENEW_BEFORE`], it is used again.
//! 3. Otherwise a new authority and a new certificate are made, and [`Certs::made`] says why. Browsers and scripts
//!    that trusted the old `ca.pem` must be given the new one.
//!
//! | file | holds | mode |
//! |---|---|---|
//! | `ca.pem` | the authority's certificate, to be trusted by a client | 0644 |
//! | `tls.pem` | the server's certificate and its key | 0600 |
//!
//! # Deployment caveat
//!
//! For demos on one machine. A server that others reach has a name of its own and a certificate from an authority
//! that its clients already trust.
//!
//! # Examples
//!
//! ```
//! use clinic::certs::{self, CertError};
//!
//! let dir = tempfile::tempdir()?;
//! let now = "2026-01-01T00:00:00Z".parse()?;
//!
//! let first = certs::open(dir.path(), &["harbour.localhost"], now)?;
//! assert!(first.made().is_some());
//! let second = certs::open(dir.path(), &["harbour.localhost"], now)?;
//! assert!(second.made().is_none(), "the second start reuses what the first one made");
//!
//! let refused = certs::open(dir.path(), &["harbour.example"], now);
//! assert!(matches!(refused, Err(CertError::Host { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security
//!
//! Whoever installs `ca.pem` in a browser trusts it for every name that it may vouch for. So it may vouch for little:
//! name constraints (RFC 5280 §4.2.1.10, critical) permit `localhost` with the names under it, 127.0.0.1 and ::1; the
//! extended key usage is server authentication; the path length is zero, for those clients that read it in an authority
//! they trust (rustls does not, and does not need to: the constraints hold all the way down). And nobody can vouch with
//! it: its key exists in memory while one certificate is signed, is wiped, and is never written. Not promised:
//! protection from somebody who reads this user's files or memory.

mod files;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, TrustAnchor, UnixTime, pem::PemObject,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::{Zeroize, Zeroizing};

/// How long a certificate is valid: 396 days. Browsers refuse more than 398, and the day before counts too.
pub const VALIDITY: Duration = Duration::from_hours(396 * 24);

/// A certificate that ends sooner than this is replaced: 7 days.
pub const RENEW_BEFORE: Duration = Duration::from_hours(7 * 24);

/// A certificate begins this long before it is made, for clients whose clock is behind: 1 hour.
const BACKDATE: Duration = Duration::from_hours(1);

/// Each certificate is for these as well as for the hosts asked for.
const ALWAYS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const CA_FILE: &str = "ca.pem";
const LEAF_FILE: &str = "tls.pem";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertError {
    /// A host that a demo certificate may not name.
    #[error("no demo certificate can name the host `{host}`: use `localhost` or a name under it, in lower case")]
    Host {
        /// The host.
        host: String,
    },
    /// A file could not be read or written.
    #[error("`{path}` cannot be read or written: check the folder's owner, permissions and free space", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Make(#[source] rcgen::Error),
    /// A certificate that was made a moment ago does not hold.
    #[error("the new certificate does not pass its own check ({0}): check this machine's clock")]
    Check(Reason),
}

/// Why a certificate was made rather than used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// There was none.
    First,
    /// Others could read its key.
    Exposed,
    /// It names other hosts.
    Hosts,
    /// It has ended, or will within [`RENEW_BEFORE`].
    Ending,
    /// It is not valid yet: the clock was set back.
    NotYet,
    /// It cannot be read, or does not belong to the `ca.pem` beside it.
    Damaged,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "there was none yet",
            Self::Exposed => "others on this machine could read the old one's key",
            Self::Hosts => "the old one was for other hosts",
            Self::Ending => "the old one has less than 7 days left",
            Self::NotYet => "the old one is not valid yet, so the clock was set back",
            Self::Damaged => "the old one cannot be read or does not belong to its `ca.pem`",
        })
    }
}

/// A certificate with its key, and the authority that vouches for it.
#[derive(Debug)]
pub struct Certs {
    ca_path: PathBuf,
    ca: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    made: Option<Reason>,
}

impl Certs {
    /// Why the certificate was made just now; `None` if it was there and is used again.
    #[must_use]
    pub fn made(&self) -> Option<Reason> {
        self.made
    }

    /// The file that a client is told to trust.
    #[must_use]
    pub fn ca_path(&self) -> &Path {
        &self.ca_path
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    /// What the server shows. The authority is not part of it: a client has it or does not trust it.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.leaf.clone()]
    }

    /// The server's key.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// Finds or makes the certificate in `dir` for `hosts`, `localhost`, 127.0.0.1 and ::1. The folder must exist.
///
/// # Errors
///
/// If a host is not `localhost` or under it, or a file cannot be read or written. A file that is there but unusable is
/// replaced.
pub fn open(dir: &Path, hosts: &[impl AsRef<str>], now: Timestamp) -> Result<Certs, CertError> {
    let mut names = BTreeSet::from(["localhost".to_owned()]);
    for host in hosts {
        let host = host.as_ref();
        if !is_local(host) {
            return Err(CertError::Host { host: host.to_owned() });
        }
        names.insert(host.to_owned());
    }
    let reason = match load(dir, &names, now)? {
        Ok(certs) => return Ok(certs),
        Err(reason) => reason,
    };
    make(dir, &names, now)?;
    // Reading back what was written means that a start which succeeds predicts that the next one will.
    let mut certs = load(dir, &names, now)?.map_err(CertError::Check)?;
    certs.made = Some(reason);
    Ok(certs)
}

/// `localhost`, or labels of letters, digits and inner hyphens under it.
fn is_local(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    host.len() <= 253
        && match host.strip_suffix("localhost") {
            Some("") => true,
            Some(rest) => rest.strip_suffix('.').is_some_and(|rest| rest.split('.').all(label)),
            None => false,
        }
}

/// What is in the folder, if it can be used; the outer error is for a disk that does not answer.
fn load(dir: &Path, names: &BTreeSet<String>, now: Timestamp) -> Result<Result<Certs, Reason>, CertError> {
    let ca_path = dir.join(CA_FILE);
    let (Some(ca), Some(leaf)) = (files::read(&ca_path)?, files::read(&dir.join(LEAF_FILE))?) else {
        return Ok(Err(Reason::First));
    };
    if leaf.exposed {
        return Ok(Err(Reason::Exposed));
    }
    Ok(parse(ca_path, &ca.bytes, &leaf.bytes).and_then(|certs| {
        check(&certs, names, now)?;
        Ok(certs)
    }))
}

fn parse(ca_path: PathBuf, ca: &[u8], leaf: &[u8]) -> Result<Certs, Reason> {
    let certs = Certs {
        ca_path,
        ca: CertificateDer::from_pem_slice(ca).map_err(|_| Reason::Damaged)?,
        leaf: CertificateDer::from_pem_slice(leaf).map_err(|_| Reason::Damaged)?,
        key: PrivatePkcs8KeyDer::from_pem_slice(leaf).map_err(|_| Reason::Damaged)?,
        made: None,
    };
    CertifiedKey::from_der(certs.chain(), certs.key(), &aws_lc_rs::default_provider()).map_err(|_| Reason::Damaged)?;
    Ok(certs)
}

/// Whether clients that trust `certs.ca` accept the leaf for each name, now and until it is time to renew.
fn check(certs: &Certs, names: &BTreeSet<String>, now: Timestamp) -> Result<(), Reason> {
    let leaf = EndEntityCert::try_from(&certs.leaf).map_err(|_| Reason::Damaged)?;
    let anchor = anchor_from_trusted_cert(&certs.ca).map_err(|_| Reason::Damaged)?;
    if leaf.valid_dns_names().map(str::to_owned).collect::<BTreeSet<_>>() != *names {
        return Err(Reason::Hosts);
    }
    for name in names.iter().map(String::as_str).chain(ALWAYS) {
        let name = ServerName::try_from(name).map_err(|_| Reason::Damaged)?;
        leaf.verify_is_valid_for_subject_name(&name).map_err(|_| Reason::Hosts)?;
    }
    for time in [now, now + RENEW_BEFORE] {
        verify(&leaf, &anchor, time)?;
    }
    Ok(())
}

fn verify(leaf: &EndEntityCert<'_>, anchor: &TrustAnchor<'_>, time: Timestamp) -> Result<(), Reason> {
    let since_epoch = Duration::try_from(time.as_duration()).map_err(|_| Reason::NotYet)?;
    leaf.verify_for_usage(
        aws_lc_rs::default_provider().signature_verification_algorithms.all,
        std::slice::from_ref(anchor),
        &[],
        UnixTime::since_unix_epoch(since_epoch),
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map(drop)
    .map_err(|error| match error {
        webpki::Error::CertExpired { .. } => Reason::Ending,
        webpki::Error::CertNotValidYet { .. } => Reason::NotYet,
        _ => Reason::Damaged,
    })
}

fn make(dir: &Path, names: &BTreeSet<String>, now: Timestamp) -> Result<(), CertError> {
    let authority = Authority::new(now).map_err(CertError::Make)?;
    let ca = authority.certificate.clone();
    let leaf = authority.issue(names.iter().cloned().chain(ALWAYS[1..].iter().map(|&name| name.to_owned())), now);
    // Nothing else is ever signed with this key.
    drop(authority);
    let leaf = leaf.map_err(CertError::Make)?;
    // `ca.pem` goes last: if this stops in between, the pair does not match and the next start makes a new one.
    files::write(&dir.join(LEAF_FILE), leaf.as_bytes(), 0o600)?;
    files::write(&dir.join(CA_FILE), ca.as_bytes(), 0o644)
}

/// An authority while it can still sign.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: String,
}

impl Authority {
    fn new(now: Timestamp) -> Result<Self, rcgen::Error> {
        let mut params = validity(CertificateParams::default(), now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName("localhost".to_owned()),
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 1], 32)),
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(std::net::Ipv6Addr::LOCALHOST.octets(), 128)),
            ],
            excluded_subtrees: Vec::new(),
        });
        // A trust store with several of these can tell them apart.
        let mark = u32::from_be_bytes(tower_ward::entropy::array());
        params.distinguished_name.push(DnType::CommonName, format!("clinic demo, this machine only, {mark:08x}"));
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { params, key, certificate })
    }

    /// A certificate and its key. Whatever `names` says: to refuse is the client's part, by the name constraints.
    fn issue(&self, names: impl Iterator<Item = String>, now: Timestamp) -> Result<Zeroizing<String>, rcgen::Error> {
        let mut params = validity(CertificateParams::new(names.collect::<Vec<_>>())?, now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, "clinic demo");
        let mut key = KeyPair::generate()?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let key_pem = Zeroizing::new(key.serialize_pem());
        key.zeroize();
        Ok(Zeroizing::new(format!("{certificate}{}", *key_pem)))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn validity(mut params: CertificateParams, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let since_epoch = Duration::try_from(now.as_duration()).map_err(|_| rcgen::Error::Time)?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = now - BACKDATE;
    params.not_after = now - BACKDATE + VALIDITY;
    Ok(params)
}

#[cfg(test)]
mod tests;
