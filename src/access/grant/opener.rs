//! What an opened door is good for: to begin a transaction, to seal and open, to search.

use std::sync::Arc;

use super::{ClinicGrant, Closed, Facts, SubjectGrant};
use crate::{
    access::{Changes, DataClass, Opens, Permission, Relations, Scope, contains},
    id::{SubjectId, TenantId},
    keys::{SubjectKey, TenantKey},
};

mod sealed {
    pub trait Sealed {}
    impl<P> Sealed for super::SubjectGrant<P> {}
    impl<P> Sealed for super::ClinicGrant<P> {}
    impl<P> Sealed for super::Scope<P> {}
}

/// What a transaction that reads may be begun with: a door that was opened, or the scope of a cohort's query.
///
/// ```
/// use tower_ward::{access::Authority, db::{Db, ReadTx, TxError}};
///
/// /// For whatever may read: a person's door, a clinic's, or the scope of a query.
/// async fn count(db: &Db, by: &impl Authority) -> Result<i64, TxError> {
///     let mut tx: ReadTx = db.read(by).await?;
///     Ok(sqlx::query_scalar("select count(*) from rooms").fetch_one(tx.conn()).await?)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no opened door",
    label = "this opens no data yet",
    note = "open a door first: `grant.subject(id).await?` for one person, `grant.clinic().await?` for rows of no person",
    note = "inside a `CohortQuery`, the query's `Scope` does as well"
)]
pub trait Authority: sealed::Sealed {
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "the trait is sealed; only the transactions call this")]
    fn facts(&self) -> &Arc<Facts>;
    /// The permission's id.
    #[doc(hidden)]
    fn permission(&self) -> &'static str;
    /// The relations that opened it.
    #[doc(hidden)]
    fn holds(&self) -> Relations {
        Relations::CLINIC
    }
    /// The person, when the door leads to one.
    #[doc(hidden)]
    fn subject_id(&self) -> Option<SubjectId> {
        None
    }
}

impl<P: Permission> Authority for SubjectGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only the transactions call this")]
    fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    fn permission(&self) -> &'static str {
        P::ID
    }

    fn holds(&self) -> Relations {
        self.holds
    }

    fn subject_id(&self) -> Option<SubjectId> {
        Some(self.subject)
    }
}

impl<P: Permission> Authority for ClinicGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only the transactions call this")]
    fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    fn permission(&self) -> &'static str {
        P::ID
    }
}

impl<P: Permission> Authority for Scope<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only the transactions call this")]
    fn facts(&self) -> &Arc<Facts> {
        Scope::facts(self)
    }

    fn permission(&self) -> &'static str {
        P::ID
    }
}

/// A door that was opened: what hands work on needs one, and what changes data needs a [`ChangeDoor`]. The [`Scope`] of a
/// query is none: it reads.
///
/// ```
/// use tower_ward::access::{Jobs, JobError, OpenDoor, Task};
///
/// /// For a person's door and a clinic's alike.
/// async fn hand_on<T: Task>(jobs: &Jobs, by: &impl OpenDoor) -> Result<String, JobError> {
///     let envelope = jobs.issue::<T>(by, std::time::Duration::from_secs(60)).await?;
///     Ok(envelope)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no opened door, so it changes nothing and hands nothing on",
    label = "this opens no data",
    note = "open a door first: `grant.subject(id).await?` for one person, `grant.clinic().await?` for rows of no person"
)]
pub trait OpenDoor: Authority {
    /// The clinic's key.
    #[doc(hidden)]
    fn tenant_key(&self) -> &Arc<TenantKey>;
}

impl<P: Permission> OpenDoor for SubjectGrant<P> {
    fn tenant_key(&self) -> &Arc<TenantKey> {
        &self.tenant_key
    }
}

impl<P: Permission> OpenDoor for ClinicGrant<P> {
    fn tenant_key(&self) -> &Arc<TenantKey> {
        &self.key
    }
}

