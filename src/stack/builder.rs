//! The builder, whose type says which step is next.

use std::{marker::PhantomData, sync::Arc};

use crate::{
    access::{Doors, Jobs, Policy, PolicyError, RelationSource},
    audit::Ledger,
    clock::{SharedClock, SystemClock},
    headers::HeadersLayer,
    identity::Identity,
    keys::Keyring,
    quota::Quota,
    rate_limit::{KeyedLimit, PeerLimit},
    store::Durable,
    tenant::Hosts,
};

/// The settings of a [`Ward`] do not fit together. The process must not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The policy does not fit the routes.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The keyring does not answer for the job key.
    #[error("two routes or columns contradict each other: {0}")]
    Contradiction(String),
}

/// The names of the steps, for the compiler to say which one is missing.
pub mod step {
    /// Next: [`keys`](super::Builder::keys).
    #[derive(Debug)]
    pub enum NeedsKeys {}
    /// Next: [`audit`](super::Builder::audit).
    #[derive(Debug)]
    pub enum NeedsAudit {}
    /// Next: [`authenticate`](super::Builder::authenticate).
    #[derive(Debug)]
    pub enum NeedsAuthenticate {}
    /// Next: [`tenants`](super::Builder::tenants).
    #[derive(Debug)]
    pub enum NeedsTenants {}
    /// Next: [`policy`](super::Builder::policy).
    #[derive(Debug)]
    pub enum NeedsPolicy {}
    /// Next: [`relations`](super::Builder::relations).
    #[derive(Debug)]
    pub enum NeedsRelations {}
    /// Next: [`build`](super::Builder::build).
    #[derive(Debug)]
    pub enum Ready {}
}
use step::{NeedsAudit, NeedsAuthenticate, NeedsKeys, NeedsPolicy, NeedsRelations, NeedsTenants, Ready};

/// Puts a [`Ward`] together, one required step after the other.
#[derive(Debug)]
#[must_use]
pub struct Builder<Step> {
    parts: Parts,
    _step: PhantomData<Step>,
}

#[derive(Debug)]
struct Parts {
    clock: SharedClock,
    headers: HeadersLayer,
    peer_limit: PeerLimit,
    principal_limit: KeyedLimit,
    keys: Option<Keyring>,
    audit: Option<Ledger>,
    identity: Option<Identity>,
    hosts: Option<Hosts>,
    policy: Option<Policy>,
    relations: Option<Arc<dyn RelationSource>>,
}

/// The path of a request, put together. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ward(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) clock: SharedClock,
    pub(super) headers: HeadersLayer,
    pub(super) peer_limit: PeerLimit,
    pub(super) principal_limit: KeyedLimit,
    pub(super) ledger: Ledger,
    pub(super) identity: Identity,
    pub(super) hosts: Hosts,
    pub(super) policy: Policy,
    pub(super) doors: Arc<Doors>,
}

impl Ward {
    /// Starts with the first step.
    pub fn builder() -> Builder<NeedsKeys> {
        Builder {
            parts: Parts {
                clock: SystemClock::shared(),
                headers: HeadersLayer::new(),
                peer_limit: PeerLimit::new(),
                principal_limit: KeyedLimit::new(Quota::per_second(20).with_burst(100)),
                keys: None,
                audit: None,
                identity: None,
                hosts: None,
                policy: None,
                relations: None,
            },
            _step: PhantomData,
        }
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The accounts, sessions and tokens.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The hosts and with them the registered clinics.
    #[must_use]
    pub fn hosts(&self) -> &Hosts {
        &self.0.hosts
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// Background work, remembered in `store` so that an envelope runs once.
    #[must_use]
    pub fn jobs(&self, store: Arc<dyn Durable>) -> Jobs {
        Jobs::new(Arc::clone(&self.0.doors), self.0.ledger.clone(), store)
    }

    pub(crate) fn doors(&self) -> &Arc<Doors> {
        &self.0.doors
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl<Step> Builder<Step> {
    fn next<Next>(self) -> Builder<Next> {
        Builder { parts: self.parts, _step: PhantomData }
    }

    /// Takes the time from this clock. Default: the machine's. Give the ledger and the identity the same one.
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.parts.clock = clock;
        self
    }

    /// Replaces the headers. Default: [`HeadersLayer::new`].
    pub fn with_headers(mut self, headers: HeadersLayer) -> Self {
        self.parts.headers = headers;
        self
    }

    /// Replaces the limit by peer, and with it the trusted hops. Default: [`PeerLimit::new`], no trusted hop.
    pub fn with_peer_limit(mut self, limit: PeerLimit) -> Self {
        self.parts.peer_limit = limit;
        self
    }

    /// Replaces the limit by clinic and principal. Default: 20 a second with bursts of 100.
    pub fn with_principal_limit(mut self, limit: KeyedLimit) -> Self {
        self.parts.principal_limit = limit;
        self
    }
}

impl Builder<NeedsKeys> {
    /// The keyring.
    pub fn keys(mut self, keyring: Keyring) -> Builder<NeedsAudit> {
        self.parts.keys = Some(keyring);
        self.next()
    }
}

impl Builder<NeedsAudit> {
    /// The ledger.
    pub fn audit(mut self, ledger: Ledger) -> Builder<NeedsAuthenticate> {
        self.parts.audit = Some(ledger);
        self.next()
    }
}

impl Builder<NeedsAuthenticate> {
    /// The accounts, sessions and tokens.
    pub fn authenticate(mut self, identity: Identity) -> Builder<NeedsTenants> {
        self.parts.identity = Some(identity);
        self.next()
    }
}

impl Builder<NeedsTenants> {
    /// The hosts that are answered for.
    pub fn tenants(mut self, hosts: Hosts) -> Builder<NeedsPolicy> {
        self.parts.hosts = Some(hosts);
        self.next()
    }
}

impl Builder<NeedsPolicy> {
    /// The roles and what they may do.
    pub fn policy(mut self, policy: Policy) -> Builder<NeedsRelations> {
        self.parts.policy = Some(policy);
        self.next()
    }
}

impl Builder<NeedsRelations> {
    /// Where relations are kept; [`NoRelations`](crate::access::NoRelations) if the policy needs none.
    pub fn relations(mut self, source: impl RelationSource) -> Builder<Ready> {
        self.parts.relations = Some(Arc::new(source));
        self.next()
    }
}

impl Builder<Ready> {
    /// Puts the ward together.
    ///
    /// # Panics
    ///
    /// Never: the type says that every step was taken.
    #[must_use]
    pub fn build(self) -> Ward {
        const TAKEN: &str = "the builder's type says that this step was taken";
        let parts = self.parts;
        let doors = Doors {
            keyring: parts.keys.expect(TAKEN),
            relations: parts.relations.expect(TAKEN),
            clock: Arc::clone(&parts.clock),
        };
        Ward(Arc::new(Inner {
            clock: parts.clock,
            headers: parts.headers,
            peer_limit: parts.peer_limit,
            principal_limit: parts.principal_limit,
            ledger: parts.audit.expect(TAKEN),
            identity: parts.identity.expect(TAKEN),
            hosts: parts.hosts.expect(TAKEN),
            policy: parts.policy.expect(TAKEN),
            doors: Arc::new(doors),
        }))
    }
}
