//! What identity writes to the ledger.
//!
//! The name that somebody typed is never recorded: people type their passwords there. Whoever fails to prove to be a user
//! is not recorded as that user: the record is `about` the account, and says who acts only if the request has proved it
//! by other means.

use crate::{
    audit::{Action, Actor, Event, Refusal, Trail},
    id::{SessionId, TenantId, UserId},
};

/// Somebody who has proved who they are.
pub(crate) fn actor(tenant: &TenantId, user: UserId, role: &str, session: SessionId) -> Actor {
    Actor { user: Some(user), role: Some(role.into()), session: Some(session), tenant: Some(tenant.clone()) }
}

/// A session of this account begins, goes on or ends, by the hand of `actor`, or of whoever is known to act already.
pub(crate) fn session(trail: &Trail, event: fn(Actor) -> Event, actor: Actor, account: UserId) -> Event {
    let actor = if trail.has_actor() { Actor { user: None, role: None, ..actor } } else { actor };
    event(actor).with_about(account)
}

/// A login or a refresh is refused. Enqueued and not waited for, whoever it is: waiting for the disk for known users
/// alone would tell who they are.
///
/// With an account it is written down one by one: lockout bounds how many there are, and a session is refused once.
pub(crate) fn refused(trail: &Trail, tenant: &TenantId, about: Option<UserId>, reason: &'static str, status: u16) {
    let tenant = about.is_some().then_some(tenant);
    trail.refuse(Refusal { reason, status: Some(status), about, tenant, ..Refusal::default() });
}

/// An account is about to be made or changed.
pub(crate) fn account(tenant: &TenantId, about: UserId, reason: &'static str) -> Event {
    let event = Event::new(Action::Configuration).with_tenant(tenant.clone());
    event.with_about(about).with_entity("account").with_reason(reason)
}
