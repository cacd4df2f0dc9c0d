//! A login, a refresh and the ends of a session, step by step.

use std::sync::Arc;

use super::{
    account::{Accounts, Stored, is_username},
    error::{AccountError, Fault, LoginError, RefreshError, TokenError},
    facade::Tokens,
    lockout::Lockout,
    password::{Candidate, Pool, PoolError},
    record,
    revocation::{Revocations, What},
    session::{Session, Sessions, Worth},
    token::{Issuer, Subject, Verified},
    warm::Warm,
};
use crate::{
    audit::{Actor, Event, Trail},
    clock::{SharedClock, Timestamp},
    id::{SessionId, TenantId, UserId},
    secret::SecretString,
    trace,
};

/// How often a login tries again when another of the same user was faster.
const TRIES: usize = 16;

/// What [`Identity`](super::Identity) is made of.
pub(super) struct Inner {
    pub(super) clock: SharedClock,
    pub(super) min_password: usize,
    pub(super) accounts: Accounts,
    pub(super) sessions: Sessions,
    pub(super) revocations: Arc<Revocations>,
    pub(super) lockout: Lockout,
    pub(super) pool: Pool,
    pub(super) issuer: Issuer,
    pub(super) warm: Warm,
}

impl Inner {
    /// Steps 6 and 7 of the verification of a token, which are done each time.
    pub(super) fn check(&self, token: &Verified) -> Result<(), TokenError> {
        self.issuer.check_time(token, self.clock.now())?;
        let who = &token.principal;
        self.revocations.check(who.tenant(), who.session(), who.user(), who.epoch(), token.issued_at)
    }

    pub(super) async fn login(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        username: &str,
        password: SecretString,
        known: &mut Option<UserId>,
    ) -> Result<Tokens, LoginError> {
        let found = if is_username(username) { self.accounts.by_name(tenant, username).await? } else { None };
        *known = found.as_ref().map(|(account, _)| account.user);
        let password = Candidate::new(password);
        let hash = found.as_ref().map(|(account, _)| account.password.as_str());
        let verified = self.pool.verify(password.clone(), hash).await.map_err(|error| match error {
            PoolError::Busy => LoginError::Busy,
            PoolError::Fault(fault) => LoginError::Unavailable(fault),
        })?;
        let Some((account, version)) = found.filter(|(account, _)| verified.right && !account.disabled) else {
            return Err(LoginError::Invalid);
        };

        let id = SessionId::generate(&*self.clock);
        let actor = record::actor(tenant, account.user, &account.role, id);
        trail.event(record::session(trail, Event::login, actor.clone(), account.user))?;
        trail.settled().await?;

        // The time is taken before the account is read again, so what was revoked later than it is either seen there or
        // refuses this token by its time.
        let now = self.clock.now();
        let (session, refresh) = self.sessions.start(tenant, id, &account, now).await?;
        self.make_room(trail, tenant, &account, id, &session, now).await?;
        if !self.is_still(tenant, &account).await? {
            self.sessions.remove(tenant, id).await?;
            return Err(LoginError::Invalid);
        }
        // Where somebody else acts already, they go on acting.
        let _ = trail.set_actor(actor);
        if let (true, Some(password)) = (verified.outdated, password) {
            self.rehash(tenant, &account, version, password).await;
        }
        Ok(self.mint(tenant, id, &session, &account, refresh, now)?)
    }

