//! The grants: proofs that a principal may do something, and the doors they open.

use std::{fmt, marker::PhantomData, sync::Arc};

use super::{DataClass, Opens, Permission, contains};
use crate::{
    id::{SubjectId, TenantId},
    keys::{SubjectKey, TenantKey},
};

/// The request (or job) that a grant belonged to has ended, so the grant opens nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request that this grant belonged to has ended: start background work from a job envelope")]
pub struct Closed;

/// Proof that this principal may do `P` in this clinic, for this one request.
#[must_use]
pub struct Grant<P> {
    _permission: PhantomData<fn() -> P>,
}

/// Proof that this principal may do `P` with the data of one person, and that the record of it is on its way.
#[must_use]
pub struct SubjectGrant<P> {
    tenant: TenantId,
    subject: SubjectId,
    key: Arc<SubjectKey>,
    _permission: PhantomData<fn() -> P>,
}

/// Proof that this principal may do `P` with rows that belong to no person.
#[must_use]
pub struct ClinicGrant<P> {
    tenant: TenantId,
    key: Arc<TenantKey>,
    _permission: PhantomData<fn() -> P>,
}

impl<P: Permission> fmt::Debug for Grant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("permission", &P::ID).finish_non_exhaustive()
    }
}

impl<P: Permission> fmt::Debug for SubjectGrant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectGrant").field("permission", &P::ID).finish_non_exhaustive()
    }
}

impl<P: Permission> fmt::Debug for ClinicGrant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClinicGrant").field("permission", &P::ID).finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl<P> Sealed for super::SubjectGrant<P> {}
    impl<P> Sealed for super::ClinicGrant<P> {}
}

/// What seals and opens columns of class `K`: a [`SubjectGrant`] or a [`ClinicGrant`] of a permission that opens `K`.
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

impl<K: DataClass, P: Opens<K>> Opener<K> for SubjectGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only `field` calls this")]
    fn sealing(&self) -> Result<Sealing<'_>, Closed> {
        const { assert!(contains(P::OPENS, K::ID), "`Opens` was implemented by hand: declare it in `permissions!`") };
        Ok(Sealing { tenant: &self.tenant, subject: Some(self.subject), key: SealKey::Subject(&self.key) })
    }
}

impl<K: DataClass, P: Opens<K>> Opener<K> for ClinicGrant<P> {
    #[expect(private_interfaces, reason = "the trait is sealed; only `field` calls this")]
    fn sealing(&self) -> Result<Sealing<'_>, Closed> {
        const { assert!(contains(P::OPENS, K::ID), "`Opens` was implemented by hand: declare it in `permissions!`") };
        Ok(Sealing { tenant: &self.tenant, subject: None, key: SealKey::Tenant(&self.key) })
    }
}
