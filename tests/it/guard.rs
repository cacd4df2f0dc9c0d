//! The guard and the router: what is reachable, by whom, and what refuses to be served at all.

use axum::http::Method;
use tower_ward::{
    access::{Grant, Policy, PolicyError},
    audit::{Action, Kind, LedgerOptions, Record},
    axum::{Json, Path, Query, Router},
    id::SubjectId,
    problem::Problem,
    stack::Visit,
};

use crate::support::{
    Bench, CANARY, Setup, get, model,
    model::{App, ListPatients, ReadNotes},
    of_kind, post, request, send,
};

tower_ward::permissions! { ReadStatus = "status.read"; }

#[tokio::test]
async fn a_route_of_best_effort_answers_while_the_ledger_cannot_write_and_no_other_does() {
    let policy = model::POLICY.replacen("[roles.owner]", "[roles.owner]\n    grants.\"status.read\" = \"clinic\"", 1);
    let ledger = LedgerOptions::new().with_segment_size(128 * 1024);
    let bench = Bench::with(Setup { policy, ledger, ..Setup::default() }).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let status = async |grant: Grant<ReadStatus>| {
        let _recorded = grant.clinic().await?;
        Ok::<_, Problem>("open")
    };
    let notes = async |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
        let _recorded = grant.subject(id).await?;
        Ok::<_, Problem>(CANARY)
    };
    let service = bench.serve(|router| {
        router.get_best_effort("/status", status).get("/required", status).get("/patients/{id}/chart", notes)
    });
    let notes = format!("/patients/{patient}/chart");
    for path in ["/status", "/required", &notes] {
        assert_eq!(get(&service, &owner, path).await.status, 200, "{path}");
    }
    let blocked = bench.block_ledger().await;
    for _ in 0..10_000 {
        if get(&service, &owner, &notes).await.status == 503 {
            break;
        }
    }
    get(&service, &owner, &notes).await.is_problem(503);
    get(&service, &owner, "/required").await.is_problem(503);
    for _ in 0..5 {
        let reply = get(&service, &owner, "/status").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "open"));
    }
    blocked.unblock(bench.ward.ledger()).await;
    let records = bench.records().await;
    let lost = |r: &&Record| r.kind() == Kind::Gap && r.entity() == Some("best effort");
    assert_eq!(records.iter().filter(lost).filter_map(Record::count).sum::<u64>(), 5);
}

const NOTES: &str = "/patients/00000000-0000-7000-8000-000000000000/notes";

// proves GLM-18
#[tokio::test]
async fn what_is_mounted_nowhere_is_404_for_everybody() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    for path in [
        "/",
        "/admin",
        "/patients/",
        "//patients",
        "/patients/../staff",
        "/PATIENTS",
        "/staff/x",
        "/healthz/",
        "/%73taff/",
        "/openapi.json",
    ] {
        let reply = get(&service, &owner, path).await;
        reply.is_problem(404);
        let anonymous = send(&service, request(Method::GET, None, path)).await;
        assert_eq!(anonymous.face(), reply.face(), "{path}");
    }
}

#[tokio::test]
async fn another_method_on_a_route_is_405_and_names_the_ones_that_are_there() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    for (path, allowed) in
        [("/staff", &["GET", "HEAD"][..]), ("/healthz", &["GET", "HEAD"]), ("/patients", &["GET", "HEAD", "POST"])]
    {
        for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::TRACE, Method::OPTIONS] {
            let reply = send(&service, request(method.clone(), Some(&owner), path)).await;
            reply.is_problem(405);
            let mut named: Vec<_> = reply.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
            named.sort_unstable();
            assert_eq!(named, allowed, "{method} {path}");
        }
    }
}

// proves GLM-17: what the policy does not grant is refused, whoever asks.
#[tokio::test]
async fn who_may_not_is_refused_and_the_refusal_is_recorded() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    for (name, role, path) in [
        ("a role that the policy does not know", "janitor", "/patients"),
        ("a role without any grant", "intern", "/patients"),
        ("a role whose name is a prefix of another", "own", "/patients"),
        ("a receptionist asks for notes", "receptionist", NOTES),
        ("a family member asks for the list", "family", "/patients"),
    ] {
        let user = bench.user(&bench.harbour, role).await;
        let (reply, records) = bench.records_of(get(&service, &user, path)).await;
        reply.is_problem(403);
        let [refused] = &records[..] else { panic!("{name}: {records:?}") };
        assert_eq!((refused.kind(), refused.action()), (Kind::Refused, Some(Action::Denied)), "{name}");
        assert_eq!(
            (refused.user(), refused.role(), refused.status()),
            (Some(user.id), Some(role), Some(403)),
            "{name}"
        );
        assert_eq!(refused.permission(), Some(if path == NOTES { "notes.read" } else { "patients.list" }), "{name}");
        assert_eq!(refused.route(), Some(if path == NOTES { "/patients/{id}/notes" } else { "/patients" }), "{name}");
    }
    let nobody = send(&service, request(Method::GET, None, NOTES)).await;
    nobody.is_problem(401);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
}

