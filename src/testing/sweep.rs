//! Somebody else's and nobody's, over every route and role.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use super::{Canaries, Client, FindingKind, Reply, Report, example};
use crate::{
    access::{BoxFuture, Relations},
    axum::{Access, Route},
    id::TenantId,
    stack::{Ward, WardService},
};

/// Whose a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Whose {
    /// Somebody's whom the actor may reach.
    Own,
    /// Somebody's of the same clinic whom the actor may not reach; asked for where the policy does not let the role reach all.
    Unassigned,
    /// Somebody's of another clinic, who is there.
    Foreign,
    /// Nobody's.
    Absent,
}

/// What stands in a path's braces: the parameter's name, and its value.
pub type Parameters = Vec<(&'static str, String)>;

/// Somebody of one role, logged in at two clinics: an account in each.
#[derive(Clone)]
pub struct Actor {
    role: String,
    token: String,
    elsewhere: String,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Actor {
    /// Of this role, with the access token of the clinic that is swept and the one of the other clinic.
    #[must_use]
    pub fn new(role: &str, token: &str, elsewhere: &str) -> Self {
        Self { role: role.to_owned(), token: token.to_owned(), elsewhere: elsewhere.to_owned() }
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The token at the clinic that is swept.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// What the sweep cannot know of an application: who is there.
pub trait Cast: Sync {
    /// Logs somebody of this role in; nobody, if there is none, which is an error of the sweep.
    fn actor<'a>(&'a self, role: &'a str) -> BoxFuture<'a, Option<Actor>>;

    /// What to name in the path of a route, once for each request that is to be sent: each parameter of each is then of that kind,
    /// and the sweep mixes them. Of [`Whose::Own`] the first is asked for; where a request uses somebody up, as one that erases
    /// does, give a new one each time.
    fn parameters<'a>(
        &'a self,
        actor: &'a Actor,
        method: &'a Method,
        route: &'a Route,
        whose: Whose,
    ) -> BoxFuture<'a, Vec<Parameters>>;

    /// The body to send instead of the one made from the route's schema, or the same. Where a body names something that has to be
    /// there, name one that is: what is refused for one's own too is not compared.
    fn body<'a>(
        &'a self,
        actor: &'a Actor,
        method: &'a Method,
        route: &'a Route,
        whose: Whose,
        example: Option<Value>,
    ) -> BoxFuture<'a, Option<Value>> {
        let _ = (actor, method, route, whose);
        Box::pin(async move { example })
    }

    /// Whether a route may well serve nobody in a sweep, which is a finding otherwise: because it needs what only an earlier step
    /// gives, say, and a test of its own looks at it.
    fn serves_nobody(&self, method: &Method, route: &Route) -> bool {
        let _ = (method, route);
        false
    }
}

/// Why nothing was swept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// A role of the policy has nobody.
    #[error("nobody has the role `{0}`: give `Cast::actor` somebody of each role of the policy")]
    Role(String),
    /// A path's parameter has no value.
    #[error("`{path}` names `{{{name}}}`, for which `Cast::parameters` gave no value")]
    Parameter {
        /// The path.
        path: String,
        /// The parameter.
        name: String,
    },
    /// There is nobody to ask for.
    #[error("`Cast::parameters` gave nothing {whose:?} for `{path}`: what is not asked for is not compared")]
    Nobody {
        /// The path.
        path: String,
        /// Whose was missing.
        whose: Whose,
    },
}

