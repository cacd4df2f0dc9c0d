//! How the keys stand: for posture, and for whoever is asked.

use std::{collections::BTreeMap, fmt, sync::atomic::Ordering};

use super::{
    super::{
        kek::KekId,
        provider::{KeyDescription, ProviderError},
        record::{Owner, Record, State},
    },
    CopyReport, Inner, KIND, KeyError, Keyring, SUBJECT, answer,
    manage::Tenants,
    platform_name, tenant_name,
};
use crate::{
    clock::Timestamp,
    id::TenantId,
    store::{MAX_PAGE, Prefix},
};

/// How the keys stand, at the moment it was asked.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::{num::NonZeroUsize, sync::Arc};
/// # use tower_ward::{id::TenantId, store::MemoryStore};
/// use tower_ward::keys::{CopyReport, KekReport, KeyReport, Keyring, RootKey};
///
/// # let store = Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
/// # let keyring = Keyring::open(RootKey::generate(), store).await?;
/// keyring.create_tenant(&TenantId::new("northgate")?).await?;
/// let report: KeyReport = keyring.report().await?;
/// let root: &KekReport = &report.keks[0];
/// assert_eq!((root.id.as_str(), root.tenants, root.platform), ("root", 1, true));
/// assert_eq!(root.description.as_ref().map(|key| key.provider), Ok("local"));
/// let copies: &[CopyReport] = &report.copies;
/// assert!(copies.is_empty());
/// // What an operator should do something about, in words.
/// let findings: Vec<String> = report.findings().collect();
/// assert!(findings.iter().any(|finding| finding.starts_with("the key store has no copy")));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyReport {
    /// When it was asked.
    pub at: Timestamp,
    /// Every key-encryption key that a record names, by name.
    pub keks: Vec<KekReport>,
    /// How many tenants there are.
    pub tenants: usize,
    /// To which tenants' keys access is revoked.
    pub revoked: Vec<TenantId>,
    /// The tenants whose wrapping key is being rotated: more than one is in use.
    pub rotating: Vec<TenantId>,
    /// When the oldest wrapping key of a tenant was made, and whose it is.
    pub oldest: Option<(TenantId, Timestamp)>,
    /// How many subjects there are, those who were erased not counted.
    pub subjects: usize,
    /// How many subjects have two keys: their values are being sealed anew.
    pub epochs_open: usize,
    /// How many subjects' records are no records, so that nothing of theirs opens.
    pub damaged: usize,
    /// How many subjects were erased.
    pub erased: usize,
    /// How many erasures a copy has not confirmed.
    pub pending: usize,
    /// How many lines of the shred journal were none when the store was opened.
    pub damaged_lines: usize,
    /// The copies of the store.
    pub copies: Vec<CopyReport>,
}

/// A key-encryption key, and what is wrapped under it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KekReport {
    /// Its name in records.
    pub id: KekId,
    /// Whether the platform's secret is wrapped under it.
    pub platform: bool,
    /// How many tenants are wrapped under it.
    pub tenants: usize,
    /// What its holder says of it. An error's text, where it says nothing, or where the key was not added.
    pub description: Result<KeyDescription, String>,
}

impl KeyReport {
    /// What an operator should do something about: one sentence each.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let mut out = Vec::new();
        for kek in &self.keks {
            match &kek.description {
                Err(error) => out.push(format!("the key-encryption key `{}` cannot be described: {error}", kek.id)),
                Ok(key) if !key.enabled => out.push(format!(
                    "the key-encryption key `{}` ({}) is switched off, and {} tenant(s) with it",
                    kek.id, key.key, kek.tenants
                )),
                Ok(key) if kek.platform && !key.confined => out.push(format!(
                    "the platform's key-encryption key `{}` ({}) can leave its holder: keep it in an HSM or a KMS",
                    kek.id, key.key
                )),
                Ok(_) => {}
            }
        }
        if self.copies.is_empty() {
            out.push("the key store has no copy: add one on another disk with `KeyringOptions::add_copy`".to_owned());
        }
        for copy in &self.copies {
            match copy.behind {
                Some(0) => {}
                Some(behind) => out.push(format!("the copy `{}` is {behind} write(s) behind", copy.name)),
                None => out.push(format!("the copy `{}` cannot be reached: erasures wait for it", copy.name)),
            }
        }
        if self.damaged > 0 {
            out.push(format!(
                "the keys of {} subject(s) are damaged: restore their records from a copy of the key store",
                self.damaged
            ));
        }
        if self.pending > 0 {
            out.push(format!("{} erasure(s) are not confirmed by every copy", self.pending));
        }
        if self.damaged_lines > 0 {
            out.push(format!(
                "{} line(s) of the shred journal are damaged: restore them from a copy of the key store",
                self.damaged_lines
            ));
        }
        for tenant in &self.rotating {
            out.push(format!("the rotation of `{tenant}`'s wrapping key was begun and not ended: run it again"));
        }
        for tenant in &self.revoked {
            out.push(format!("access to the keys of `{tenant}` is revoked"));
        }
        out.into_iter()
    }
}

