//! The clinic on PostgreSQL with the planted routes, and requests that it serves.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Mutex,
    time::Duration,
};

use axum::body::Body;
use clinic::{
    api, app,
    serve::{self, Limits, Listener},
};
use http::{HeaderValue, Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tower::ServiceExt as _;
use tower_ward::{
    clock::{Clock as _, SystemClock},
    stack::{ConnInfo, WardService},
    testing::Canaries,
};

use super::{
    document::{self, Operation, Place, Sample},
    planted::{PLANTED, SEEN, WELL, planted},
    runner::{Answer, Target},
    served::Served,
};
use crate::{
    harness::{AWAY, DemoFolder, FAR, HOME, Place as Server, args, canaries, demo_folder_on_postgres},
    sweep,
};

/// What the attacks are aimed at.
pub(super) struct Stage {
    service: WardService<axum::Router>,
    place: Server,
    document: Value,
    foreign: Canaries,
    known: Known,
    /// By role, with the time at which they were given.
    tokens: Mutex<HashMap<String, (Instant, String)>>,
    /// Of what patches change, by the place and the row.
    versions: Mutex<HashMap<String, Value>>,
    /// Values for the query that are looked up once.
    queries: Mutex<HashMap<String, String>>,
    dir: DemoFolder,
}

/// What the requests name.
#[derive(Debug, Default)]
struct Known {
    /// Read from, and written to, so that what is written does not stand in what is read.
    read: String,
    written: String,
    gone: String,
    employee: String,
    attachment: String,
    clinician: String,
    rows: BTreeMap<&'static str, String>,
}

impl Stage {
    pub(super) async fn start() -> Self {
        let dir = demo_folder_on_postgres().await;
        let mut args = args(dir.path());
        args.plain_http = true;
        let server = app::start(&args, |_| ()).await.unwrap();
        let router = planted(api::routes(&server.ward, server.app.clone()), &server.app.data);
        let document = router.openapi("Clinic", "1");
        let (service, place) = (router.into_service().unwrap(), Server::of(dir.path()));
        let ids = [AWAY, FAR].into_iter().flat_map(|tenant| &place.clinic(tenant).patients).map(ToString::to_string);
        let foreign = canaries(sweep::foreign_texts().chain(ids));
        let mut stage = Self {
            service,
            place,
            document,
            foreign,
            known: Known::default(),
            tokens: Mutex::default(),
            versions: Mutex::default(),
            queries: Mutex::default(),
            dir,
        };
        stage.known = stage.learn().await;
        stage
    }

    pub(super) fn place(&self) -> &Server {
        &self.place
    }

    /// The clinic's own operations with a place for a text: those that read first, for what is written meanwhile stands in
    /// lists. The last one destroys whom it names.
    pub(super) fn operations(&self) -> Vec<Operation> {
        let mut all = document::operations(&self.document);
        all.retain(|operation| !operation.path.starts_with(PLANTED) && !operation.places.is_empty());
        all.sort_by_key(|operation| (operation.method != Method::GET, operation.method == Method::DELETE));
        all
    }

    /// The hole.
    pub(super) fn hole(&self) -> Operation {
        let all = document::operations(&self.document);
        all.into_iter().find(|operation| operation.path == PLANTED).unwrap()
    }

    /// As whom an operation is asked for: the owner if they may.
    pub(super) fn role(operation: &Operation) -> Option<String> {
        let roles = operation.said["x-roles"].as_object()?;
        let first = ["owner", "doctor"].into_iter().find(|role| roles.contains_key(*role));
        Some(first.map_or_else(|| roles.keys().next().unwrap().clone(), str::to_owned))
    }

    /// A token that is good for some minutes yet.
    pub(super) async fn token(&self, role: &str) -> String {
        const FRESH: Duration = Duration::from_secs(300);
        let kept = self.tokens.lock().unwrap().get(role).filter(|(since, _)| since.elapsed() < FRESH).cloned();
        if let Some((_, token)) = kept {
            return token;
        }
        let token = self.login(role).await["access_token"].as_str().unwrap().to_owned();
        self.tokens.lock().unwrap().insert(role.to_owned(), (Instant::now(), token.clone()));
        token
    }

    async fn login(&self, role: &str) -> Value {
        let user = self.place.users(HOME, role).next().unwrap();
        let body = json!({ "username": user.username, "password": user.password });
        self.raw(None, &Method::POST, "/api/login", &[], Some(&body)).await.unwrap().json(200)
    }

    /// One request, past the network.
    async fn raw(
        &self,
        role: Option<&str>,
        method: &Method,
        target: &str,
        headers: &[(String, String)],
        body: Option<&Value>,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(target);
        request = request.header(header::HOST, format!("{HOME}.localhost"));
        for (name, value) in headers {
            request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
        }
        if let Some(role) = role {
            let token = Box::pin(self.token(role)).await;
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let peer = ConnInfo::new(SocketAddr::from(([127, 0, 0, 1], 40_000)), None);
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.extension(peer).body(body).ok()?;
        let began = Instant::now();
        let (parts, body) = self.service.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Some(Answer { status: parts.status.as_u16(), body, took: began.elapsed() })
    }

    async fn ask(&self, role: &str, method: Method, target: &str, body: Option<Value>) -> Answer {
        self.raw(Some(role), &method, target, &[], body.as_ref()).await.unwrap()
    }

    /// Finds and makes what the requests name.
    async fn learn(&self) -> Known {
        let doctor = self.place.users(HOME, "doctor").next().unwrap();
        let reach = self.place.reach(HOME, doctor);
        let (read, written) = (reach.first().unwrap().to_string(), reach.last().unwrap().to_string());
        assert_ne!(read, written, "the doctor has two patients");
        let staff = self.ask("owner", Method::GET, "/api/staff", None).await.json(200);
        let employee = staff["items"].as_array().unwrap().iter().find_map(|one| one["employee"].as_str()).unwrap();
        let attached = format!("/api/patients/{read}/attachments?limit=1");
        let attached = self.ask("owner", Method::GET, &attached, None).await.json(200);
        let clinician = self.ask("doctor", Method::GET, "/api/me", None).await.json(200);
        let new = json!({ "given": "Nova", "family": "Test", "birth_date": "1990-02-03", "sex": "other" });
        let gone = self.ask("owner", Method::POST, "/api/patients", Some(new)).await.json(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut known = Known {
            gone: text(&gone["id"]),
            employee: employee.to_owned(),
            attachment: text(&attached["items"][0]["id"]),
            clinician: text(&clinician["user"]),
            rows: BTreeMap::new(),
            read,
            written,
        };
        let lines = json!({ "lines": [{ "text": "Certificate", "quantity": 1, "unit_price_pence": 100 }] });
        let patient = format!("/api/patients/{}", known.written);
        let hired = format!("/api/employees/{}", known.employee);
        let booked = json!({ "clinician": known.clinician, "starts_at": soon(1), "minutes": 20, "reason": "Review" });
        let away = json!({ "first_day": "2026-02-03", "last_day": "2026-02-04", "kind": "holiday" });
        let wet = json!({ "kind": "safety", "title": "Wet floor", "text": "Nobody fell." });
        for (kind, target, body) in [
            ("quotes", format!("{patient}/quotes"), lines.clone()),
            ("invoices", format!("{patient}/invoices"), lines),
            ("appointments", format!("{patient}/appointments"), booked),
            ("absences", format!("{hired}/absences"), away),
            ("incidents", "/api/incidents".to_owned(), wet),
        ] {
            let made = self.ask("owner", Method::POST, &target, Some(body)).await.json(201);
            known.rows.insert(kind, text(&made["id"]));
        }
        for (role, target) in
            [("owner", patient.clone()), ("owner", format!("{patient}/summary")), ("owner", format!("{hired}/payroll"))]
        {
            let now = self.ask(role, Method::GET, &target, None).await.json(200);
            self.versions.lock().unwrap().insert(target, now["version"].clone());
        }
        known
    }

    /// Invites somebody to a circle, and gives the token.
    async fn invitation(&self) -> String {
        let target = format!("/api/patients/{}/circle/invitations", self.known.written);
        let body = json!({ "email": EMAIL });
        let made = self.ask("owner", Method::POST, &target, Some(body)).await.json(201);
        made["token"].as_str().unwrap().to_owned()
    }

    /// What a place takes, by the operation and the place's name: `{name}` in the path, `?name` in the query.
    fn value(&self, operation: &Operation, name: &str) -> Option<Value> {
        let Known { read, written, gone, employee, attachment, clinician, rows } = &self.known;
        let path = operation.path.as_str();
        let last = path.rsplit('/').next().unwrap();
        Some(match name {
            "{id}" if path.starts_with("/api/employees") => json!(employee),
            "{id}" if operation.method == Method::DELETE && last == "{id}" => json!(gone),
            "{id}" if operation.method == Method::GET => json!(read),
            "{id}" => json!(written),
            "{user}" => json!(clinician),
            "{attachment}" => json!(attachment),
            // So that what the requests themselves leave there does not change the first page.
            "?order" if path == "/api/ledger" => json!("oldest"),
            "?id" if path == PLANTED => json!(read),
            _ if name.starts_with('?') => return None,
            "id" => json!(rows.get(last)?),
            "version" => {
                let at = self.subject(operation);
                self.versions.lock().unwrap().get(&at).cloned().unwrap_or(json!(1))
            }
            "quote" => json!(rows["quotes"]),
            "birth_date" => json!("1990-02-03"),
            "sex" => json!("other"),
            "phone" => json!("07700 900001"),
            "email" => json!(EMAIL),
            "nhs_number" => json!("9434765919"),
            "clinician" => json!(clinician),
            "starts_at" => json!(soon(2)),
            "until" => json!(soon(1)),
            "minutes" => json!(20),
            "last_day" => json!("2026-02-04"),
            "expires" => json!("2027-02-03"),
            "media_type" => json!("text/plain"),
            "content" => json!("QSBsZXR0ZXIu"),
            "system" => json!("snomed"),
            "sort_code" => json!("000001"),
            "account_number" => json!("00000001"),
            "flag" => json!("normal"),
            "status" if last == "appointments" => json!("booked"),
            "status" if last == "absences" => json!("requested"),
            "status" => json!("open"),
            "kind" if last == "absences" => json!("holiday"),
            "kind" if last == "encounters" => json!("ambulatory"),
            "kind" if last == "incidents" => json!("safety"),
            "username" => Value::Null,
            "password" => json!("a password of their own"),
            _ => return None,
        })
    }

    /// What an operation changes.
    fn subject(&self, operation: &Operation) -> String {
        let last = operation.path.rsplit('/').next().unwrap();
        let filled = match self.known.rows.get(last) {
            Some(row) => return row.clone(),
            None => self.value(operation, "{id}"),
        };
        operation.path.replace("{id}", filled.as_ref().and_then(Value::as_str).unwrap_or_default())
    }

    /// A value for a parameter of the query: for a cursor the one that the first page gives.
    async fn query(&self, operation: &Operation, name: &str) -> String {
        let key = format!("{operation}?{name}");
        if let Some(value) = self.queries.lock().unwrap().get(&key) {
            return value.clone();
        }
        let value = match name {
            "cursor" => {
                let mut first = self.plain(operation);
                first.query.push(("limit".to_owned(), "1".to_owned()));
                let page = self.send(operation, &first).await.map(|page| page.json(200));
                page.and_then(|page| page["next"].as_str().map(str::to_owned)).unwrap_or_else(|| "1".to_owned())
            }
            "from" | "to" if operation.path == "/api/appointments" => soon(1)[..10].to_owned(),
            "from" => "2026-01-01T00:00:00Z".to_owned(),
            "until" => soon(1),
            "action" => "read".to_owned(),
            "kind" => "door".to_owned(),
            "outcome" => "committed".to_owned(),
            "order" => "oldest".to_owned(),
            "id" => self.known.read.clone(),
            "subject" | "user" | "about" | "session" | "trail" | "attempt" => uuid::Uuid::nil().to_string(),
            _ => "word".to_owned(),
        };
        self.queries.lock().unwrap().insert(key, value.clone());
        value
    }

    fn plain(&self, operation: &Operation) -> Sample {
        operation.sample(&|name| self.value(operation, name))
    }

    /// Answers on a loopback port in the clear, until the task is dropped; what it answered is counted.
    pub(super) async fn serve(&self) -> (SocketAddr, Served) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, served) = (socket.local_addr().unwrap(), Served::default());
        let (service, counted) = (self.service.clone(), served.clone());
        let counting = tower::service_fn(move |request: Request<serve::RequestBody>| {
            let (service, counted) = (service.clone(), counted.clone());
            async move {
                let asked = format!("{} {}", request.method(), request.uri());
                let response = service.oneshot(request).await?;
                counted.count(&asked, response.status());
                Ok(response)
            }
        });
        let extension = |facts: serve::ConnFacts| ConnInfo::new(facts.peer, None);
        let listener = Listener::plain(socket).unwrap();
        tokio::spawn(async move {
            let _ = serve::serve(listener, counting, extension, Limits::default(), std::future::pending()).await;
        });
        (address, served)
    }

    /// Every row of every table, as a number for each clinic's part of it.
    pub(super) async fn census(&self, whose: &str) -> BTreeMap<String, String> {
        let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&self.dir.url("postgres")).await.unwrap();
        let tables = "select table_name::text from information_schema.columns
            where table_schema = 'public' and column_name = 'tenant' order by 1";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut conn).await.unwrap();
        let mut found = BTreeMap::new();
        for table in tables {
            let text = format!(
                "select count(*) || ' ' || coalesce(md5(string_agg(t::text, ' ' order by t::text)), '') from \"{table}\" t where {whose}"
            );
            let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(&mut conn).await.unwrap();
            found.insert(table, rows);
        }
        found
    }
}

