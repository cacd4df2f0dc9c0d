//! How many trails each user has open that keep a place in the queue.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Mutex,
};

use super::{Ledger, lock};
use crate::{audit::trail::TrailError, id::UserId};

/// Bounded by the queue: each user in it has a trail that keeps a place there.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<UserId, usize>>);

impl Seats {
    fn take(&self, user: UserId, most: usize) -> Result<(), TrailError> {
        let mut open = lock(&self.0);
        let count = open.entry(user).or_default();
        if *count >= most {
            return Err(TrailError::TooManyTrails);
        }
        *count += 1;
        Ok(())
    }

    fn give_back(&self, user: UserId) {
        if let Entry::Occupied(mut open) = lock(&self.0).entry(user) {
            *open.get_mut() = open.get().saturating_sub(1);
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

/// One of the trails that a user may have open, until it is dropped.
pub(crate) struct Seat {
    ledger: Ledger,
    user: UserId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ledger.inner.shared.seats.give_back(self.user);
    }
}

impl Ledger {
    /// One more open trail of this user's.
    pub(crate) fn seat(&self, user: UserId) -> Result<Seat, TrailError> {
        self.inner.shared.seats.take(user, self.inner.shared.options.trails_per_user)?;
        Ok(Seat { ledger: self.clone(), user })
    }

    /// How many users have a trail open.
    #[cfg(test)]
    pub(crate) fn seated(&self) -> usize {
        self.inner.shared.seats.len()
    }
}