/// An extractor would answer 400, 404, 413 or 415, and so tell somebody who may not ask how to ask better.
#[tokio::test]
async fn the_guard_decides_before_any_extractor_reads_the_request() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        #[serde(rename = "q")]
        _q: String,
    }
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        router.get("/filtered", |_: Grant<ListPatients>, _: Query<Filter>| async { "" }).with_body_limit(1024)
    });
    let owner = bench.user(&bench.harbour, "owner").await;
    let desk = bench.user(&bench.harbour, "receptionist").await;
    let intern = bench.user(&bench.harbour, "intern").await;

    get(&service, &desk, "/patients/not-a-uuid/notes").await.is_problem(403);
    get(&service, &owner, "/patients/not-a-uuid/notes").await.is_problem(404);
    get(&service, &intern, "/filtered?x=1").await.is_problem(403);
    get(&service, &owner, "/filtered?x=1").await.is_problem(400);
    let huge = format!("\"{}\"", CANARY.repeat(100));
    for body in ["{", "[1]", &huge] {
        post(&service, &desk, NOTES, body).await.is_problem(403);
        let reply = post(&service, &owner, NOTES, body).await;
        reply.is_problem(if body == huge { 413 } else { 400 });
    }
    let mut untyped = request(Method::POST, Some(&desk), NOTES);
    *untyped.body_mut() = "\"text\"".into();
    send(&service, untyped).await.is_problem(403);
    let mut untyped = request(Method::POST, Some(&owner), NOTES);
    *untyped.body_mut() = "\"text\"".into();
    send(&service, untyped).await.is_problem(415);
}

#[tokio::test]
async fn head_asks_for_the_same_permission_as_get() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let path = format!("/patients/{patient}/notes");
    let desk = bench.user(&bench.harbour, "receptionist").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    assert_eq!(send(&service, request(Method::HEAD, Some(&desk), &path)).await.status, 403);
    let (reply, records) = bench.records_of(send(&service, request(Method::HEAD, Some(&owner), &path))).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    // The door was opened, so it stands there although no byte of the notes left.
    let opened = of_kind(&records, Kind::Opened);
    assert_eq!(opened.len(), 1, "{records:?}");
    assert_eq!(opened[0].subjects(), [patient]);
}

#[tokio::test]
#[should_panic(expected = "a public route needs a reason: say why `/open` needs no permission")]
async fn a_public_route_without_a_reason_is_not_mounted() {
    let bench = Bench::new().await;
    let _ = bench.router().public_get("/open", " ", || async { "oh" });
}

#[tokio::test]
async fn a_public_route_knows_who_asks_and_opens_nothing_for_it() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        let who = |visit: Visit| async move {
            format!("{:?} {}", visit.clinic().map(ToString::to_string), visit.principal().is_some())
        };
        router.public_get("/who", "says who asks", who)
    });
    let owner = bench.user(&bench.harbour, "owner").await;
    let (reply, records) = bench.records_of(get(&service, &owner, "/who")).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"Some("harbour") true"#));
    assert!(records.is_empty(), "no door, no record: {records:?}");
    assert_eq!(send(&service, request(Method::GET, None, "/who")).await.body, r#"Some("harbour") false"#);
}

#[tokio::test]
async fn a_policy_that_does_not_fit_the_routes_is_not_served() {
    mod twin {
        tower_ward::permissions! { pub ReadNotes = "notes.read"; }
    }
    async fn twin(_: Grant<twin::ReadNotes>) {}

    let served = |policy: &str| {
        let policy = format!("{}\n{policy}", model::POLICY);
        async move {
            let bench = Bench::with(Setup { policy, ..Setup::default() }).await;
            bench.router().with_state(bench.app()).into_service().map(drop)
        }
    };
    assert_eq!(served("").await, Ok(()));
    let above = served("[roles.desk]\nceiling = ['schedule']\ngrants.'notes.read' = 'own'").await;
    assert_eq!(
        above.map_err(|e| e.to_string()),
        Err("role `desk` is granted `notes.read`, which opens `clinical` data, but its ceiling does not list \
             `clinical`: take the grant away or raise the ceiling"
            .to_owned())
    );
    let misspelt = served("[roles.desk]\ngrants.'notes.raed' = 'own'").await;
    assert_eq!(
        misspelt.map_err(|e| e.to_string()),
        Err("role `desk` is granted `notes.raed`, which no route asks for: is it misspelt?".to_owned())
    );
    // A twin of a permission that opens less would lower the ceiling's guard.
    let bench = Bench::new().await;
    let twins = bench.router().get("/twin", twin).with_state(bench.app()).into_service();
    assert_eq!(twins.map(drop), Err(PolicyError::Twins("notes.read".to_owned())));
}

