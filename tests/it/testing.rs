//! What the library gives to the tests of applications, on leaks that are planted for it to find.

use std::{os::unix::process::CommandExt as _, process::Command};

use http::Method;
use serde_json::{Value, json};
use tower_ward::{
    access::{BoxFuture, Grant, Policy, Relations},
    axum::{Json, Operation, Path, Route, Router},
    id::SubjectId,
    problem::Problem,
    testing::{
        Actor, Canaries, Cast, Client, FindingKind, GoldenError, Parameters, PostgresServer, Report, ServerError,
        Sweep, SweepError, Whose, danger_without_scope, golden,
    },
};

use crate::support::{
    Bench, CANARY,
    model::{App, POLICY, ReadNotes, WriteNotes},
};

/// A patient and a user of each role in both clinics.
struct People {
    actors: Vec<Actor>,
    own: SubjectId,
    unassigned: SubjectId,
    foreign: Vec<SubjectId>,
    absent: Vec<SubjectId>,
    /// Whom the cast leaves out.
    without: Option<Whose>,
}

impl People {
    async fn of(bench: &Bench) -> Self {
        let (harbour, meadow) = (&bench.harbour, &bench.meadow);
        let own = bench.patient(harbour, "Ada", "fine").await;
        let unassigned = bench.patient(harbour, "Bob", "well").await;
        let foreign = vec![bench.patient(meadow, CANARY, CANARY).await, bench.patient(meadow, "Eve", CANARY).await];
        let absent = [8, 9].map(|byte| SubjectId::from_bytes([byte; 16])).to_vec();
        let mut actors = Vec::new();
        for role in Policy::from_toml(POLICY).unwrap().roles() {
            let here = bench.user_who_is(harbour, role, (role == "patient").then_some(own)).await;
            let there = bench.user_who_is(meadow, role, (role == "patient").then_some(foreign[0])).await;
            bench.relate(harbour, &here, own, Relations::ASSIGNED, None).await;
            bench.relate(harbour, &here, own, Relations::CIRCLE, None).await;
            actors.push(Actor::new(role, &here.token, &there.token));
        }
        Self { actors, own, unassigned, foreign, absent, without: None }
    }
}

impl Cast for People {
    fn actor<'a>(&'a self, role: &'a str) -> BoxFuture<'a, Option<Actor>> {
        Box::pin(async move { self.actors.iter().find(|actor| actor.role() == role).cloned() })
    }

    fn parameters<'a>(
        &'a self,
        actor: &'a Actor,
        _: &'a Method,
        _: &'a Route,
        whose: Whose,
    ) -> BoxFuture<'a, Vec<Parameters>> {
        let ids = match whose {
            _ if self.without == Some(whose) => vec![],
            Whose::Own => vec![self.own],
            Whose::Foreign => self.foreign.clone(),
            Whose::Absent => self.absent.clone(),
            _ if actor.role() == "owner" => vec![],
            _ => vec![self.unassigned],
        };
        Box::pin(
            async move { ids.into_iter().map(|id| vec![("id", id.to_string()), ("other", id.to_string())]).collect() },
        )
    }

    fn body<'a>(
        &'a self,
        _: &'a Actor,
        method: &'a Method,
        route: &'a Route,
        _: Whose,
        example: Option<Value>,
    ) -> BoxFuture<'a, Option<Value>> {
        let note = *method == Method::POST && route.path() == "/patients/{id}/notes";
        Box::pin(async move { if note { Some(json!("A note.")) } else { example } })
    }
}

