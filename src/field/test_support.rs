//! Grants for the tests of this module: the one place that knows how to make them without a server.

use std::sync::Arc;

use crate::{
    access::{ClinicGrant, SubjectGrant},
    id::{RowId, SubjectId, TenantId},
    keys::{SubjectKey, TenantKey},
};

crate::classes! { pub(crate) Clinical = "clinical"; pub(crate) Payroll = "payroll"; }
crate::permissions! { pub(crate) Everything = "test.everything" opens Clinical, Payroll; }

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant id")
}

pub(super) fn subject(n: u8) -> SubjectId {
    SubjectId::from_bytes([n; 16])
}

pub(super) fn row(n: u8) -> RowId {
    RowId::from_bytes([n; 16])
}

/// A chart of `subject` in `tenant`, its key random-looking but always the same for the same root.
pub(super) fn chart(tenant_name: &str, subject_n: u8, root: u8) -> SubjectGrant<Everything> {
    chart_at_epoch(tenant_name, subject_n, root, 1)
}

pub(super) fn chart_at_epoch(tenant_name: &str, subject_n: u8, root: u8, epoch: u32) -> SubjectGrant<Everything> {
    let key = SubjectKey::for_test(subject(subject_n), epoch, [root; 32]);
    SubjectGrant::for_test(tenant(tenant_name), subject(subject_n), Arc::new(key))
}

pub(super) fn clinic(tenant_name: &str, root: u8) -> ClinicGrant<Everything> {
    let key = TenantKey::for_test(tenant(tenant_name), 1, [root; 32]);
    ClinicGrant::for_test(tenant(tenant_name), Arc::new(key))
}
