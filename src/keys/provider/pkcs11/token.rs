//! One key of one token: finding it, logging in, and the sessions that are kept open.

use std::sync::{Condvar, Mutex, PoisonError};

use cryptoki::{
    error::{Error, RvError},
    mechanism::MechanismType,
    object::{Attribute, ObjectClass, ObjectHandle},
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
};

use super::{
    super::ProviderErrorKind::{Denied, Unavailable},
    cipher,
    facts::Facts,
    fault::{Fault, NO_TOKEN, PIN_LOCKED, PIN_NOT_SET, Then},
    module::{Deadline, Entered, Module, lock},
    options::Pkcs11Options,
};
use crate::secret::SecretString;

/// A token's key, and what is needed to get to it again.
pub(super) struct Token {
    module: &'static Module,
    options: Pkcs11Options,
    pin: SecretString,
    idle: Mutex<Vec<Live>>,
    login: Mutex<Login>,
    login_ended: Condvar,
}

/// A session that is logged in and knows its key. Closed by hand, because a session of a module that was stopped since
/// must not be: its number may be another's.
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) key: ObjectHandle,
    /// Why the key must not be used, if it must not.
    pub(super) refusal: Option<&'static str>,
    generation: u64,
}

/// Who logs in. All sessions of a process share one login, and a wrong PIN is to be tried once, not once in each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    Idle,
    Running,
    Refused(&'static str),
}

impl Token {
    pub(super) fn new(module: &'static Module, options: Pkcs11Options, pin: SecretString) -> Self {
        Self {
            module,
            options,
            pin,
            idle: Mutex::default(),
            login: Mutex::new(Login::Idle),
            login_ended: Condvar::new(),
        }
    }

    /// Does `work` on a session that waits, or else on a new one. One that was kept and turns out to be worth nothing
    /// is replaced once; what a new session gives is the answer.
    pub(super) fn call<T>(&self, deadline: &Deadline, work: impl Fn(&Live) -> Result<T, Fault>) -> Result<T, Fault> {
        let entered = self.module.enter(deadline)?;
        if let Some(live) = self.take(&entered) {
            match self.perform(&entered, live, &work) {
                Err(fault) if fault.then == Then::Reopen => self.close_idle(&entered),
                settled => return settled,
            }
        }
        let (entered, live) = self.open(entered, deadline)?;
        self.perform(&entered, live, &work)
    }

    fn perform<T>(&self, entered: &Entered, live: Live, work: impl Fn(&Live) -> Result<T, Fault>) -> Result<T, Fault> {
        let answer = work(&live);
        let then = answer.as_ref().map_or_else(|fault| fault.then, |_| Then::Keep);
        match then {
            Then::Keep => self.keep(entered, live),
            Then::Probe => {
                if let Err(fault) = cipher::probe(&live) {
                    live.close();
                    return Err(fault);
                }
                self.keep(entered, live);
            }
            Then::Close | Then::Reopen | Then::Stop => live.close(),
        }
        answer
    }

    /// A session that waits, if it is of the module as it runs now.
    fn take(&self, entered: &Entered) -> Option<Live> {
        let mut idle = lock(&self.idle);
        idle.retain(|live| live.generation == entered.generation);
        idle.pop()
    }

    fn keep(&self, entered: &Entered, live: Live) {
        let mut idle = lock(&self.idle);
        // A call that hung may bring back one too many.
        if live.generation == entered.generation && idle.len() < self.options.sessions.get() {
            idle.push(live);
        } else {
            drop(idle);
            live.close();
        }
    }