/// The routes of the bench that each role of its policy may ask, and what is planted beside them.
fn sweep(bench: &Bench, more: impl Fn(Router<App>) -> Router<App>) -> Sweep {
    let routes = more(bench.router()).with_state(bench.app()).routes().to_vec();
    let routes = routes.into_iter().filter(|route| {
        route.path() != "/staff" && (route.path() != "/patients" || !route.methods().contains(&Method::POST))
    });
    let service = bench.serve(&more);
    Sweep::new(&bench.ward, service, routes.collect(), bench.harbour.clone(), bench.meadow.clone())
        .with_canaries(Canaries::new([CANARY]).unwrap())
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    let mut kinds: Vec<FindingKind> = report.findings().iter().map(|finding| finding.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

// proves GLM-12
#[tokio::test]
async fn a_sweep_of_what_tells_nothing_finds_nothing() {
    let bench = Bench::new().await;
    let people = People::of(&bench).await;
    let report = sweep(&bench, |router| router).run(&people).await.unwrap();
    println!("{report}");
    assert!(report.findings().is_empty(), "{report}");
    assert!(report.cases() >= 100 && report.served() >= 10 && report.there() >= 2, "{report}");
    assert_eq!(report.reached(), 0, "{report}");
}

#[tokio::test]
async fn each_kind_of_leak_is_found_where_it_is_planted() {
    let bench = Bench::new().await;
    let people = People::of(&bench).await;
    let foreign = people.foreign.clone();

    // Another refusal for who is somewhere than for who is nowhere.
    let there = foreign.clone();
    let told = sweep(&bench, |router| {
        let there = there.clone();
        router.get("/told/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            if there.contains(&id) {
                return Err(Problem::not_found().with_header(http::header::AGE, 1.into()));
            }
            let _ = grant.subject(id).await?;
            Ok(Json("here"))
        })
    });
    let report = told.run(&people).await.unwrap();
    assert_eq!(kinds(&report), [FindingKind::Told], "{report}");
    assert!(report.findings().iter().all(|finding| finding.case.contains("/told/{id}")), "{report}");

    // Somebody else's data, behind no door at all.
    let there = foreign.clone();
    let leaked = sweep(&bench, |router| {
        let there = there.clone();
        router.public_get("/leaked/{id}", "planted", move |Path(id): Path<SubjectId>| async move {
            if there.contains(&id) { Ok(Json(CANARY)) } else { Err(Problem::not_found()) }
        })
    });
    let report = leaked.run(&people).await.unwrap();
    assert!(kinds(&report).contains(&FindingKind::Leaked) && kinds(&report).contains(&FindingKind::LetBy), "{report}");
    assert!(!report.to_string().contains(CANARY), "a report repeats what leaked");

    // Everybody is served.
    let let_by = sweep(&bench, |router| {
        router.get("/let-by/{id}", |_: Grant<ReadNotes>, Path(_): Path<SubjectId>| async {
            Ok::<_, Problem>(Json("yes"))
        })
    });
    let report = let_by.run(&people).await.unwrap();
    assert_eq!(kinds(&report), [FindingKind::LetBy], "{report}");
    assert!(report.reached() > 0, "{report}");

    // A handler that forgets whom its role may reach: the clinic's own, and nobody else's.
    let here = vec![people.own, people.unassigned];
    let unrelated = sweep(&bench, |router| {
        let here = here.clone();
        router.get("/unrelated/{id}", move |_: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            if here.contains(&id) { Ok(Json("here")) } else { Err(Problem::not_found()) }
        })
    });
    let report = unrelated.run(&people).await.unwrap();
    assert_eq!(kinds(&report), [FindingKind::LetBy], "{report}");
    assert!(report.findings().iter().all(|finding| finding.case.contains("Unassigned")), "{report}");

    // A header that says who was asked for.
    let header = sweep(&bench, |router| {
        router.get("/header", |_: Grant<ReadNotes>| async { Ok::<_, Problem>(([("x-file", CANARY)], "")) })
    });
    let report = header.run(&people).await.unwrap();
    assert_eq!(kinds(&report), [FindingKind::Leaked], "{report}");

    // One of one's own, and whatever else the path names.
    let there = foreign.clone();
    let mixed = sweep(&bench, |router| {
        let there = there.clone();
        let handler = move |grant: Grant<ReadNotes>, Path((id, other)): Path<(SubjectId, SubjectId)>| async move {
            let _ = grant.subject(id).await?;
            if there.contains(&other) { Err(Problem::conflict()) } else { Ok(Json("here")) }
        };
        router.get("/mixed/{id}/of/{other}", handler)
    });
    let report = mixed.run(&people).await.unwrap();
    assert_eq!(kinds(&report), [FindingKind::Told, FindingKind::LetBy], "{report}");

    // What nobody is served.
    let unserved = sweep(&bench, |router| {
        router.post("/unserved/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            let _ = grant.subject(id).await?;
            Err::<Json<()>, _>(Problem::not_found())
        })
    });
    let report = unserved.run(&people).await.unwrap();
    assert_eq!(kinds(&report), [FindingKind::Unserved], "{report}");

    // A handler that refuses what the policy grants.
    let refused = sweep(&bench, |router| {
        router.get("/refused", |_: Grant<ReadNotes>| async { Err::<Json<()>, _>(Problem::forbidden()) })
    });
    let report = refused.run(&people).await.unwrap();
    assert_eq!(kinds(&report), [FindingKind::Policy, FindingKind::Unserved], "{report}");

    // A token that is taken for another clinic's and is not.
    let mut mistaken = People::of(&bench).await;
    for actor in &mut mistaken.actors {
        *actor = Actor::new(actor.role(), actor.token(), actor.token());
    }
    let report = sweep(&bench, |router| router).run(&mistaken).await.unwrap();
    assert!(kinds(&report).contains(&FindingKind::Token), "{report}");

    // A schema that does not say what the handler takes; and one that does.
    let body = |schema: Value| {
        let about = move |router: Router<App>| {
            let handler = |grant: Grant<WriteNotes>, Path(id): Path<SubjectId>, Json(text): Json<String>| async move {
                let _ = grant.subject(id).await?;
                Ok::<_, Problem>(Json(text))
            };
            router.post("/body/{id}", handler).about(Operation::new("Planted.").with_request(schema.clone()))
        };
        sweep(&bench, about)
    };
    let report = body(json!({ "type": "integer" })).run(&people).await.unwrap();
    assert!(kinds(&report).contains(&FindingKind::Body), "{report}");
    let report = body(json!({ "type": "string" })).run(&people).await.unwrap();
    assert!(report.findings().is_empty(), "{report}");
}