/// As a table for people.
impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:24} {:8} {:>8}  key", "key-encryption key", "state", "tenants")?;
        for kek in &self.keks {
            let (state, key) = match &kek.description {
                Ok(key) => (if key.enabled { "enabled" } else { "OFF" }, describe(key)),
                Err(error) => ("UNKNOWN", error.clone()),
            };
            let id = format!("{}{}", kek.id, if kek.platform { " (platform)" } else { "" });
            writeln!(f, "{id:24} {state:8} {:>8}  {key}", kek.tenants)?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "tenants        {} ({} revoked, {} rotating)",
            self.tenants,
            self.revoked.len(),
            self.rotating.len()
        )?;
        if let Some((tenant, made)) = &self.oldest {
            let age = self.at.duration_since(*made).as_hours() / 24;
            writeln!(f, "oldest key     {tenant}'s, {age} day(s)")?;
        }
        writeln!(
            f,
            "subjects       {} ({} with two epochs open, {} damaged)",
            self.subjects, self.epochs_open, self.damaged
        )?;
        writeln!(f, "erased         {} ({} not confirmed by every copy)", self.erased, self.pending)?;
        for copy in &self.copies {
            match copy.behind {
                Some(behind) => writeln!(f, "copy           {}, {behind} write(s) behind", copy.name)?,
                None => writeln!(f, "copy           {}, OUT OF REACH", copy.name)?,
            }
        }
        Ok(())
    }
}

fn describe(key: &KeyDescription) -> String {
    let mut out = key.key.clone();
    if let Some(version) = &key.version {
        out += &format!(", version {version}");
    }
    if let Some(created) = key.created {
        out += &format!(", of {}", created.strftime("%F"));
    }
    out
}

impl Keyring {
    /// How the keys stand. Reads every record of the store, and asks the holder of every key-encryption key.
    ///
    /// # Errors
    ///
    /// If the store fails, or a tenant's record is not one. A holder that does not answer is no error, but in the report.
    pub async fn report(&self) -> Result<KeyReport, KeyError> {
        let inner = &self.0;
        let pending = inner.pending().len();
        let mut report = KeyReport {
            at: inner.clock.now(),
            keks: Vec::new(),
            tenants: 0,
            revoked: Vec::new(),
            rotating: Vec::new(),
            oldest: None,
            subjects: 0,
            epochs_open: 0,
            damaged: 0,
            erased: 0,
            pending,
            damaged_lines: inner.damaged_lines.load(Ordering::Relaxed),
            copies: inner.report_copies().await?,
        };
        let mut under = BTreeMap::<KekId, usize>::new();
        let platform = inner.platform_kek().await?;
        under.insert(platform.clone(), 0);
        let mut tenants = Tenants::default();
        while let Some(tenant) = tenants.next(inner).await? {
            // Listed before it is made.
            let Some(entry) = inner.store.get(&tenant_name(&tenant)).await? else { continue };
            let guarded = inner.parse_tenant(&tenant, &entry.value)?;
            report.tenants += 1;
            for key in &guarded.keys {
                *under.entry(key.kek.clone()).or_default() += usize::from(key.epoch == guarded.current().epoch);
            }
            let made = Timestamp::from_millisecond(guarded.current().made).map_err(|_| KeyError::Corrupt)?;
            if report.oldest.as_ref().is_none_or(|(_, oldest)| made < *oldest) {
                report.oldest = Some((tenant.clone(), made));
            }
            if guarded.keys.len() > 1 {
                report.rotating.push(tenant.clone());
            }
            inner.count_subjects(&tenant, &mut report).await?;
            if guarded.state == State::Revoked {
                report.revoked.push(tenant);
            }
        }
        for (id, tenants) in under {
            let platform = id == platform;
            let description = inner.description(&id).await;
            report.keks.push(KekReport { id, platform, tenants, description });
        }
        Ok(report)
    }
}

impl Inner {
    pub(super) async fn platform_kek(&self) -> Result<KekId, KeyError> {
        let entry = self.store.get(&platform_name()).await?.ok_or(KeyError::Corrupt)?;
        let record = Record::parse(&entry.value)?;
        self.platform.authority.check(Owner::PLATFORM, &record)?;
        match record {
            Record::Guarded(guarded) => Ok(guarded.current().kek.clone()),
            _ => Err(KeyError::Corrupt),
        }
    }

    async fn description(&self, id: &KekId) -> Result<KeyDescription, String> {
        let provider = self.kek(id).map_err(|error| error.to_string())?;
        answer(id, provider.describe()).await.map_err(|error: ProviderError| error.to_string())
    }

    async fn count_subjects(&self, tenant: &TenantId, report: &mut KeyReport) -> Result<(), KeyError> {
        let prefix = Prefix::tenant(tenant, KIND).expect("the kind is a constant");
        let mut after = None::<String>;
        loop {
            let page = self.store.list(&prefix, after.as_deref(), MAX_PAGE).await?;
            for (_, entry) in page.iter().filter(|(key, _)| key.starts_with(SUBJECT)) {
                match Record::parse(&entry.value) {
                    Ok(Record::Set(set)) => {
                        report.subjects += 1;
                        report.epochs_open += usize::from(set.keys.len() > 1);
                    }
                    Ok(Record::Erased(_)) => report.erased += 1,
                    _ => report.damaged += 1,
                }
            }
            after = page.last().map(|(key, _)| key.clone());
            if page.len() < MAX_PAGE {
                return Ok(());
            }
        }
    }
}
