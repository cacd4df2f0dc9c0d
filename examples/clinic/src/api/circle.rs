//! Who is in a patient's circle: invited by a token that holds once, for one e-mail address.
//!
//! # Decision rule
//!
//! Somebody joins only
//!
//! 1. with a token that this server made and nobody changed: a job's envelope, which names clinic, patient and inviter;
//! 2. at the host of the clinic that it names;
//! 3. before it expires, and once: an attempt that fails uses it up as well, so nobody tries addresses;
//! 4. if whoever invited has not lost the right to, and the relation to the patient, by then;
//! 5. with the e-mail address that was invited;
//! 6. and with a password: a new one, for the account that is made for them, or that of the relative's account that they
//!    say is theirs.
//!
//! Whatever else it is, it is one refusal.
//!
//! # Deployment caveat
//!
//! The token is in the answer to who invites, and carrying it to the address is not done here. Until it is, whoever invites
//! can join in another's name.
//!
//! # Security
//!
//! The attackers are a stranger who guesses, a finder of a token, and who was invited and is not wanted any more. A token is
//! signed; of it only a hash is kept, and the address is sealed: no account is named by it. It names the patient by an
//! identifier that opens nothing. Whoever holds a token can use it up.

use std::time::Duration;

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tower_ward::{
    access::{Grant, JobError, JobGrant, Jobs, MAX_JOB_LIFE, Relations, SubjectGrant, Task},
    axum::{Json, Path, Query},
    db::Change,
    field::Encrypted,
    id::{RowId, SubjectId, UserId},
    identity::{AccountError, NewAccount},
    problem::Problem,
    secret::SecretString,
    stack::Visit,
};
use uuid::Uuid;

use super::{
    App, Page, line, now,
    patients::must_be_patient,
    time,
    window::{Entry, Older, Window},
};
use crate::{
    data::{Data, QueryError, Tx, sql},
    model::{EndCircle, EnrolRelative, InviteToCircle, ReadInvitations, patients::InvitedEmail},
};

/// The job that an invitation is.
#[derive(Debug)]
pub struct Join;

impl Task for Join {
    type Permission = InviteToCircle;
    const ID: &'static str = "circle.join";
}

/// The job that makes the account of somebody whose invitation held.
#[derive(Debug)]
pub struct Enrol;

impl Task for Enrol {
    type Permission = EnrolRelative;
    const ID: &'static str = "circle.enrol";
}

/// The role of those in a circle.
const RELATIVE: &str = "family_member";

/// An invitation.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InvitationView {
    id: Uuid,
    inviter: Uuid,
    at: Timestamp,
    email: String,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    /// Who joined by it, and may have left since.
    user: Option<Uuid>,
    test: bool,
}

/// A new invitation.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvitation {
    /// Whose. At most 254 bytes; case does not matter.
    email: String,
    /// At most seven days ahead, which is the default.
    until: Option<Timestamp>,
}

/// An invitation that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MadeView {
    id: Uuid,
    expires_at: Timestamp,
    /// For who is invited, and shown this once.
    token: String,
}

/// Who joins.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Joining {
    token: String,
    /// The address that was invited.
    email: String,
    /// Of the relative's account that one has already. Without it, one is made.
    username: Option<String>,
    /// Of that account, or for the new one: 15 characters to 1,024 bytes.
    password: String,
}

/// Who joined.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JoinedView {
    /// To log in with.
    username: String,
    user: Uuid,
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct InvitationRow {
    pub(crate) id: RowId,
    pub(crate) inviter: UserId,
    pub(crate) at: i64,
    pub(crate) email: Encrypted<InvitedEmail>,
    pub(crate) expires_at: i64,
    pub(crate) used_at: Option<i64>,
    pub(crate) user: Option<UserId>,
    pub(crate) test: bool,
}

impl Entry for InvitationRow {
    fn place(&self) -> (i64, RowId) {
        (self.at, self.id)
    }

    fn size(&self) -> usize {
        self.email.as_bytes().len()
    }
}

/// An address as it is kept and compared.
fn address(email: &str) -> Result<String, Problem> {
    line("email", email, 254)?;
    let sound = |(local, domain): (&str, &str)| !local.is_empty() && domain.contains('.') && !domain.contains('@');
    if email.contains(char::is_whitespace) || !email.split_once('@').is_some_and(sound) {
        return Err(Problem::bad_request("email"));
    }
    Ok(email.to_lowercase())
}

