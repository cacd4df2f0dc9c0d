//! The builder, whose type says which step is next.

use std::{marker::PhantomData, num::NonZeroU32, sync::Arc, time::Duration};

use http::HeaderValue;

use crate::{
    access::{Doors, Issuers, Jobs, PermissionInfo, Policy, RelationSource, Task},
    audit::Ledger,
    clock::{SharedClock, SystemClock},
    headers::HeadersLayer,
    identity::Identity,
    keys::Keyring,
    quota::Quota,
    rate_limit::{self, KeyedLimit, LimitError, PeerLimitLayer, TrustedProxies},
    store::Durable,
    tenant::Hosts,
};

const PEER_QUOTA: Quota = Quota::per_minute(NonZeroU32::new(600).expect("not zero"));
const PRINCIPAL_QUOTA: Quota = Quota::per_minute(NonZeroU32::new(600).expect("not zero"));
const DEADLINE: Duration = Duration::from_secs(30);
/// Principals that are counted at a time: beyond them a new one waits, as the table has a fixed size.
const PRINCIPALS: NonZeroU32 = NonZeroU32::new(131_072).expect("not zero");

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
    peer_quota: Quota,
    proxies: TrustedProxies,
    principal_quota: Quota,
    deadline: Duration,
    job_store: Option<Arc<dyn Durable>>,
    tasks: Vec<PermissionInfo>,
    task_ids: Vec<&'static str>,
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
    /// Whether the ledger has the same.
    pub(super) one_clock: bool,
    pub(super) headers: HeadersLayer,
    pub(super) peer_limit: PeerLimitLayer,
    pub(super) principal_limit: KeyedLimit,
    /// Of both limits.
    pub(super) policies: HeaderValue,
    pub(super) ledger: Ledger,
    pub(super) identity: Identity,
    pub(super) hosts: Hosts,
    pub(super) policy: Policy,
    pub(super) deadline: Duration,
    pub(super) doors: Arc<Doors>,
    jobs: Option<Jobs>,
    tasks: Vec<PermissionInfo>,
}

impl Ward {
    /// Starts with the first step.
    pub fn builder() -> Builder<NeedsKeys> {
        Builder {
            parts: Parts {
                clock: SystemClock::shared(),
                headers: HeadersLayer::new(),
                peer_quota: PEER_QUOTA,
                proxies: TrustedProxies::new(),
                principal_quota: PRINCIPAL_QUOTA,
                deadline: DEADLINE,
                job_store: None,
                tasks: Vec::new(),
                task_ids: Vec::new(),
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

    /// Background work; `None` unless the builder got a [job store](Builder::with_job_store).
    #[must_use]
    pub fn jobs(&self) -> Option<&Jobs> {
        self.0.jobs.as_ref()
    }

    /// The permissions of the declared tasks: a policy's check needs them beside the routes'.
    pub(crate) fn tasks(&self) -> &[PermissionInfo] {
        &self.0.tasks
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

    /// Replaces the quota of each peer. Default: 600 a minute.
    pub fn with_peer_quota(mut self, quota: Quota) -> Self {
        self.parts.peer_quota = quota;
        self
    }

    /// Believes these proxies' `X-Forwarded-For`. Default: nobody's.
    pub fn with_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.parts.proxies = proxies;
        self
    }

    /// Answers 503 and drops the handler when a request, its body included, has taken this long. Default: 30 s.
    ///
    /// What is streamed after the head of the response is not cut by it.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.parts.deadline = deadline;
        self
    }

    /// Remembers in `store` which job envelopes were used. Without it, there are no [`jobs`](Ward::jobs).
    pub fn with_job_store(mut self, store: Arc<dyn Durable>) -> Self {
        self.parts.job_store = Some(store);
        self
    }

    /// Declares a task. One that is not declared is neither issued nor run.
    pub fn add_task<T: Task>(mut self) -> Self {
        self.parts.tasks.push(PermissionInfo::of::<T::Permission>());
        self.parts.task_ids.push(T::ID);
        self
    }

    /// Replaces the quota of each principal in each clinic. Default: 600 a minute.
    pub fn with_principal_quota(mut self, quota: Quota) -> Self {
        self.parts.principal_quota = quota;
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
    /// # Errors
    ///
    /// [`LimitError`] if a limit's table cannot be made.
    ///
    /// # Panics
    ///
    /// Never: the type says that every step was taken.
    pub fn build(self) -> Result<Ward, LimitError> {
        const TAKEN: &str = "the builder's type says that this step was taken";
        let parts = self.parts;
        let (policy, hosts) = (parts.policy.expect(TAKEN), parts.hosts.expect(TAKEN));
        let (ledger, identity) = (parts.audit.expect(TAKEN), parts.identity.expect(TAKEN));
        let doors = Arc::new(Doors {
            keyring: parts.keys.expect(TAKEN),
            relations: parts.relations.expect(TAKEN),
            clock: Arc::clone(&parts.clock),
        });
        let jobs = parts.job_store.map(|store| {
            let issuers = Issuers { policy: policy.clone(), identity: identity.clone(), hosts: hosts.clone() };
            Jobs::new(Arc::clone(&doors), ledger.clone(), store, issuers, parts.task_ids)
        });
        let peer_limit = PeerLimitLayer::new(parts.peer_quota, Arc::clone(&parts.clock))?.with_proxies(parts.proxies);
        let principal_limit = KeyedLimit::new("principal", parts.principal_quota, PRINCIPALS)?;
        let policies = rate_limit::policies([peer_limit.limit(), &principal_limit])?;
        Ok(Ward(Arc::new(Inner {
            one_clock: Arc::ptr_eq(&parts.clock, ledger.clock()),
            clock: parts.clock,
            headers: parts.headers,
            policies,
            peer_limit,
            principal_limit,
            ledger,
            identity,
            hosts,
            policy,
            deadline: parts.deadline,
            doors,
            jobs,
            tasks: parts.tasks,
        })))
    }
}