/// A run over every method of every route, for every role, as the [module](super) says.
///
/// ```
/// use http::Method;
/// use tower_ward::{
///     access::BoxFuture, axum::{Route, Router}, id::TenantId, stack::Ward,
///     testing::{Actor, Canaries, Cast, Parameters, Report, Sweep, SweepError, Whose},
/// };
///
/// /// One doctor of two clinics, and a patient of each.
/// struct People { tokens: [String; 2], mine: String, other: String }
///
/// impl Cast for People {
///     fn actor<'a>(&'a self, role: &'a str) -> BoxFuture<'a, Option<Actor>> {
///         let [token, elsewhere] = &self.tokens;
///         Box::pin(async move { (role == "doctor").then(|| Actor::new(role, token, elsewhere)) })
///     }
///
///     fn parameters<'a>(&'a self, _: &'a Actor, _: &'a Method, _: &'a Route, whose: Whose) -> BoxFuture<'a, Vec<Parameters>> {
///         let id = match whose {
///             Whose::Own => vec![self.mine.clone()],
///             Whose::Foreign => vec![self.other.clone()],
///             Whose::Absent => vec!["0190d1a0-0000-7000-8000-000000000000".to_owned()],
///             _ => vec![],
///         };
///         Box::pin(async move { id.into_iter().map(|id| vec![("id", id)]).collect() })
///     }
/// }
///
/// async fn nothing_of_another_clinic_shows(ward: &Ward, router: Router, people: &People)
///     -> Result<(), Box<dyn std::error::Error>>
/// {
///     let (here, there) = (TenantId::new("harbour")?, TenantId::new("meadow")?);
///     let routes = router.routes().to_vec();
///     let sweep = Sweep::new(ward, router.into_service()?, routes, here, there)
///         .with_canaries(Canaries::new(["Quillfeather"])?); // the name of the other clinic's patient
///     let ran: Result<Report, SweepError> = sweep.run(people).await; // an error, if the cast leaves somebody out
///     let report = ran?;
///     assert!(report.findings().is_empty(), "{report}");
///     assert!(report.there() > 0, "{report}"); // the other clinic's are there, and its own people see them
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "it does nothing before `run`"]
pub struct Sweep {
    ward: Ward,
    client: Client,
    routes: Vec<Route>,
    clinic: TenantId,
    elsewhere: TenantId,
    canaries: Option<Canaries>,
}

impl Sweep {
    /// Over these routes, in their order, of the service that was made of them: the clinic `clinic` is asked, by people of its
    /// own and of `elsewhere`. Put what ends sessions or removes people last.
    pub fn new(
        ward: &Ward,
        service: WardService<::axum::Router>,
        routes: Vec<Route>,
        clinic: TenantId,
        elsewhere: TenantId,
    ) -> Self {
        Self { ward: ward.clone(), client: Client::new(ward, service), routes, clinic, elsewhere, canaries: None }
    }

    /// With texts that only other clinics have.
    pub fn with_canaries(mut self, canaries: Canaries) -> Self {
        self.canaries = Some(canaries);
        self
    }

    /// Sends the requests, one after another.
    ///
    /// # Errors
    ///
    /// [`SweepError`], if the cast leaves something out.
    pub async fn run(&self, cast: &impl Cast) -> Result<Report, SweepError> {
        let mut report = Report::default();
        // Of each method of each route, how many roles are granted it, and how many were served.
        let mut served: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
        let roles: Vec<String> = self.ward.policy().roles().map(str::to_owned).collect();
        for role in &roles {
            let actor = cast.actor(role).await.ok_or_else(|| SweepError::Role(role.clone()))?;
            for route in &self.routes {
                for method in route.methods() {
                    let before = report.served;
                    let mut one = One { sweep: self, cast, actor: &actor, method, route, report: &mut report };
                    let granted = one.granted();
                    if route.path().contains('{') {
                        one.people().await?
                    } else {
                        one.tokens().await
                    }
                    let [may, were] = served.entry((route.path(), method.as_str())).or_default();
                    *may += usize::from(granted);
                    *were += usize::from(report.served > before);
                }
            }
        }
        for route in &self.routes {
            for method in route.methods() {
                let [may, were] = served[&(route.path(), method.as_str())];
                let public = matches!(route.access(), Access::Public(_));
                if !public && may > 0 && were == 0 && !cast.serves_nobody(method, route) {
                    let case = format!("{method} {}", route.path());
                    let what = format!(
                        "{may} role(s) may, and none was served: give `Cast::body` or `Cast::parameters` what is there"
                    );
                    report.find(FindingKind::Unserved, &case, what);
                }
            }
        }
        Ok(report)
    }
}

/// One method of one route, for one role.
struct One<'a, C> {
    sweep: &'a Sweep,
    cast: &'a C,
    actor: &'a Actor,
    method: &'a Method,
    route: &'a Route,
    report: &'a mut Report,
}