/// A door that was opened under a permission that [`Changes`] data.
///
/// ```
/// use tower_ward::{access::ChangeDoor, db::{Change, Db, TxError}, id::RowId};
///
/// /// For a person's door and a clinic's alike.
/// async fn remove(db: &Db, by: &impl ChangeDoor, row: RowId) -> Result<(), TxError> {
///     let mut tx = db.change(by, Change::delete("notes", row)).await?;
///     sqlx::query("delete from notes where id = ?").bind(row).execute(tx.conn()).await?;
///     tx.commit().await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no door that changes data",
    label = "this changes nothing",
    note = "open a door of a permission that `changes` data: `grant.subject(id).await?` for one person, `grant.clinic().await?` for rows of no person"
)]
pub trait ChangeDoor: OpenDoor {
    /// Under whose key what is changed is sealed.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "the trait is sealed; only the transactions call this")]
    fn owner(&self) -> Owner;
}

/// Whose rows a door changes, and the key that they are sealed under.
#[derive(Debug)]
pub(crate) enum Owner {
    Subject(SubjectId, Arc<SubjectKey>),
    Clinic(Arc<TenantKey>),
}

impl<P: Changes> ChangeDoor for SubjectGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only the transactions call this")]
    fn owner(&self) -> Owner {
        Owner::Subject(self.subject, Arc::clone(&self.key))
    }
}

impl<P: Changes> ChangeDoor for ClinicGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only the transactions call this")]
    fn owner(&self) -> Owner {
        Owner::Clinic(Arc::clone(&self.key))
    }
}

/// What seals and opens columns of class `K`: a [`SubjectGrant`] or a [`ClinicGrant`] of a permission that opens `K`.
///
/// ```
/// use tower_ward::{access::Opener, field::{Encrypted, OpenError}, id::RowId};
///
/// tower_ward::classes! { pub Clinical = "clinical"; }
/// tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
///
/// /// For the grants of every permission that opens what doctors write.
/// fn first_line(text: &Encrypted<NoteText>, by: &impl Opener<Clinical>, row: RowId) -> Result<String, OpenError> {
///     Ok(text.open(by, row)?.disclose().lines().next().unwrap_or_default().to_owned())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` neither seals nor opens `{K}` data",
    label = "this is no opened door",
    note = "open a door first: `grant.subject(id).await?` for one person, `grant.clinic().await?` for rows of no person"
)]
pub trait Opener<K: DataClass>: sealed::Sealed {
    /// What the seal is made of. Fails once the request has ended.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "the trait is sealed; only `field` calls this")]
    fn sealing(&self) -> Result<Sealing<'_>, Closed>;
}

/// Whose data, under which key: what a grant gives to `field`.
pub(crate) struct Sealing<'a> {
    pub(crate) tenant: &'a TenantId,
    /// `None` for rows that belong to no person.
    pub(crate) subject: Option<SubjectId>,
    pub(crate) key: SealKey<'a>,
}

/// The kind of key decides the suite.
pub(crate) enum SealKey<'a> {
    /// Suite 1.
    Subject(&'a SubjectKey),
    /// Suite 2.
    Tenant(&'a TenantKey),
}

impl SealKey<'_> {
    /// Of the key that seals.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn epoch(&self) -> u32 {
        match self {
            Self::Subject(key) => key.epoch(),
            Self::Tenant(key) => key.epoch(),
        }
    }
}

impl<K: DataClass, P: Opens<K>> Opener<K> for SubjectGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only `field` calls this")]
    fn sealing(&self) -> Result<Sealing<'_>, Closed> {
        const { assert!(contains(P::OPENS, K::ID), "`Opens` was implemented by hand: declare it in `permissions!`") };
        if self.facts.trail.may_use().is_err() || self.key.is_cut() {
            return Err(Closed);
        }
        Ok(Sealing { tenant: &self.facts.tenant, subject: Some(self.subject), key: SealKey::Subject(&self.key) })
    }
}