/// One refusal for whatever is wrong with an invitation.
fn refused() -> Problem {
    Problem::not_found().with_reason("an invitation that does not hold")
}

fn unavailable(_: JobError) -> Problem {
    Problem::unavailable().with_reason("the jobs of an invitation")
}

fn jobs(app: &App) -> Result<&Jobs, Problem> {
    app.jobs.as_ref().ok_or_else(|| Problem::unavailable().with_reason("no job store"))
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

pub(super) async fn invite(
    grant: Grant<InviteToCircle>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(new): Json<NewInvitation>,
) -> Result<(StatusCode, Json<MadeView>), Problem> {
    let email = address(&new.email)?;
    let (at, wrong) = (app.clock.now(), || Problem::bad_request("until"));
    let life = match new.until {
        None => MAX_JOB_LIFE,
        Some(until) => Duration::try_from(until.duration_since(at)).map_err(|_| wrong())?,
    };
    if life.is_zero() || life > MAX_JOB_LIFE {
        return Err(wrong());
    }
    let expires_at = at.checked_add(life).map_err(|_| wrong())?.as_millisecond();
    let inviter = grant.user().ok_or_else(Problem::forbidden)?;
    let chart = grant.subject(patient).await?;
    must_be_patient(&mut app.data.read(&chart).await?, patient).await?;
    let token = jobs(&app)?.issue::<Join>(&chart, life).await.map_err(unavailable)?;
    let id = RowId::generate(&*app.clock);
    let email = Encrypted::seal(&email, &chart, id)?;
    let (at, test) = (now(&app).as_millisecond(), false);
    let row = InvitationRow { id, inviter, at, email, expires_at, used_at: None, user: None, test };
    let mut tx = app.data.change(&chart, Change::create("circle_invitations", id)).await?;
    insert(&mut tx, patient, hash(&token), &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(MadeView { id: id.into(), expires_at: time(expires_at), token })))
}

pub(super) async fn invitations(
    grant: Grant<ReadInvitations>,
    Path(patient): Path<SubjectId>,
    Query(older): Query<Older>,
    State(data): State<Data>,
) -> Result<Json<Page<InvitationView>>, Problem> {
    let window = Window::of(&older)?;
    let chart = grant.subject(patient).await?;
    let mut tx = data.read(&chart).await?;
    must_be_patient(&mut tx, patient).await?;
    let query = sql(
        "select id, inviter, at, email, expires_at, used_at, \"user\", test from circle_invitations where patient = $1",
    );
    let view = |row: InvitationRow| {
        Ok(InvitationView {
            id: row.id.into(),
            inviter: row.inviter.into(),
            at: time(row.at),
            email: row.email.open(&chart, row.id)?.disclose(),
            expires_at: time(row.expires_at),
            used_at: row.used_at.map(time),
            user: row.user.map(Uuid::from),
            test: row.test,
        })
    };
    window.page(query.bind(patient), &mut tx, view).await
}

pub(super) async fn join(
    visit: Visit,
    State(app): State<App>,
    Json(joining): Json<Joining>,
) -> Result<(StatusCode, Json<JoinedView>), Problem> {
    if visit.clinic().is_none() {
        return Err(Problem::not_found());
    }
    // What is wrong in itself uses nothing up.
    let email = address(&joining.email)?;
    if joining.password.chars().count() < 15 || joining.password.len() > 1024 {
        return Err(Problem::bad_request("password"));
    }
    let (username, password, token) = (joining.username, SecretString::from(joining.password), joining.token);
    let guest = Guest { app: &app, visit: &visit, email, username, password };
    let joined = jobs(&app)?.run::<Join, _, _, _>(&token, |grant| guest.accept(grant, &token)).await;
    let joined = joined.map_err(|error| match error {
        JobError::Invalid | JobError::Expired | JobError::Used | JobError::Withdrawn => refused(),
        error => unavailable(error),
    })??;
    Ok((StatusCode::CREATED, Json(joined)))
}

/// Who holds a token, and says who they are.
struct Guest<'a> {
    app: &'a App,
    visit: &'a Visit,
    email: String,
    username: Option<String>,
    password: SecretString,
}

