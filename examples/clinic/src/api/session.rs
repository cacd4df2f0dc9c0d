//! Login, refresh, logout, and who one is.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_ward::{
    access::Grant,
    axum::Json,
    headers::clear_site_data,
    identity::{Identity, Tokens},
    problem::Problem,
    secret::{ExposeSecret, SecretString},
    stack::Visit,
};
use uuid::Uuid;

use crate::model::{EndSession, ReadAccount};

/// A login.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    username: String,
    password: String,
}

/// A refresh.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    refresh_token: String,
}

/// Fresh tokens (RFC 6749 §5.1).
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenView {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    refresh_token: String,
}

/// Who the token says one is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Me {
    user: Uuid,
    tenant: String,
    role: String,
    session: Uuid,
    /// The person that this user is: a patient, or an employee.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Uuid>,
}

impl From<Tokens> for TokenView {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access_token().expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: tokens.expires_in().as_secs(),
            refresh_token: tokens.refresh_token().expose_secret().to_owned(),
        }
    }
}

pub(super) async fn login(
    visit: Visit,
    State(identity): State<Identity>,
    Json(login): Json<Login>,
) -> Result<Json<TokenView>, Problem> {
    let tenant = visit.clinic().ok_or_else(Problem::not_found)?;
    let password = SecretString::from(login.password);
    Ok(Json(identity.login(visit.trail(), tenant, &login.username, password).await?.into()))
}

pub(super) async fn refresh(
    visit: Visit,
    State(identity): State<Identity>,
    Json(refresh): Json<Refresh>,
) -> Result<Json<TokenView>, Problem> {
    let tenant = visit.clinic().ok_or_else(Problem::not_found)?;
    Ok(Json(identity.refresh(visit.trail(), tenant, &refresh.refresh_token).await?.into()))
}

pub(super) async fn logout(
    _grant: Grant<EndSession>,
    visit: Visit,
    State(identity): State<Identity>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let principal = visit.principal().ok_or_else(Problem::unauthenticated)?;
    identity.logout(visit.trail(), principal).await?;
    let mut headers = HeaderMap::new();
    clear_site_data(&mut headers);
    Ok((StatusCode::NO_CONTENT, headers))
}

pub(super) async fn me(grant: Grant<ReadAccount>, visit: Visit) -> Result<Json<Me>, Problem> {
    // On record if there is room: whoever is logged in learns so while the ledger's disk is full.
    let _recorded = grant.clinic().await?;
    let principal = visit.principal().ok_or_else(Problem::unauthenticated)?;
    Ok(Json(Me {
        user: principal.user().into(),
        tenant: principal.tenant().to_string(),
        role: principal.role().to_owned(),
        session: principal.session().into(),
        subject: principal.subject().map(Uuid::from),
    }))
}