impl<P: Permission> SubjectGrant<P> {
    /// What the seal is made of, for who looks at the classes himself.
    pub(crate) fn sealing_any(&self) -> Result<Sealing<'_>, Closed> {
        if self.facts.trail.may_use().is_err() || self.key.is_cut() {
            return Err(Closed);
        }
        Ok(Sealing { tenant: &self.facts.tenant, subject: Some(self.subject), key: SealKey::Subject(&self.key) })
    }
}

impl<P: Permission> ClinicGrant<P> {
    /// What the seal is made of, for who looks at the classes himself.
    pub(crate) fn sealing_any(&self) -> Result<Sealing<'_>, Closed> {
        if self.facts.trail.may_use().is_err() || self.key.is_cut() {
            return Err(Closed);
        }
        Ok(Sealing { tenant: &self.facts.tenant, subject: None, key: SealKey::Tenant(&self.key) })
    }
}

impl<K: DataClass, P: Opens<K>> Opener<K> for ClinicGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only `field` calls this")]
    fn sealing(&self) -> Result<Sealing<'_>, Closed> {
        const { assert!(contains(P::OPENS, K::ID), "`Opens` was implemented by hand: declare it in `permissions!`") };
        if self.facts.trail.may_use().is_err() || self.key.is_cut() {
            return Err(Closed);
        }
        Ok(Sealing { tenant: &self.facts.tenant, subject: None, key: SealKey::Tenant(&self.key) })
    }
}

/// What computes the blind index of a column of class `K`: anything that opens `K`, and the [`Scope`] of a search.
///
/// ```
/// use tower_ward::{access::Indexer, field::{BlindIndex, IndexError}};
///
/// tower_ward::classes! { pub Payroll = "payroll"; }
/// tower_ward::columns! { pub NiNumber: String = "staff"."ni" as Payroll, indexed; }
///
/// /// For the door that writes the row, and for the scope of the search that finds it.
/// fn index(number: &str, by: &impl Indexer<Payroll>) -> Result<BlindIndex<NiNumber>, IndexError> {
///     BlindIndex::of(&number.replace(' ', ""), by)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` computes no blind index of `{K}` data",
    label = "this is neither an opened door nor the scope of a search",
    note = "open a door first: `grant.subject(id).await?` for one person, `grant.clinic().await?` for rows of no person",
    note = "inside a `CohortQuery`, the query's `Scope` does as well"
)]
pub trait Indexer<K: DataClass>: sealed::Sealed {
    /// The key that the index is made with. Fails once the request has ended.
    #[doc(hidden)]
    fn index_key(&self) -> Result<&TenantKey, Closed>;
}

macro_rules! indexer {
    ($($grant:ident . $key:ident, $cut:ident;)+) => { $(
        impl<K: DataClass, P: Opens<K>> Indexer<K> for $grant<P> {
            fn index_key(&self) -> Result<&TenantKey, Closed> {
                const {
                    assert!(contains(P::OPENS, K::ID), "`Opens` was implemented by hand: declare it in `permissions!`");
                };
                let key = self.$key();
                let cut = key.is_cut() || self.$cut();
                if cut || Authority::facts(self).trail.may_use().is_err() { Err(Closed) } else { Ok(key) }
            }
        }
    )+ };
}

impl<P> SubjectGrant<P> {
    fn tenant_key(&self) -> &TenantKey {
        &self.tenant_key
    }
}

impl<P> SubjectGrant<P> {
    /// The person's own: what is erased is not indexed either.
    fn is_cut(&self) -> bool {
        self.key.is_cut()
    }
}

impl<P> ClinicGrant<P> {
    fn tenant_key(&self) -> &TenantKey {
        &self.key
    }

    fn is_cut(&self) -> bool {
        self.key.is_cut()
    }
}

impl<P: Permission> Scope<P> {
    fn is_cut(&self) -> bool {
        self.tenant_key().is_cut()
    }
}

indexer! { SubjectGrant.tenant_key, is_cut; ClinicGrant.tenant_key, is_cut; Scope.tenant_key, is_cut; }
