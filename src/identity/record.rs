//! What identity writes to the ledger.
//!
//! The name that somebody typed is never recorded: people type their passwords there. A refusal names the user if there
//! is one; since nobody has proved to be that user, it names no role and no session.

use crate::{
    audit::{Actor, Event, Refusal, Trail},
    id::{SessionId, TenantId, UserId},
};

/// Somebody who has proved who they are.
pub(crate) fn actor(tenant: &TenantId, user: UserId, role: &str, session: SessionId) -> Actor {
    Actor { user: Some(user), role: Some(role.into()), session: Some(session), tenant: Some(tenant.clone()) }
}

/// A login or a refresh is refused. Enqueued and not waited for, whoever it is: waiting for the disk for known users
/// alone would tell who they are.
pub(crate) fn refused(trail: &Trail, tenant: &TenantId, user: Option<UserId>, reason: &'static str, status: u16) {
    if user.is_some() {
        trail.set_actor(Actor { user, tenant: Some(tenant.clone()), ..Actor::default() });
    }
    trail.refuse(Refusal { reason, status: Some(status), ..Refusal::default() });
    // Nobody has proved to be that user: nothing else in this request is theirs.
    trail.set_actor(Actor { tenant: Some(tenant.clone()), ..Actor::default() });
}

/// A session ends before its time.
pub(crate) fn ended(actor: Actor, reason: &'static str) -> Event {
    Event::logout(actor).with_reason(reason)
}