    /// Ends the oldest sessions of an account that has too many with the new one. Until this has returned, nobody has the
    /// new one's tokens.
    async fn make_room(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        account: &Stored,
        new: SessionId,
        session: &Session,
        now: Timestamp,
    ) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let (mut sessions, version) = self.sessions.others(tenant, account, new, now).await?;
            // They end before they leave the list: what is cut short in between leaves none behind that is not counted.
            for oldest in sessions.drain(..self.sessions.too_many(sessions.len())) {
                let actor = record::actor(tenant, account.user, &account.role, oldest);
                let event = record::session(trail, Event::logout, actor, account.user);
                self.end(trail, tenant, oldest, event.with_reason("too_many_sessions")).await?;
            }
            sessions.push(new);
            if self.sessions.keep(tenant, account.user, sessions, version, session.ends).await? {
                return Ok(());
            }
        }
        Err(Fault::Contended { what: "list of sessions" })
    }

    pub(super) async fn refresh(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        text: &str,
        known: &mut Option<UserId>,
    ) -> Result<Tokens, RefreshError> {
        let Some(token) = self.sessions.read(tenant, text) else {
            return Err(RefreshError::Invalid);
        };
        let id = token.session;
        let Some((session, version)) = self.sessions.find(tenant, id).await? else {
            return Err(RefreshError::Invalid);
        };
        *known = Some(session.user);
        // Before the account is read: see `login`.
        let now = self.clock.now();
        // Where a logout could not remove the session, memory still knows of it.
        if self.revocations.check(tenant, id, session.user, session.epoch, i64::MAX).is_err() {
            self.sessions.remove(tenant, id).await?;
            return Err(RefreshError::Invalid);
        }
        match self.sessions.worth(&session, &token, now)? {
            Worth::Current => {}
            Worth::UsedBefore => return Err(self.end_reused(trail, tenant, id, &session).await?),
            Worth::Over => {
                self.sessions.remove(tenant, id).await?;
                return Err(RefreshError::Invalid);
            }
        }
        let account = match self.accounts.by_name(tenant, &session.username).await? {
            Some((account, _))
                if account.user == session.user && account.epoch == session.epoch && !account.disabled =>
            {
                account
            }
            _ => {
                self.sessions.remove(tenant, id).await?;
                return Err(RefreshError::Invalid);
            }
        };

        let actor = record::actor(tenant, account.user, &account.role, id);
        trail.event(record::session(trail, Event::refresh, actor.clone(), account.user))?;
        trail.settled().await?;

        match self.sessions.rotate(tenant, id, (session.clone(), version), now).await? {
            Some(refresh) => {
                let _ = trail.set_actor(actor);
                Ok(self.mint(tenant, id, &session, &account, refresh, now)?)
            }
            None => Err(self.end_reused(trail, tenant, id, &session).await?),
        }
    }

    fn mint(
        &self,
        tenant: &TenantId,
        id: SessionId,
        session: &Session,
        account: &Stored,
        refresh: SecretString,
        now: Timestamp,
    ) -> Result<Tokens, Fault> {
        self.revocations.issued(now);
        let subject = Subject {
            user: account.user,
            role: &account.role,
            tenant,
            session: id,
            subject: account.subject,
            epoch: account.epoch,
            authenticated_at: session.started,
            factors: &session.factors,
        };
        let (access, expires_in) = self.issuer.mint(&subject, now, session.ends)?;
        Ok(Tokens::new(access, refresh, expires_in, subject.principal()))
    }

    /// Whether an account is as it was when its password was verified.
    async fn is_still(&self, tenant: &TenantId, before: &Stored) -> Result<bool, Fault> {
        let now = self.accounts.by_name(tenant, before.username()).await?;
        Ok(now.is_some_and(|(now, _)| now.user == before.user && now.epoch == before.epoch && !now.disabled))
    }

    /// Somebody uses a refresh token for the second time.
    async fn end_reused(
        &self,
        trail: &Trail,
        tenant: &TenantId,
        id: SessionId,
        session: &Session,
    ) -> Result<RefreshError, RefreshError> {
        // Who this is nobody knows: the user, or the thief.
        let nobody = Actor { session: Some(id), tenant: Some(tenant.clone()), ..Actor::default() };
        let event = Event::logout(nobody).with_about(session.user).with_reason("refresh_token_reused");
        self.end(trail, tenant, id, event).await?;
        Ok(RefreshError::Invalid)
    }

    /// Ends a session: first in memory, so that its tokens are refused whatever happens next.
    pub(super) async fn end(&self, trail: &Trail, tenant: &TenantId, id: SessionId, event: Event) -> Result<(), Fault> {
        let what = What::Session(id);
        self.revocations.remember(tenant, what);
        let recorded = trail.event(event);
        let (revocations, sessions, tenant) = (self.revocations.clone(), self.sessions.clone(), tenant.clone());
        to_its_end(async move {
            revocations.write(&tenant, what).await?;
            sessions.remove(&tenant, id).await
        })
        .await?;
        Ok(recorded?)
    }

    /// Changes an account and ends its sessions.
    pub(super) async fn change(
        &self,
        tenant: &TenantId,
        user: UserId,
        mut change: impl FnMut(&mut Stored) + Send,
    ) -> Result<(), AccountError> {
        let changed = self.accounts.change(tenant, user, |account| {
            change(account);
            account.epoch = account.epoch.saturating_add(1);
        });
        let what = What::User(user, changed.await?.epoch);
        self.revocations.remember(tenant, what);
        Ok(self.revocations.write(tenant, what).await?)
    }

    /// Removes an account, which by then has no session any more.
    pub(super) async fn remove(&self, tenant: &TenantId, user: UserId) -> Result<(), AccountError> {
        self.change(tenant, user, |account| account.disabled = true).await?;
        self.accounts.remove(tenant, user).await?;
        Ok(self.sessions.forget(tenant, user).await?)
    }

    pub(super) async fn hash(&self, password: SecretString) -> Result<String, AccountError> {
        let rule = "at least 15 characters, or what `min_password` says, and at most 1024 bytes";
        let candidate = Candidate::new(password).filter(|candidate| candidate.characters() >= self.min_password);
        let candidate = candidate.ok_or(AccountError::Field { field: "password", rule })?;
        self.pool.hash(candidate).await.map_err(|error| match error {
            PoolError::Busy => AccountError::Busy,
            PoolError::Fault(fault) => fault.into(),
        })
    }

    /// Hashes a password again at the cost that is set now. Nothing hangs on it: the next login tries again.
    async fn rehash(&self, tenant: &TenantId, account: &Stored, version: u64, password: Candidate) {
        let Ok(hash) = self.pool.hash(password).await else {
            return;
        };
        if let Err(error) = self.accounts.rehash(tenant, account.clone(), version, hash).await {
            trace::event!(warn, error = %error, "a password could not be hashed again");
        }
    }
}

/// Runs what must not stop half-way in a task of its own: whoever waits for it may go away.
pub(super) async fn to_its_end<T, E>(task: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Fault> + Send + 'static,
{
    let failed = Fault::Worker { what: "task that changes an account or a session" };
    tokio::spawn(task).await.unwrap_or_else(|_| Err(failed.into()))
}
