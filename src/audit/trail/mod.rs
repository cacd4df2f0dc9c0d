//! The trail of one request: the doors it opened, and its end.

mod agent;
mod attempt;
mod declared;
mod error;
mod facts;

use std::{
    cell::Cell,
    fmt,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agent::Agent;
pub(crate) use attempt::{Attempt, RowChange};
pub(crate) use declared::Declared;
pub use declared::{PURPOSE, REASON};
pub use error::TrailError;
pub use facts::RequestFacts;
use facts::RequestId;

use super::{
    ledger::{Ledger, Seat, Slot, Wait, lock},
    record::{
        Action, Actor, AttemptId, Change, Door, End, Event, Kind, MAX_NAME, MAX_SUBJECTS, MAX_TEXT, MAX_WHY, Method,
        Record, Refusal, Stream,
    },
};
use crate::id::{TenantId, TrailId, UserId};

thread_local! {
    /// Whose work this thread is polling.
    static POLLED: Cell<Option<TrailId>> = const { Cell::new(None) };
}

/// The trail of one request (or job). Cheap to clone.
#[derive(Clone)]
pub struct Trail(Arc<Inner>);

struct Inner {
    id: TrailId,
    ledger: Ledger,
    /// On the monotonic clock.
    deadline: Duration,
    peer: Option<IpAddr>,
    request_id: Option<RequestId>,
    agent: Option<Agent>,
    method: Option<Method>,
    closed: AtomicBool,
    /// Of the route: see [`Trail::set_best_effort`].
    best_effort: AtomicBool,
    /// The ticket of the last door.
    last: AtomicU64,
    state: Mutex<State>,
}

struct State {
    actor: Option<Actor>,
    /// Of the actor.
    stream: Stream,
    route: Option<Arc<str>>,
    declared: Declared,
    /// Reserved at the first door, so that the end can always be recorded, and counted against the user, if it is known
    /// who that is.
    close: Option<(Slot, Option<Seat>)>,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").field("id", &self.0.id).field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl Trail {
    /// `now` is of the ledger's monotonic clock.
    pub(crate) fn begin(ledger: Ledger, facts: RequestFacts, now: Duration) -> (Self, Closer) {
        let clock = ledger.clock();
        let trail = Self(Arc::new(Inner {
            id: TrailId::generate(&**clock),
            deadline: now.saturating_add(ledger.options().trail_deadline),
            peer: facts.peer,
            request_id: facts.request_id,
            agent: facts.agent,
            method: facts.method,
            closed: AtomicBool::new(false),
            best_effort: AtomicBool::new(false),
            last: AtomicU64::new(0),
            state: Mutex::new(State {
                actor: None,
                stream: Stream::Platform,
                route: facts.route,
                declared: Declared::default(),
                close: None,
            }),
            ledger,
        }));
        (trail.clone(), Closer { trail, status: None, bytes: None })
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> TrailId {
        self.0.id
    }

    /// Whether the request has ended, or the deadline has passed: no door opens any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.live().is_err()
    }

    fn live(&self) -> Result<(), TrailError> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(TrailError::Closed);
        }
        if self.is_overdue() { Err(TrailError::Expired) } else { Ok(()) }
    }

    /// Whether its deadline has passed.
    pub(crate) fn is_overdue(&self) -> bool {
        self.0.ledger.clock().monotonic() >= self.0.deadline
    }

    /// Does a step of the work that this trail covers.
    pub(crate) fn within<R>(&self, step: impl FnOnce() -> R) -> R {
        struct Before(Option<TrailId>);
        impl Drop for Before {
            fn drop(&mut self) {
                POLLED.set(self.0);
            }
        }
        let _before = Before(POLLED.replace(Some(self.0.id)));
        step()
    }

    /// Does work that this trail covers, and gives its output away once the records of what it opened are durable.
    ///
    /// For who begins a trail of his own, such as that of an upgraded connection, while another request is answered:
    /// its doors open in here alone, since the other request's response does not wait for them.
    ///
    /// # Errors
    ///
    /// If the records cannot be made durable. The output is dropped then.
    pub async fn cover<T>(&self, work: impl Future<Output = T>) -> Result<T, TrailError> {
        let mut work = pin!(work);
        let output = poll_fn(|context| self.within(|| work.as_mut().poll(context))).await;
        self.settled().await?;
        Ok(output)
    }

    /// Whether a door may be used here: the request has not ended, and it is not another one's work that uses it, whose
    /// response would not wait for this trail's records.
    pub(crate) fn may_open(&self) -> Result<(), TrailError> {
        if POLLED.get().is_some_and(|polled| polled != self.0.id) {
            return Err(TrailError::OtherRequest);
        }
        self.live()
    }

    /// The same for each value that is sealed or opened through a door that is open: asks the coarse clock, so a deadline
    /// counts to within some ten milliseconds.
    pub(crate) fn may_use(&self) -> Result<(), TrailError> {
        if POLLED.get().is_some_and(|polled| polled != self.0.id) {
            return Err(TrailError::OtherRequest);
        }
        if self.0.closed.load(Ordering::Acquire) {
            return Err(TrailError::Closed);
        }
        if self.0.ledger.clock().coarse() >= self.0.deadline { Err(TrailError::Expired) } else { Ok(()) }
    }

    /// Records an event of the application's own, which the response then waits for.
    ///
    /// What an operator does in a clinic, who belongs to none, stands in the clinic's chain and in the platform's, written
    /// together. In the platform's, the reason begins with the clinic's name, as in `in harbour: asked for by the owner`,
    /// and no subjects are named.
    ///
    /// # Errors
    ///
    /// If the request has ended, a text is too long (an operator's reason with the clinic's name, too), or the ledger cannot take the record. What was to be recorded must
    /// then not happen.
    pub fn record(&self, event: Event) -> Result<(), TrailError> {
        let mut state = lock(&self.0.state);
        self.live()?;
        let record = self.event_record(&state, event)?;
        let mirror = mirror(&state, &record)?;
        if state.actor.is_none() {
            // The end belongs into the chain of what was done.
            state.stream = record.stream.clone();
        }
        self.enter(&mut state, record, mirror)
    }

    /// Records a login, a refresh or a logout, which the response then waits for. The end of the request adds nothing to
    /// it, so no closing record is kept for.
    pub(crate) fn event(&self, event: Event) -> Result<(), TrailError> {
        let state = lock(&self.0.state);
        self.live()?;
        let record = self.event_record(&state, event)?;
        let mirror = mirror(&state, &record)?;
        self.pass(self.0.ledger.reserve()?, record, mirror);
        Ok(())
    }

    fn event_record(&self, state: &State, event: Event) -> Result<Box<Record>, TrailError> {
        if let Some(field) = event.too_long() {
            return Err(TrailError::TooLong { field });
        }
        if event.subjects.len() > MAX_SUBJECTS {
            return Err(TrailError::TooManySubjects);
        }
        let mut record = self.draft(state, event.kind);
        if let Some(tenant) = event.tenant {
            record.stream = Stream::Tenant(tenant);
            self.0.ledger.admit(&record.stream)?;
        }
        if state.actor.as_ref().is_some_and(Actor::is_operator) {
            // Both chains have to say who it was: an operator acts under no other name.
            let others = [
                event.user.is_some() && event.user != record.user,
                event.role.is_some() && event.role != record.role,
                event.session.is_some() && event.session != record.session,
            ];
            if others.contains(&true) {
                return Err(TrailError::OtherActor);
            }
        }
        record.action = Some(event.action);
        record.user = event.user.or(record.user);
        record.about = event.about;
        record.role = event.role.or(record.role);
        record.session = event.session.or(record.session);
        record.permission = event.permission.map(Into::into);
        record.entity = event.entity;
        record.subjects = event.subjects;
        record.row = event.row;
        record.purpose = event.purpose.or(record.purpose);
        // Not what the request declared: events tell each other apart by their reasons.
        record.reason = event.reason;
        Ok(record)
    }

    /// Says who acts, once: `false` if somebody else acts already, and goes on acting. Records made before this stand
    /// without an actor.
    pub(crate) fn set_actor(&self, actor: Actor) -> bool {
        let mut state = lock(&self.0.state);
        match state.actor.as_ref().filter(|before| before.is_somebody()) {
            Some(before) => before.is(&actor),
            None => {
                state.stream = actor.tenant.clone().into();
                state.actor = Some(actor);
                true
            }
        }
    }

    /// The same for an operator, all of whose acts have to stand in two chains: `false` also if something was recorded before.
    pub(crate) fn set_operator(&self, actor: Actor) -> bool {
        let nothing_yet = {
            let state = lock(&self.0.state);
            state.actor.as_ref().is_some_and(Actor::is_operator)
                || state.close.is_none() && self.0.last.load(Ordering::Acquire) == 0
        };
        nothing_yet && self.set_actor(actor)
    }

    /// Who acts.
    pub(super) fn actor_user(&self) -> Option<UserId> {
        lock(&self.0.state).actor.as_ref().and_then(|actor| actor.user)
    }

    /// Whether an operator acts, who belongs to no clinic.
    pub(crate) fn is_operators(&self) -> bool {
        lock(&self.0.state).actor.as_ref().is_some_and(Actor::is_operator)
    }

    /// Whether it is known who acts.
    pub(crate) fn has_actor(&self) -> bool {
        lock(&self.0.state).actor.as_ref().is_some_and(|actor| actor.is_somebody())
    }

    /// Whether whoever acts may act in this clinic: somebody has to, and not from another one.
    pub(crate) fn acts_in(&self, tenant: &TenantId) -> Result<(), TrailError> {
        let state = lock(&self.0.state);
        let actor = state.actor.as_ref().filter(|actor| actor.is_somebody()).ok_or(TrailError::Anonymous)?;
        if actor.tenant.as_ref().is_some_and(|own| own != tenant) {
            return Err(TrailError::OtherActor);
        }
        Ok(())
    }

    /// Says what the request is made for.
    #[cfg(feature = "axum")]
    pub(crate) fn declare(&self, declared: Declared) {
        lock(&self.0.state).declared = declared;
    }

    /// Says by which template the request was routed.
    pub(crate) fn set_route(&self, template: &Arc<str>) {
        lock(&self.0.state).route = (template.len() <= MAX_TEXT).then(|| Arc::clone(template));
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Whether the request asked for no body.
    pub(crate) fn is_head(&self) -> bool {
        self.0.method == Some(Method::Head)
    }

    /// Whether a 2xx answer to the request is a tunnel.
    pub(crate) fn is_connect(&self) -> bool {
        self.0.method == Some(Method::Connect)
    }

    /// Opens a door: enqueues its record, with nothing awaited. The response waits for it.
    pub(crate) fn door(&self, door: Door<'_>) -> Result<(), TrailError> {
        let mut state = lock(&self.0.state);
        let record = self.door_record(&state, Kind::Opened, door)?;
        // A person's door, a list and a reading of the ledger name more than rows of nobody.
        let of_nobody = record.subjects.is_empty() && record.action == Some(Action::Read);
        if of_nobody && self.0.best_effort.load(Ordering::Acquire) {
            let slot = self.0.ledger.admit(&record.stream).and_then(|()| self.0.ledger.reserve());
            match slot {
                // Not waited for: `last` stays where it is.
                Ok(slot) => _ = self.0.ledger.submit_both(slot, record, None),
                Err(_) => self.0.ledger.count_lost(),
            }
            return Ok(());
        }
        self.enter(&mut state, record, None)
    }

    /// Says that the route asks for its best effort alone: the door of rows of nobody is recorded if there is room, and
    /// waited for by nobody. All other doors and every change are as always.
    #[cfg(feature = "axum")]
    pub(crate) fn set_best_effort(&self) {
        self.0.best_effort.store(true, Ordering::Release);
    }

    /// Announces a change. Keeps a place for its outcome, which may follow the end of the request.
    pub(crate) fn attempt(&self, change: Change<'_>) -> Result<Attempt, TrailError> {
        let Change { action, about, permission, entity, subjects, row, why } = change;
        let mut state = lock(&self.0.state);
        let mut record =
            self.door_record(&state, Kind::Attempt, Door { action, permission, entity, subjects, row, why })?;
        let id = AttemptId::generate(&**self.0.ledger.clock());
        record.attempt = Some(id);
        record.about = about;
        let slot = self.0.ledger.reserve()?;
        let outcome = record.clone();
        self.enter(&mut state, record, None)?;
        Ok(Attempt { id, trail: self.clone(), kept: Some((slot, outcome)), sent: false })
    }

    fn door_record(&self, state: &State, kind: Kind, door: Door<'_>) -> Result<Box<Record>, TrailError> {
        self.may_open()?;
        if !state.actor.as_ref().is_some_and(|actor| actor.is_somebody()) {
            return Err(TrailError::Anonymous);
        }
        for (field, length, most) in [
            ("permission", door.permission.len(), MAX_NAME),
            ("entity", door.entity.len(), MAX_NAME),
            ("why", door.why.len(), MAX_WHY),
        ] {
            if length > most {
                return Err(TrailError::TooLong { field });
            }
        }
        if door.subjects.len() > MAX_SUBJECTS {
            return Err(TrailError::TooManySubjects);
        }
        let mut record = self.draft(state, kind);
        record.action = Some(door.action);
        record.permission = Some(door.permission.into());
        record.entity = Some(door.entity.into());
        record.subjects = door.subjects.to_vec();
        record.row = door.row;
        record.reason = state.declared.reason.as_ref().map(|reason| reason.as_str().to_owned().into());
        record.why = Some(door.why.into());
        Ok(record)
    }

    /// Records that the request was refused. Never fails and is not waited for: a refusal that finds no room is counted.
    ///
    /// Before anybody is identified refusals are counted per peer and minute, so that a stranger cannot fill the ledger.
    /// One that is about an account is written down all the same: the caller bounds how many there can be.
    pub(crate) fn refuse(&self, refusal: Refusal<'_>) {
        let state = lock(&self.0.state);
        let fits = |name: &&'static str| name.len() <= MAX_NAME;
        let reason = if refusal.reason.len() <= MAX_TEXT { refusal.reason } else { "refused" };
        let known = refusal.about.is_some() || state.actor.as_ref().is_some_and(|actor| actor.user.is_some());
        let stream = refusal.tenant.map_or_else(|| state.stream.clone(), |tenant| Stream::Tenant(tenant.clone()));
        let room = known && self.0.ledger.admit(&stream).is_ok() && refusal.subjects.len() <= MAX_SUBJECTS;
        let slot = if room { self.0.ledger.reserve().ok() } else { None };
        let Some(slot) = slot else {
            return self.0.ledger.count_refusal(self.0.peer, reason, refusal.status);
        };
        let mut record = self.draft(&state, Kind::Refused);
        record.stream = stream;
        record.action = Some(Action::Denied);
        record.about = refusal.about;
        record.permission = refusal.permission.filter(fits).map(Into::into);
        record.entity = refusal.entity.filter(fits).map(Into::into);
        record.subjects = refusal.subjects.to_vec();
        record.row = refusal.row;
        record.reason = Some(reason.into());
        record.status = refusal.status;
        // Reasons are words of this crate, so that of an operator has room for a clinic's name.
        let mirror = mirror(&state, &record).unwrap_or_default();
        self.0.ledger.submit_both(slot, record, mirror);
    }

    /// Whether the records of all doors opened so far are durable.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.0.ledger.is_durable(self.0.last.load(Ordering::Acquire))
    }

    /// Waits until the records of all doors opened so far are durable.
    ///
    /// # Errors
    ///
    /// If the ledger cannot write them. What depends on them must then not happen.
    pub async fn settled(&self) -> Result<(), TrailError> {
        self.0.ledger.durable(self.0.last.load(Ordering::Acquire)).await
    }

    /// The same for a future that is polled by hand.
    pub(crate) fn wait(&self) -> Wait {
        self.0.ledger.wait(self.0.last.load(Ordering::Acquire))
    }

    fn draft(&self, state: &State, kind: Kind) -> Box<Record> {
        let clock = self.0.ledger.clock();
        let mut record = Box::new(Record::empty(kind, state.stream.clone(), clock.now(), clock.monotonic()));
        record.trail = Some(self.0.id);
        if let Some(actor) = &state.actor {
            record.user = actor.user;
            // Policy bounds the names of roles; one that got past it must not make a record that cannot be read back.
            record.role = actor.role.clone().filter(|role| role.len() <= MAX_NAME);
            record.session = actor.session;
        }
        record.peer = self.0.peer;
        record.request = self.0.request_id.as_ref().map(RequestId::text);
        record.agent = self.0.agent.as_ref().map(Agent::text);
        record.method = self.0.method;
        record.route = state.route.clone();
        record.purpose = state.declared.purpose.clone();
        record
    }

    /// Enqueues the record of a door, with a place kept for the end.
    fn enter(&self, state: &mut State, record: Box<Record>, mirror: Option<Box<Record>>) -> Result<(), TrailError> {
        self.0.ledger.admit(&record.stream)?;
        let slot = self.0.ledger.reserve()?;
        if state.close.is_none() {
            self.0.ledger.admit(&state.stream)?;
            let user = state.actor.as_ref().and_then(|actor| actor.user);
            let seat = user.map(|user| self.0.ledger.seat(user)).transpose()?;
            state.close = Some((self.0.ledger.reserve()?, seat));
        }
        self.pass(slot, record, mirror);
        Ok(())
    }

    /// Enqueues the records of a change that is about to be committed: all of them or none. Its attempt has seen to the
    /// place for the end.
    fn enter_all(&self, records: Vec<Record>) -> Result<(), TrailError> {
        let _state = lock(&self.0.state);
        self.live()?;
        let slots = records.iter().map(|_| self.0.ledger.reserve()).collect::<Result<Vec<_>, _>>()?;
        for (slot, record) in slots.into_iter().zip(records) {
            self.pass(slot, Box::new(record), None);
        }
        Ok(())
    }

    fn pass(&self, slot: Slot, record: Box<Record>, mirror: Option<Box<Record>>) {
        let ticket = self.0.ledger.submit_both(slot, record, mirror);
        self.0.last.fetch_max(ticket, Ordering::AcqRel);
    }

    /// Ends the trail. Closing and opening a door exclude each other.
    fn close(&self, end: End, status: Option<u16>, bytes: Option<u64>) {
        let mut state = lock(&self.0.state);
        self.0.closed.store(true, Ordering::Release);
        let Some((slot, _seat)) = state.close.take() else { return };
        let mut record = self.draft(&state, Kind::Closed);
        record.end = Some(end);
        record.status = status;
        record.bytes = bytes;
        self.0.ledger.submit(slot, record);
    }
}