#[test]
fn a_policy_without_a_role_is_no_policy() {
    assert_eq!(Policy::from_toml("[roles]").map(drop), Err(PolicyError::Empty));
}

#[tokio::test]
async fn one_path_with_two_permissions_keeps_each_with_its_method() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let desk = bench.user(&bench.harbour, "receptionist").await;
    let family = bench.user(&bench.harbour, "family").await;
    assert_eq!(get(&service, &desk, "/patients").await.status, 200);
    assert_eq!(post(&service, &desk, "/patients", "\"Ada\"").await.status, 200);
    assert_eq!(get(&service, &family, "/patients").await.status, 403);
    assert_eq!(post(&service, &family, "/patients", "\"Ada\"").await.status, 403);
}

// proves GLM-16
#[tokio::test]
async fn the_matrix_shows_every_route_method_and_role() {
    let bench = Bench::new().await;
    let matrix = bench.router().matrix();
    let rows: Vec<Vec<&str>> = matrix.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[0],
        [
            "methods",
            "path",
            "permission",
            "doctor",
            "every_relation",
            "family",
            "intern",
            "owner",
            "patient",
            "receptionist"
        ]
    );
    assert!(matrix.contains("public: liveness, holds no data"), "{matrix}");
    let notes = rows.iter().find(|row| row[..3] == ["GET+HEAD", "/patients/{id}/notes", "notes.read"]).expect("a row");
    assert_eq!(notes[3..], ["assigned", "own+assigned+circle", "circle", "-", "clinic", "own", "-"]);
    assert_eq!(rows.len(), 1 + bench.router().routes().len());
}

#[tokio::test]
async fn the_openapi_document_names_permission_and_roles_of_each_route() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router.openapi_at("/openapi.json", "test", "1"));
    let reply = send(&service, request(Method::GET, None, "/openapi.json")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    reply.is_dressed();
    let document: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
    let operation = &document["paths"]["/patients/{id}/notes"]["get"];
    assert_eq!(operation["x-permission"], "notes.read");
    assert_eq!(operation["x-roles"]["doctor"], serde_json::json!(["assigned"]));
    assert!(operation["x-roles"].get("receptionist").is_none());
    let public = &document["paths"]["/healthz"]["get"];
    assert_eq!((&public["x-public"], &public["security"]), (&"liveness, holds no data".into(), &serde_json::json!([])));
}

#[tokio::test]
async fn handlers_of_every_arity_mount_and_get_their_arguments() {
    type Id = Path<SubjectId>;
    type S = axum::extract::State<App>;
    let bench = Bench::new().await;
    let service = bench.serve(|router: Router<App>| {
        router
            .get("/0", |_: Grant<ReadNotes>| async { "0" })
            .get("/1/{id}", |_: Grant<ReadNotes>, _: Id| async { "1" })
            .get("/2/{id}", |_: Grant<ReadNotes>, _: Id, _: S| async { "2" })
            .get("/3/{id}", |_: Grant<ReadNotes>, _: Id, _: S, _: Visit| async { "3" })
            .get("/4/{id}", |_: Grant<ReadNotes>, _: Id, _: S, _: Visit, _: Visit| async { "4" })
            .put(
                "/5/{id}",
                |_: Grant<ReadNotes>, _: Id, _: S, _: Visit, _: Visit, Json(text): Json<String>| async move { text },
            )
            .delete("/6/{id}", |_: Grant<ReadNotes>, _: Id| async { "6" })
            .patch("/7/{id}", |_: Grant<ReadNotes>, _: Id, body: String| async move { body })
    });
    let owner = bench.user(&bench.harbour, "owner").await;
    let id = SubjectId::generate(&bench.clock);
    assert_eq!(get(&service, &owner, "/0").await.body, "0");
    for n in ["1", "2", "3", "4"] {
        assert_eq!(get(&service, &owner, &format!("/{n}/{id}")).await.body, n);
    }
    for (method, n, body) in [(Method::PUT, 5, "\"five\""), (Method::DELETE, 6, ""), (Method::PATCH, 7, "seven")] {
        let mut request = request(method, Some(&owner), &format!("/{n}/{id}"));
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        *request.body_mut() = body.into();
        let reply = send(&service, request).await;
        assert_eq!(
            (reply.status, reply.body.trim_matches('"')),
            (200, if n == 6 { "6" } else { body.trim_matches('"') })
        );
    }
}