/// An address to invite.
const EMAIL: &str = "relative@example.org";

/// In so many days.
fn soon(days: u64) -> String {
    (SystemClock::new().now() + Duration::from_secs(days * 86_400 + 3_600)).to_string()
}

impl Answer {
    #[track_caller]
    pub(super) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Target for Stage {
    async fn valid(&self, operation: &Operation, place: Option<&Place>) -> Sample {
        let mut sample = self.plain(operation);
        let set = |sample: &mut Sample, name: &str, value: Value| sample.body.as_mut().unwrap()[name] = value;
        match (operation.path.as_str(), operation.method.as_str()) {
            ("/api/login", _) => {
                // Whoever is tried too often is locked out, so they are nobody who is needed.
                let user = self.place.users(HOME, "caregiver").last().unwrap();
                set(&mut sample, "username", json!(user.username));
                set(&mut sample, "password", json!(user.password));
            }
            ("/api/refresh", _) if place.is_none() => {
                let token = self.login("owner").await["refresh_token"].clone();
                set(&mut sample, "refresh_token", token);
            }
            ("/api/circle/join", _) => set(&mut sample, "token", json!(self.invitation().await)),
            ("/api/patients/{id}/assignments/{user}", "DELETE") if place.is_none() => {
                let target = sample.target(&operation.path, "");
                assert_eq!(self.ask("owner", Method::PUT, &target, None).await.status, 204);
            }
            ("/api/patients/{id}/circle/{user}", "DELETE") if place.is_none() => {
                let body =
                    json!({ "token": self.invitation().await, "email": EMAIL, "password": "a password of their own" });
                let joined = self.raw(None, &Method::POST, "/api/circle/join", &[], Some(&body)).await.unwrap();
                let user = joined.json(201)["user"].as_str().unwrap().to_owned();
                sample = sample.with(&Place::Path("user".to_owned()), &user);
            }
            _ => {}
        }
        if let Some(Place::Query(name)) = place {
            let value = self.query(operation, name).await;
            sample = sample.with(&Place::Query(name.clone()), &value);
        }
        sample
    }

    async fn send(&self, operation: &Operation, request: &Sample) -> Option<Answer> {
        let role = Self::role(operation);
        let target = request.target(&operation.path, "");
        let ask = || self.raw(role.as_deref(), &operation.method, &target, &request.headers, request.body.as_ref());
        let mut answer = ask().await?;
        while operation.method == Method::GET && answer.status == 429 {
            // Nobody reads the ledger twice at a time.
            tokio::time::sleep(Duration::from_millis(10)).await;
            answer = ask().await?;
        }
        if operation.method == Method::PATCH && answer.status == 200 {
            let version = answer.json(200)["version"].clone();
            self.versions.lock().unwrap().insert(self.subject(operation), version);
        }
        Some(answer)
    }

    fn foreign(&self, body: &[u8]) -> Option<String> {
        self.foreign.found_in(body).map(str::to_owned)
    }

    async fn watch(&self) -> Option<String> {
        let seen = self.ask("owner", Method::GET, SEEN, None).await;
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        (text != WELL).then_some(text)
    }
}