    fn close_idle(&self, entered: &Entered) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        idle.into_iter().filter(|live| live.generation == entered.generation).for_each(Live::close);
    }

    /// A new session. A module that does not see the token is stopped and started for one more look.
    fn open(&self, entered: Entered, deadline: &Deadline) -> Result<(Entered, Live), Fault> {
        match self.open_once(&entered, deadline) {
            Err(fault) if fault.then == Then::Reopen && !entered.fresh => {
                let generation = entered.generation;
                drop(entered);
                if !self.module.stop(generation, deadline)? {
                    return Err(fault);
                }
                let entered = self.module.enter(deadline)?;
                let live = self.open_once(&entered, deadline)?;
                Ok((entered, live))
            }
            opened => opened.map(|live| (entered, live)),
        }
    }

    fn open_once(&self, entered: &Entered, deadline: &Deadline) -> Result<Live, Fault> {
        let slot = self.find_token()?;
        let offered = match self.module.context.get_mechanism_info(slot, MechanismType::AES_GCM) {
            Ok(gcm) => gcm.encrypt() && gcm.decrypt(),
            Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => false,
            Err(error) => return Err(error.into()),
        };
        if !offered {
            let what = "the token does not encrypt and decrypt with `CKM_AES_GCM`: use one that does";
            return Err(Fault::new(Denied, Then::Close, what));
        }
        let session = self.module.context.open_ro_session_no_drop(slot)?;
        let found = self.log_in(&session, slot, deadline).and_then(|()| self.find_key(&session, slot));
        match found {
            Ok((key, facts)) => Ok(Live { session, key, refusal: facts.refusal(), generation: entered.generation }),
            Err(fault) => {
                let _ = session.close();
                Err(fault)
            }
        }
    }

    fn find_token(&self) -> Result<Slot, Fault> {
        let slots = self.module.context.get_slots_with_token()?;
        // A slot that gives no answer may hold somebody else's token.
        let mut ours = slots.into_iter().filter(|slot| self.token_in(*slot).is_some());
        match (ours.next(), ours.next()) {
            (Some(slot), None) => Ok(slot),
            (Some(_), Some(_)) => Err(Fault::new(
                Denied,
                Then::Close,
                "two tokens have the label that `token` names: give each a label of its own",
            )),
            (None, _) => Err(Fault::new(Unavailable, Then::Reopen, NO_TOKEN)),
        }
    }

    /// What is said of the token in a slot, if it is the one we want.
    fn token_in(&self, slot: Slot) -> Option<TokenInfo> {
        let info = self.module.context.get_token_info(slot).ok()?;
        (info.token_initialized() && info.label() == self.options.token).then_some(info)
    }

    /// Logs in, unless this process is. The first refusal is the last: see [`Then::Stop`].
    fn log_in(&self, session: &Session, slot: Slot, deadline: &Deadline) -> Result<(), Fault> {
        let (mut login, _) = self
            .login_ended
            .wait_timeout_while(lock(&self.login), deadline.left(), |login| *login == Login::Running)
            .unwrap_or_else(PoisonError::into_inner);
        match *login {
            Login::Idle => {}
            Login::Running => {
                let what = "a login to the token hangs: look at it and at the way to it";
                return Err(Fault::new(Unavailable, Then::Close, what));
            }
            Login::Refused(what) => return Err(Fault::new(Denied, Then::Stop, what)),
        }
        *login = Login::Running;
        drop(login);
        let answer = self.log_in_once(session, slot);
        *lock(&self.login) = match &answer {
            Err(fault) if fault.then == Then::Stop => Login::Refused(fault.what),
            _ => Login::Idle,
        };
        self.login_ended.notify_all();
        answer
    }

    fn log_in_once(&self, session: &Session, slot: Slot) -> Result<(), Fault> {
        if is_user(session)? {
            return Ok(());
        }
        let info = self.token_in(slot).ok_or_else(|| Fault::new(Unavailable, Then::Reopen, NO_TOKEN))?;
        let refused = |what| Err(Fault::new(Denied, Then::Close, what));
        if info.user_pin_locked() {
            return refused(PIN_LOCKED);
        }
        if !info.user_pin_initialized() {
            return refused(PIN_NOT_SET);
        }
        // What starts a service again and again would otherwise lock the token with a wrong PIN.
        if info.user_pin_final_try() {
            return refused("one more wrong PIN locks the token: log in once by other means, and start again");
        }
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let fault = Fault::from(error);
                // A login is never made twice in one call: not every token has a clear word for a wrong PIN.
                Err(if fault.then == Then::Stop { fault } else { fault.with_then(Then::Close) })
            }
        }
    }

    /// The one key of the label, and what the token says of it.
    fn find_key(&self, session: &Session, slot: Slot) -> Result<(ObjectHandle, Facts), Fault> {
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(self.options.key.clone().into_bytes()),
        ];
        template.extend(self.options.id.clone().map(Attribute::Id));
        let refused = |what| Err(Fault::new(Denied, Then::Close, what));
        match session.find_objects(&template)?[..] {
            [key] => Ok((key, Facts::of(session, key)?)),
            // A token that was taken out, or to which nobody is logged in, lists nothing either.
            [] if self.token_in(slot).is_none() || !is_user(session)? => {
                Err(Fault::new(Unavailable, Then::Reopen, NO_TOKEN))
            }
            [] => refused(
                "the token has no secret key of the label that `key` names: it was deleted, or is called otherwise",
            ),
            [_, _, ..] => {
                refused("the token has two secret keys of the label that `key` names: rename one, or add `with_key_id`")
            }
        }
    }
}

fn is_user(session: &Session) -> Result<bool, Fault> {
    let state = session.get_session_info()?.session_state();
    Ok(matches!(state, SessionState::RoUser | SessionState::RwUser))
}

impl Live {
    fn close(self) {
        // One that cannot be closed is gone.
        let _ = self.session.close();
    }
}

impl Drop for Token {
    /// Closes what waits, on a thread of its own because the module may hang. The last session's end is the logout.
    fn drop(&mut self) {
        let (module, idle) = (self.module, std::mem::take(&mut *lock(&self.idle)));
        let deadline = Deadline::new(self.options.timeout);
        if idle.is_empty() {
            return;
        }
        let close = move || {
            if let Ok(entered) = module.enter(&deadline) {
                idle.into_iter().filter(|live| live.generation == entered.generation).for_each(Live::close);
            }
        };
        // Without a thread they stay open until the process ends.
        let _ = std::thread::Builder::new().name("pkcs11".to_owned()).spawn(close);
    }
}
