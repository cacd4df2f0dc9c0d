//! The door that leads to nothing but the end of one person's keys.

use std::sync::Arc;

use super::{Facts, Grant};
use crate::{
    access::{Changes, Closed, DoorError, Relations},
    audit::Action,
    id::SubjectId,
    keys::KeyError,
};

/// Proof that this principal may erase this person, and that the record of it is on its way. It needs no key, and has none.
#[derive(Debug)]
pub(crate) struct ErasureDoor {
    pub(crate) facts: Arc<Facts>,
    pub(crate) subject: SubjectId,
    pub(crate) permission: &'static str,
    pub(crate) holds: Relations,
    /// The keys are gone already.
    pub(crate) erased: bool,
}

impl<P: Changes> Grant<P> {
    pub(crate) async fn erasure(&self, subject: SubjectId) -> Result<ErasureDoor, DoorError> {
        let facts = &*self.facts;
        if facts.trail.may_open().is_err() {
            return Err(Closed.into());
        }
        let holds = self.relations_to(subject).await.map_err(|e| self.failed(e, &[subject]))?;
        if holds.is_empty() {
            self.refuse("no_relation", 404, &[subject]);
            return Err(DoorError::NotFound);
        }
        let erased = match facts.doors.keyring.is_erased(&facts.tenant, subject).await {
            Ok(erased) => erased,
            Err(KeyError::Unknown) => {
                self.refuse("unknown_person", 404, &[subject]);
                return Err(DoorError::NotFound);
            }
            Err(error) => return Err(self.failed(DoorError::Key(error), &[subject])),
        };
        self.record(Action::Erase, &[subject], holds)?;
        Ok(ErasureDoor { facts: Arc::clone(&self.facts), subject, permission: P::ID, holds, erased })
    }
}
