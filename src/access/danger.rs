//! The door for an application that decides by its own means.

use std::sync::Arc;

use super::{Doors, Facts, Grant, Permission, RelationSource, Relations, Who};
use crate::{
    audit::{Action, Actor, Event, Trail, TrailError},
    clock::SharedClock,
    id::{TenantId, UserId},
    keys::Keyring,
};

/// A grant that no policy gave: for an application that has its own authorisation and wants only sealed fields, or only
/// the ledger. It is granted for the whole clinic, and the ledger says so.
///
/// # Errors
///
/// If the grant itself cannot be recorded now, or somebody else acts in this request already.
///
/// # Security
///
/// Everything that the guard would have checked is the caller's to check: who the user is, whose clinic it is, and
/// whether he may. `trail` MUST be the request's own: a response waits for the records on its own trail and no other.
/// `reason` is a fixed sentence of the application's, and must hold nothing about a person.
pub fn danger_grant<P: Permission>(
    trail: &Trail,
    keyring: &Keyring,
    clock: &SharedClock,
    user: UserId,
    tenant: TenantId,
    reason: &'static str,
) -> Result<Grant<P>, TrailError> {
    let actor =
        Actor { user: Some(user), role: Some("application".into()), session: None, tenant: Some(tenant.clone()) };
    if !trail.set_actor(actor) {
        return Err(TrailError::OtherActor);
    }
    trail.record(Event::new(Action::Configuration).with_entity(P::ID).with_reason(reason))?;
    let relations: Arc<dyn RelationSource> = Arc::new(super::NoRelations);
    let doors = Arc::new(Doors { keyring: keyring.clone(), relations, clock: Arc::clone(clock) });
    let facts = Facts { trail: trail.clone(), tenant, who: Who::Application { user }, doors };
    Ok(Grant::new(Arc::new(facts), Relations::CLINIC))
}