/// The platform's own record of what an operator does in a clinic; `None` for everybody else.
///
/// It names the clinic and no person: who looks after the platform has no business with whose data it was.
fn mirror(state: &State, record: &Record) -> Result<Option<Box<Record>>, TrailError> {
    let operator = state.actor.as_ref().is_some_and(Actor::is_operator);
    let Stream::Tenant(tenant) = &record.stream else { return Ok(None) };
    if !operator {
        return Ok(None);
    }
    let reason = match record.reason.as_deref() {
        Some(reason) => format!("in {tenant}: {reason}"),
        None => format!("in {tenant}"),
    };
    if reason.len() > MAX_TEXT {
        return Err(TrailError::TooLong { field: "reason" });
    }
    let mut mirror = Box::new(Record { subjects: Vec::new(), ..record.clone() });
    mirror.stream = Stream::Platform;
    mirror.reason = Some(reason.into());
    Ok(Some(mirror))
}

/// Ends a trail, once. Dropped without a word, it says that the request was cancelled, or that its body was.
#[must_use = "dropping it ends the trail"]
pub struct Closer {
    trail: Trail,
    status: Option<u16>,
    /// Bytes sent, once there is a response.
    bytes: Option<u64>,
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").field("trail", &self.trail.id()).finish_non_exhaustive()
    }
}

impl Closer {
    /// The trail that it ends.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// There is a response, and its body is about to be sent.
    pub(crate) fn answered(&mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
        self.bytes = Some(0);
    }

    /// So many more bytes were handed to the connection.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes = Some(self.bytes.unwrap_or(0).saturating_add(bytes));
    }

    /// Ends the trail. What comes later, the drop included, changes nothing.
    pub fn finish(&mut self, end: End) {
        self.trail.close(end, self.status, self.bytes);
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.finish(match self.bytes {
            _ if std::thread::panicking() => End::Panicked,
            Some(_) => End::Aborted,
            None => End::Cancelled,
        });
    }
}