impl<C: Cast> One<'_, C> {
    fn case(&self, what: &str) -> String {
        format!("{} {} {} {what}", self.actor.role, self.method, self.route.path())
    }

    /// Under which relations the policy lets the role in; what is public is for all.
    fn relations(&self) -> Relations {
        match self.route.access() {
            Access::Permission(permission) => self.sweep.ward.policy().relations(&self.actor.role, permission.id()),
            Access::Public(_) => Relations::CLINIC,
        }
    }

    fn granted(&self) -> bool {
        !self.relations().is_empty()
    }

    /// Whether the role reaches everybody of the clinic here.
    fn reaches_all(&self) -> bool {
        self.relations().contains(Relations::CLINIC)
    }

    async fn send(&mut self, clinic: &TenantId, token: Option<&str>, path: &str, whose: Whose, case: &str) -> Reply {
        let made = self.route.request_schema().map(example);
        let body = self.cast.body(self.actor, self.method, self.route, whose, made).await;
        let reply = self.sweep.client.send(clinic, token, self.method, path, body.as_ref()).await;
        if let Some(canaries) = &self.sweep.canaries {
            let values = reply.headers.values().map(http::HeaderValue::as_bytes);
            let found = values.chain([&*reply.body]).find_map(|bytes| canaries.found_in(bytes));
            if let Some(length) = found.map(str::len) {
                let what = format!("a canary, spelled in {length} bytes, stands in the answer");
                self.report.find(FindingKind::Leaked, case, what);
            }
        }
        reply
    }

    /// Where nobody is named, own, foreign and absent are whose token it is.
    async fn tokens(&mut self) {
        let Sweep { clinic, elsewhere, .. } = self.sweep;
        let (actor, path) = (self.actor, self.route.path().to_owned());
        let forged = format!("{}x", actor.token);
        let (case, other_case) = (self.case("with a token of another clinic"), self.case("at another clinic"));
        let foreign = self.send(clinic, Some(&actor.elsewhere), &path, Whose::Foreign, &case).await;
        let other_way = self.send(elsewhere, Some(&actor.token), &path, Whose::Foreign, &other_case).await;
        let (none_case, forged_case) = (self.case("without a token"), self.case("with a forged token"));
        let none = self.send(clinic, None, &path, Whose::Absent, &none_case).await;
        let forged = self.send(clinic, Some(&forged), &path, Whose::Absent, &forged_case).await;
        // Last, since it may end the session.
        let own_case = self.case("with one's own token");
        let own = self.send(clinic, Some(&actor.token), &path, Whose::Own, &own_case).await;
        self.report.own += 1;
        self.report.foreign += 2;
        self.report.absent += 2;
        if matches!(self.route.access(), Access::Public(_)) {
            return;
        }
        self.report.served += usize::from(own.status.is_success());
        for (case, reply, due) in [
            (&case, &foreign, 403),
            (&other_case, &other_way, 403),
            (&none_case, &none, 401),
            (&forged_case, &forged, 401),
        ] {
            if reply.status != due {
                self.report.find(FindingKind::Token, case, format!("answered {}, and {due} was due", reply.status));
            }
        }
        if foreign.fingerprint() != other_way.fingerprint() {
            self.report.find(FindingKind::Told, &case, "either way round is answered otherwise".to_owned());
        }
        self.own(&own_case, &own);
    }

    /// What one's own has to be.
    fn own(&mut self, case: &str, reply: &Reply) {
        let granted = self.granted();
        if (reply.status == 403) == granted {
            let due = if granted { "the policy grants it" } else { "403 was due: the policy does not grant it" };
            self.report.find(FindingKind::Policy, case, format!("answered {}, and {due}", reply.status));
        } else if granted && *self.method == Method::GET && reply.status != 200 {
            self.report.find(FindingKind::Policy, case, format!("answered {}, and 200 was due", reply.status));
        } else if granted && [400, 413, 415, 422].contains(&reply.status.as_u16()) {
            let what = format!("answered {}: say a body that it takes in `Cast::body`", reply.status);
            self.report.find(FindingKind::Body, case, what);
        }
    }

    async fn people(&mut self) -> Result<(), SweepError> {
        let (granted, clinic) = (self.granted(), &self.sweep.clinic);
        let token = Some(self.actor.token.as_str());
        let own = self.each(Whose::Own).await?.swap_remove(0);
        let (path, case) = self.asked(Whose::Own, &own)?;
        let reply = self.send(clinic, token, &path, Whose::Own, &case).await;
        self.report.own += 1;
        self.report.served += usize::from(reply.status.is_success());
        self.own(&case, &reply);

        let due = if granted { 404 } else { 403 };
        // Each answer that was seen, and the first case of it.
        let mut faces: BTreeMap<String, String> = BTreeMap::new();
        for whose in [Whose::Foreign, Whose::Absent] {
            let mut strangers = self.each(whose).await?;
            if whose == Whose::Foreign && *self.method == Method::GET {
                self.look_there(&strangers).await?;
            }
            strangers.extend(self.mixed(&own, &strangers[0]));
            for parameters in strangers {
                let (path, case) = self.asked(whose, &parameters)?;
                let reply = self.send(clinic, token, &path, whose, &case).await;
                if reply.status != due {
                    self.report.find(
                        FindingKind::LetBy,
                        &case,
                        format!("answered {}, and {due} was due", reply.status),
                    );
                }
                faces.entry(reply.fingerprint()).or_insert(case);
                *(if whose == Whose::Foreign { &mut self.report.foreign } else { &mut self.report.absent }) += 1;
            }
        }
        if faces.len() > 1 {
            let cases: Vec<&str> = faces.values().map(String::as_str).collect();
            let what = format!("{} different answers, the first of each: {}", faces.len(), cases.join("; "));
            let case = self.case("foreign and absent");
            self.report.find(FindingKind::Told, &case, what);
        }
        let unassigned = self.cast.parameters(self.actor, self.method, self.route, Whose::Unassigned).await;
        if unassigned.is_empty() && granted && !self.reaches_all() {
            return Err(self.nobody(Whose::Unassigned));
        }
        for parameters in unassigned {
            let (path, case) = self.asked(Whose::Unassigned, &parameters)?;
            let reply = self.send(clinic, token, &path, Whose::Unassigned, &case).await;
            self.report.unassigned += 1;
            self.report.reached += usize::from(reply.status.is_success());
            // Whoever may reach them is also told that what was sent does not fit what is there.
            let reached = reply.status.is_success() || reply.status == 409;
            if reached && !self.reaches_all() {
                let what = format!("answered {}, and the policy does not let the role reach everybody", reply.status);
                self.report.find(FindingKind::LetBy, &case, what);
            } else if !reached && !faces.contains_key(&reply.fingerprint()) {
                let what = format!("answered {}, and otherwise than nobody is", reply.status);
                self.report.find(FindingKind::Told, &case, what);
            }
        }
        Ok(())
    }

    /// Whether those of the other clinic are there for its own people: those who are not are nobody, and show nothing.
    async fn look_there(&mut self, foreign: &[Parameters]) -> Result<(), SweepError> {
        let Sweep { client, elsewhere, .. } = self.sweep;
        for parameters in foreign {
            let path = fill(self.route.path(), parameters)?;
            let reply = client.send(elsewhere, Some(&self.actor.elsewhere), self.method, &path, None).await;
            self.report.there += usize::from(reply.status.is_success());
        }
        Ok(())
    }

    /// One's own, with one parameter of somebody else's: where a path names several.
    fn mixed(&self, own: &Parameters, other: &Parameters) -> Vec<Parameters> {
        let named = |name: &str| self.route.path().split('/').any(|part| part == format!("{{{name}}}"));
        let places: Vec<usize> = (0..own.len()).filter(|at| named(own[*at].0)).collect();
        let swapped = places.iter().filter_map(|at| {
            let mut mixed = own.clone();
            mixed[*at].1.clone_from(&other.iter().find(|(name, _)| *name == own[*at].0)?.1);
            Some(mixed)
        });
        if places.len() > 1 { swapped.collect() } else { Vec::new() }
    }

    async fn each(&self, whose: Whose) -> Result<Vec<Parameters>, SweepError> {
        let all = self.cast.parameters(self.actor, self.method, self.route, whose).await;
        if all.is_empty() { Err(self.nobody(whose)) } else { Ok(all) }
    }

    fn nobody(&self, whose: Whose) -> SweepError {
        SweepError::Nobody { path: self.route.path().to_owned(), whose }
    }

    /// The path to ask for, and the case that it is.
    fn asked(&self, whose: Whose, parameters: &Parameters) -> Result<(String, String), SweepError> {
        Ok((fill(self.route.path(), parameters)?, self.case(&said(whose, parameters))))
    }
}

fn said(whose: Whose, parameters: &Parameters) -> String {
    let named: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{whose:?} {}", named.join(" "))
}

fn fill(path: &str, parameters: &Parameters) -> Result<String, SweepError> {
    let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        None => Ok(part.to_owned()),
        Some(name) => {
            let value = parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
            value.ok_or_else(|| SweepError::Parameter { path: path.to_owned(), name: name.to_owned() })
        }
    };
    let parts: Result<Vec<String>, SweepError> = path.split('/').map(part).collect();
    Ok(parts?.join("/"))
}