#[tokio::test]
async fn a_sweep_that_leaves_somebody_out_is_an_error_and_no_report() {
    let bench = Bench::new().await;
    let mut people = People::of(&bench).await;
    let all = sweep(&bench, |router| router);
    for whose in [Whose::Own, Whose::Foreign, Whose::Absent, Whose::Unassigned] {
        people.without = Some(whose);
        let error = all.run(&people).await.unwrap_err();
        assert_eq!(error, SweepError::Nobody { path: "/patients/{id}/notes".to_owned(), whose });
    }
    people.without = None;
    let other = sweep(&bench, |router| {
        router.get("/rooms/{room}", |_: Grant<ReadNotes>, Path(_): Path<String>| async { Ok::<_, Problem>(Json(())) })
    });
    let error = other.run(&people).await.unwrap_err();
    assert_eq!(error, SweepError::Parameter { path: "/rooms/{room}".to_owned(), name: "room".to_owned() });
    people.actors.retain(|actor| actor.role() != "intern");
    assert_eq!(all.run(&people).await.unwrap_err(), SweepError::Role("intern".to_owned()));
}

#[tokio::test]
async fn without_scope_every_role_may_do_what_any_may() {
    let policy = Policy::from_toml(POLICY).unwrap();
    let open = danger_without_scope(&policy);
    for role in policy.roles() {
        assert_eq!(open.relations(role, "notes.read"), Relations::CLINIC, "{role}");
        assert_eq!(open.relations(role, "nobody.has.this"), Relations::NONE, "{role}");
    }
    assert_eq!(open.relations("janitor", "notes.read"), Relations::NONE);
    // The one that it was made of is as it was.
    assert_eq!(policy.relations("intern", "notes.read"), Relations::NONE);
}

#[tokio::test]
async fn what_is_no_request_is_answered_as_by_a_server() {
    let bench = Bench::new().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let client = Client::new(&bench.ward, bench.serve(|router| router));
    for (token, path) in [("with a\nline", "/patients"), (owner.token.as_str(), "no path")] {
        let reply = client.send(&bench.harbour, Some(token), &Method::GET, path, None).await;
        assert_eq!(reply.status, 400);
    }
    let reply = client.send(&bench.harbour, Some(&owner.token), &Method::GET, "/patients", None).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!([])));
}