impl Guest<'_> {
    async fn accept(self, grant: JobGrant<Join>, token: &str) -> Result<JoinedView, Problem> {
        if self.visit.clinic() != Some(grant.tenant()) {
            return Err(refused());
        }
        let patient = grant.subject_id().ok_or_else(refused)?;
        let chart = grant.subject(patient).await?;
        let invitation = self.invitation(&chart, token).await?;
        let (username, user) = match &self.username {
            Some(username) => (username.clone(), self.known(username).await?),
            None => self.enrol(&chart).await?,
        };
        let mut tx = self.app.data.change(&chart, Change::assign(user, Relations::CIRCLE)).await?;
        let used = sql("update circle_invitations set used_at = $1, \"user\" = $2 where id = $3 and used_at is null")
            .bind(now(self.app).as_millisecond())
            .bind(user)
            .bind(invitation)
            .execute(&mut tx)
            .await?;
        if used != 1 {
            return Err(refused());
        }
        tx.relate(None).await?;
        tx.commit().await?;
        Ok(JoinedView { username, user: user.into() })
    }

    /// The invitation that this token is, if it is for this address and open.
    async fn invitation(&self, chart: &SubjectGrant<InviteToCircle>, token: &str) -> Result<RowId, Problem> {
        let mut tx = self.app.data.read(chart).await?;
        let row: Option<(RowId, Encrypted<InvitedEmail>, i64)> =
            sql("select id, email, expires_at from circle_invitations
             where token_hash = $1 and patient = $2 and used_at is null")
            .bind(hash(token))
            .bind(chart.subject())
            .fetch_optional(&mut tx)
            .await?;
        let (id, email, expires_at) = row.ok_or_else(refused)?;
        let invited = email.disclose_with(chart, id, |email| *email == self.email)?;
        let open = self.app.clock.now().as_millisecond() < expires_at;
        if invited && open { Ok(id) } else { Err(refused()) }
    }

    /// A new account.
    async fn enrol(&self, chart: &SubjectGrant<InviteToCircle>) -> Result<(String, UserId), Problem> {
        let (jobs, tenant) = (jobs(self.app)?, chart.tenant());
        // Not with the rights of who invited, which reach one person: it is the clinic that keeps accounts. This is behind
        // the invitation, which was proved; it makes a relative's account, and no other.
        let envelope =
            jobs.danger_issue_for_clinic::<Enrol>(tenant.clone(), Duration::from_secs(60)).map_err(unavailable)?;
        // Not the address, which stands nowhere in clear.
        let random =
            RowId::generate(&*self.app.clock).as_bytes().iter().skip(8).map(|b| format!("{b:02x}")).collect::<String>();
        let username = format!("relative-{random}");
        let new = NewAccount::new(username.clone(), self.password.clone(), RELATIVE);
        let enrol = async |grant: JobGrant<Enrol>| {
            let clinic = grant.clinic().await?;
            Ok::<_, Problem>(clinic.accounts(&self.app.identity).create(new).await)
        };
        match jobs.run::<Enrol, _, _, _>(&envelope, enrol).await.map_err(unavailable)?? {
            Ok(user) => Ok((username, user)),
            Err(AccountError::Field { .. }) => Err(refused()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whose account it is knows its password; and one of another role joins no circle.
    async fn known(&self, username: &str) -> Result<UserId, Problem> {
        let (trail, identity) = (self.visit.trail(), &self.app.identity);
        let clinic = self.visit.clinic().ok_or_else(refused)?;
        let login = identity.login(trail, clinic, username, self.password.clone()).await;
        let tokens = login.map_err(|error| match Problem::from(error) {
            wrong if wrong.kind().status() == StatusCode::UNAUTHORIZED => refused(),
            problem => problem,
        })?;
        let principal = tokens.principal();
        identity.logout(trail, principal).await?;
        if principal.role() == RELATIVE { Ok(principal.user()) } else { Err(refused()) }
    }
}

pub(super) async fn leave(
    grant: Grant<EndCircle>,
    Path((patient, user)): Path<(SubjectId, UserId)>,
    State(data): State<Data>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = data.change(&chart, Change::unassign(user, Relations::CIRCLE)).await?;
    if !tx.unrelate().await? {
        return Err(Problem::not_found().with_reason("nobody of this circle"));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn insert(
    tx: &mut impl Tx,
    patient: SubjectId,
    token_hash: Vec<u8>,
    row: &InvitationRow,
) -> Result<(), QueryError> {
    sql("insert into circle_invitations
         (id, patient, inviter, at, email, token_hash, expires_at, used_at, \"user\", test)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
    .bind(row.id)
    .bind(patient)
    .bind(row.inviter)
    .bind(row.at)
    .bind(&row.email)
    .bind(token_hash)
    .bind(row.expires_at)
    .bind(row.used_at)
    .bind(row.user)
    .bind(row.test)
    .execute(tx)
    .await
    .map(|_| ())
}
