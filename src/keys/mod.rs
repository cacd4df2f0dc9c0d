//! `keys`.

/// The key of one person.
#[derive(Debug)]
pub struct SubjectKey {}

/// The key of one clinic.
#[derive(Debug)]
pub struct TenantKey {}