#[test]
fn a_golden_file_that_is_not_there_is_never_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (path, new) = (folder.path().join("matrix.txt"), folder.path().join("matrix.txt.new"));
    for text in ["", "GET /notes doctor\n"] {
        let error = golden(&path, text).unwrap_err();
        assert!(matches!(error, GoldenError::Differs { .. }) && error.to_string().contains("mv "), "{error}");
        assert_eq!(std::fs::read_to_string(&new).unwrap(), text);
    }
    std::fs::rename(&new, &path).unwrap();
    golden(&path, "GET /notes doctor\n").unwrap();
    let error = golden(&path, "GET /notes doctor owner\n").unwrap_err().to_string();
    assert!(error.contains("- GET /notes doctor\n+ GET /notes doctor owner\n"), "{error}");
    // What was put aside goes once it is the same again.
    golden(&path, "GET /notes doctor\n").unwrap();
    assert!(!new.exists());
}

/// Set in the process that the next test starts.
const AS_USER: &str = "TOWER_WARD_TEST_AS_USER";

/// Whoever runs the tests, root among them, gets a server; and a user who is not root does, without one more right.
#[tokio::test]
async fn a_server_starts_for_root_and_for_a_user() {
    let server = PostgresServer::start(&["fsync=off"]).unwrap();
    server.sql("postgres", "postgres", "create role app login; create table t (n int)").await.unwrap();
    assert!(server.sql("app", "postgres", "select * from t").await.is_err());
    // What takes no wall away is not taken for what did.
    let nothing = server.danger_without_row_security("postgres", "nowhere").await;
    assert!(matches!(nothing, Err(ServerError::NoTable(schema)) if schema == "nowhere"));
    server.down().unwrap();
    assert!(server.sql("postgres", "postgres", "select 1").await.is_err());
    server.up().unwrap();
    let kept = tempfile::tempdir().unwrap();
    server.save(&kept.path().join("data")).unwrap();
    let again = PostgresServer::start_from(&kept.path().join("data"), &[]).unwrap();
    again.sql("postgres", "postgres", "select * from t").await.unwrap();
    let folder = again.folder().to_owned();
    drop(again);
    assert!(!folder.exists());
    let Err(error) = PostgresServer::start(&["no_such_setting=1"]) else { panic!("a setting that is none was taken") };
    assert!(error.to_string().contains("no_such_setting"), "{error}");

    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    if std::env::var_os(AS_USER).is_some() || !root {
        assert!(!root, "the user is root still");
        return;
    }
    // Where a user who is not root can read it.
    let program = tempfile::Builder::new().prefix("ward-ut").tempdir_in("/tmp").unwrap();
    let copy = program.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let nobody = 65_534;
    std::os::unix::fs::chown(program.path(), Some(nobody), Some(nobody)).unwrap();
    let output = Command::new(&copy)
        .args(["testing::a_server_starts_for_root_and_for_a_user", "--exact", "--nocapture"])
        .env(AS_USER, "1")
        .env("TMPDIR", program.path())
        .current_dir(program.path())
        .uid(nobody)
        .gid(nobody)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What serves is built without it.
#[test]
fn the_feature_is_asked_for_by_tests_alone() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let clinic = std::fs::read_to_string(root.join("examples/clinic/Cargo.toml")).unwrap();
    let (serves, tests) = clinic.split_once("[dev-dependencies]").unwrap();
    assert!(!serves.contains("\"testing\"") && tests.contains("\"testing\""));
    let library = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let features = library.split_once("[features]").unwrap().1.split_once("[dependencies]").unwrap().0;
    let asks = features.lines().filter(|line| line.contains("\"testing\"")).count();
    assert_eq!(asks, 0, "a feature brings `testing` in");
    // The benchmarks start a server with it, so whoever builds the whole workspace builds it too; the clinic is built by itself.
    let members = library.lines().find(|line| line.starts_with("members")).unwrap();
    assert_eq!(members, r#"members = [".", "benches", "examples/clinic"]"#, "a new member: does it serve?");
}
