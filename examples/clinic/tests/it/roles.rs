//! Who may do what, over the wire: the golden matrix is the witness, not the policy.

use std::{collections::BTreeSet, time::Duration};

use clinic::seed::Seed;
use http::Method;
use serde_json::{Value, json};
use tower_ward::{id::TenantId, identity::NewAccount};
use uuid::Uuid;

use crate::{harness::*, matrix};

/// A body that the route takes, for routes that name nobody too.
async fn body_for(method: &Method, path: &str, id: Uuid, owner: &Client) -> Option<Value> {
    match (method, path) {
        (&Method::POST, "/api/patients") => {
            Some(json!({ "given": "Nova", "family": "Test", "birth_date": "1990-02-03", "sex": "other" }))
        }
        (&Method::PATCH, "/api/patients/{id}") => {
            let version = owner.get(&format!("/api/patients/{id}")).await.json()["version"].clone();
            Some(json!({ "version": version, "phone": "07700 900002" }))
        }
        (&Method::PATCH, "/api/patients/{id}/summary") => {
            let version = owner.get(&format!("/api/patients/{id}/summary")).await.json()["version"].clone();
            Some(json!({ "version": version, "conditions": [] }))
        }
        (&Method::PATCH, "/api/employees/{id}/payroll") => {
            let version = owner.get(&format!("/api/employees/{id}/payroll")).await.json()["version"].clone();
            Some(json!({ "version": version, "account_number": "00000002" }))
        }
        (&Method::PATCH, "/api/patients/{id}/appointments") => {
            let entry = appointment(owner, id).await;
            Some(json!({ "id": entry["id"], "version": entry["version"], "reason": "Check-up." }))
        }
        (&Method::POST, "/api/patients/{id}/appointments") => {
            let mut new = valid_body(method, path).unwrap();
            new["clinician"] = json!(owner.user_id().await);
            Some(new)
        }
        (
            &Method::PATCH,
            "/api/patients/{id}/quotes"
            | "/api/patients/{id}/invoices"
            | "/api/employees/{id}/absences"
            | "/api/incidents",
        ) => {
            let path_of = path.replace("{id}", &id.to_string());
            let made = owner.post(&path_of, &valid_body(&Method::POST, path).unwrap()).await.expect(201).json();
            let mut patch = valid_body(method, path).unwrap();
            patch["id"] = made["id"].clone();
            Some(patch)
        }
        _ => valid_body(method, path),
    }
}

/// A patient whom nobody misses.
async fn newcomer(owner: &Client) -> Uuid {
    let new = body_for(&Method::POST, "/api/patients", Uuid::nil(), owner).await;
    let created = owner.post("/api/patients", &new.unwrap()).await;
    created.expect(201).json()["id"].as_str().unwrap().parse().unwrap()
}

// proves GLM-16: every cell of the golden matrix, from outside.
#[tokio::test]
async fn every_role_may_do_what_the_matrix_says_and_nothing_else() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let doctor = site.login(HOME, "doctor").await.user_id().await;
    let staff = owner.get("/api/staff").await.json();
    let employee: Uuid =
        staff["items"].as_array().unwrap().iter().find_map(|s| s["employee"].as_str()).unwrap().parse().unwrap();
    let (mut allowed, mut refused) = (0, 0);
    for role in ROLES {
        let user = site.users(HOME, role).next().unwrap();
        let reach = site.reach(HOME, user);
        let (me, brief) = (site.login_as(HOME, user).await, site.login_as(HOME, user).await);
        for row in matrix::golden() {
            let Some((_, cell)) = row.cells.iter().find(|(r, _)| r == role) else { continue };
            for method in &row.methods {
                // One of the routes ends the session.
                let me = if row.path == "/api/logout" { &brief } else { &me };
                // Staff are employees, and see what is theirs.
                let themself = user.subject.filter(|_| role != "patient").unwrap_or(employee);
                let id = if row.path.starts_with("/api/employees") { themself } else { *reach.first().unwrap() };
                let id = if row.permission == "patients.erase" { newcomer(&owner).await } else { id };
                let circle = row.path.contains("/circle/{user}") && cell != "-";
                let user = if circle { joined(&site, &owner, id).await } else { doctor };
                if row.path.contains("/assignments/{user}") && *method == Method::DELETE && cell != "-" {
                    me.send(Method::PUT, &fill(&row.path, id, doctor), None).await.expect(204);
                }
                let body = body_for(method, &row.path, id, &owner).await;
                let path = attached(&owner, &row.path, id).await;
                let reply = me.send(method.clone(), &fill(&path, id, user), body.as_ref()).await;
                let what = format!("{role} {method} {} ({}): {reply:?}", row.path, row.permission);
                if cell == "-" {
                    assert_eq!(reply.status, 403, "{what}");
                    refused += 1;
                } else {
                    assert!(reply.status.is_success(), "{what}");
                    allowed += 1;
                }
            }
        }
    }
    assert!(allowed > 80 && refused > 80, "{allowed} allowed, {refused} refused");
}

// proves CLA-22: the first half; that a handler which opens a note does not compile is shown elsewhere.
#[tokio::test]
async fn the_front_desk_sees_the_diary_and_nothing_clinical() {
    let site = Site::start().await;
    let desk = site.login(HOME, "receptionist").await;
    let id = site.patient("harbour-patient-001");
    for kind in ["summary", "notes", "prescriptions", "results", "encounters", "timeline"] {
        for method in [Method::GET, Method::HEAD] {
            desk.send(method, &format!("/api/patients/{id}/{kind}"), None).await.expect(403);
        }
    }
    for (kind, body) in
        [("notes", json!({ "text": "x" })), ("prescriptions", json!({ "drug": "x", "dose": "x", "instructions": "x" }))]
    {
        desk.post(&format!("/api/patients/{id}/{kind}"), &body).await.expect_problem(403, &[]);
    }

    let diary = desk.get("/api/appointments").await;
    diary.expect(200);
    let entries = diary.json();
    let entries = entries["items"].as_array().unwrap();
    assert!(!entries.is_empty());
    let keys = [
        "clinician",
        "family",
        "given",
        "id",
        "minutes",
        "patient",
        "reason",
        "starts_at",
        "status",
        "test",
        "version",
    ];
    for entry in entries {
        assert_eq!(entry.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
    }
    let patient = desk.get(&format!("/api/patients/{id}")).await;
    patient.expect(200);
    let list = desk.get("/api/patients?limit=100").await;
    for clinic in data().clinics.iter().filter(|c| c.tenant == HOME) {
        for clinical in clinic
            .patients
            .iter()
            .flat_map(|p| p.conditions.iter().map(|c| &c.display).chain(&p.allergies))
            .chain(clinic.prescriptions.iter().map(|p| &p.drug))
            .chain(clinic.notes.iter().map(|n| &n.text))
            .chain(clinic.encounters.iter().map(|e| &e.reason).filter(|reason| reason.len() > 12))
        {
            let line = clinical.lines().next().unwrap();
            assert!(![&diary, &patient, &list].iter().any(|reply| reply.holds(line)), "{line}");
        }
    }
}

// proves CCA-15, and ASVS V8.3.2: no token is renewed between assignment, its end, and their effect.
#[tokio::test]
async fn an_assignment_and_its_end_count_from_the_very_next_request() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    for role in ["doctor", "caregiver"] {
        let user = site.users(HOME, role).next().unwrap();
        let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
        let id = *site.clinic(HOME).patients.iter().find(|id| !reach.contains(id)).unwrap();
        let assignment = format!("/api/patients/{id}/assignments/{}", me.user_id().await);
        let notes = format!("/api/patients/{id}/notes");
        let today = site.ward.clock().now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let diary = format!("/api/appointments?from={today}&to={}", today.saturating_add(jiff::Span::new().days(30)));
        let in_diary = async || me.get(&diary).await.holds(&id.to_string());
        for _ in 0..2 {
            me.get(&notes).await.expect(404);
            assert!(!me.list(100, "").await.contains(&id) && !in_diary().await, "{role}");
            me.post(&notes, &json!({ "text": "x" })).await.expect(404);

            owner.send(Method::PUT, &assignment, None).await.expect(204);
            me.get(&notes).await.expect(200);
            assert!(me.list(100, "").await.contains(&id), "{role}");
            me.post(&notes, &json!({ "text": "Seen today." })).await.expect(201);
            // Assigned twice is assigned.
            owner.send(Method::PUT, &assignment, None).await.expect(204);

            owner.send(Method::DELETE, &assignment, None).await.expect(204);
        }
        me.get(&notes).await.expect(404);
        owner.send(Method::DELETE, &assignment, None).await.expect(404);
        assert_eq!(me.list(100, "").await, reach.into_iter().collect::<Vec<_>>());
    }
}

/// Somebody new of a role, logged in.
async fn hired(site: &Site, role: &'static str) -> Client {
    let (username, password) = (format!("new-{}", role.replace('_', "-")), "a password of their own");
    let (jobs, identity) = (site.ward.jobs().unwrap(), site.ward.identity().clone());
    let envelope = jobs.danger_issue_for_clinic::<Seed>(TenantId::new(HOME).unwrap(), PATIENCE).unwrap();
    let account = NewAccount::new(&username, password.into(), role);
    let made = jobs.run::<Seed, _, _, _>(&envelope, |grant| async move {
        grant.clinic().await.unwrap().accounts(&identity).create(account).await.unwrap()
    });
    made.await.unwrap();
    let mut client = site.guest(HOME);
    let reply = client.try_login(&username, password).await;
    reply.expect(200);
    client.use_tokens(&reply);
    client
}

// proves CCA-17, with the test above, in which an assignment counts from the next request. That no route is served which asks for
// no permission does not compile otherwise.
#[tokio::test]
async fn a_new_account_sees_nobody() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let patients = site.clinic(HOME).patients.clone();
    for role in ["doctor", "caregiver", "family_member", "patient"] {
        let me = hired(&site, role).await;
        let (mut refused, mut empty) = (0, 0);
        for row in matrix::golden() {
            let Some((_, cell)) = row.cells.iter().find(|(r, _)| r == role) else { continue };
            // What is the whole clinic's is nobody's: its staff, say.
            if !row.methods.contains(&Method::GET) || cell == "clinic" || row.permission == "account.read" {
                continue;
            }
            let people: &[Uuid] = if row.path.contains("{id}") { &patients[..5] } else { &[Uuid::nil()] };
            for id in people {
                let path = fill(&attached(&owner, &row.path, id).await, id, Uuid::nil());
                let reply = me.get(&path).await;
                if row.path.contains("{id}") || cell == "-" {
                    reply.expect_problem(if cell == "-" { 403 } else { 404 }, &[]);
                    refused += 1;
                } else {
                    assert_eq!(reply.expect(200).json()["items"], json!([]), "{role} {path}");
                    empty += 1;
                }
            }
        }
        assert!(refused > 20 && empty > 0, "{role}: {refused} refused, {empty} empty");
    }
}

// proves GLM-17
#[tokio::test]
async fn a_patient_reads_their_own_record_and_nobody_elses() {
    let site = Site::start().await;
    let [one, two] = site.users(HOME, "patient").collect::<Vec<_>>()[..] else { panic!("two patients can log in") };
    let (id, other) = (one.subject.unwrap(), two.subject.unwrap());
    let me = site.login_as(HOME, one).await;
    for kind in ["", "/summary", "/notes", "/prescriptions", "/results", "/encounters", "/timeline"] {
        me.get(&format!("/api/patients/{id}{kind}")).await.expect(200);
        for foreign in [other, site.clinic(AWAY).patients[0], absent(id)] {
            me.get(&format!("/api/patients/{foreign}{kind}")).await.expect_problem(404, &[&foreign.to_string()]);
        }
    }
    assert_eq!(me.list(100, "").await, [id]);
    me.post(&format!("/api/patients/{id}/notes"), &json!({ "text": "x" })).await.expect(403);
    me.send(Method::PATCH, &format!("/api/patients/{id}"), Some(&json!({ "version": 1 }))).await.expect(403);
}

#[tokio::test]
async fn a_relative_sees_the_circles_that_invited_them_and_nothing_clinical() {
    let site = Site::start().await;
    for user in site.users(HOME, "family_member").take(3) {
        let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
        assert_eq!(me.list(100, "").await, reach.iter().copied().collect::<Vec<_>>(), "{}", user.username);
        for id in &site.clinic(HOME).patients {
            let expected = if reach.contains(id) { 200 } else { 404 };
            me.get(&format!("/api/patients/{id}")).await.expect(expected);
            for kind in ["summary", "notes", "prescriptions", "results", "encounters"] {
                me.get(&format!("/api/patients/{id}/{kind}")).await.expect(403);
            }
        }
    }
}

// proves CLA-20
#[tokio::test]
async fn the_owner_sees_who_opened_a_record_and_is_seen_seeing_it() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
    let id = *reach.first().unwrap();
    let owner = site.login(HOME, "owner").await;
    let timeline = format!("/api/patients/{id}/timeline?limit=100");
    let before = owner.get(&timeline).await;
    before.expect(200);
    let last = |page: &Value| page["items"][0]["sequence"].as_u64().unwrap_or(0);
    let since = last(&before.json());

    doctor.get(&format!("/api/patients/{id}/notes")).await.expect(200);
    doctor.post(&format!("/api/patients/{id}/notes"), &json!({ "text": "Timeline." })).await.expect(201);
    doctor.get("/api/patients").await.expect(200);
    let caregiver = site.users(HOME, "caregiver").find(|user| !site.reach(HOME, user).contains(&id)).unwrap();
    let stranger = site.login_as(HOME, caregiver).await;
    stranger.get(&format!("/api/patients/{id}/notes")).await.expect(404);
    // The front desk is refused, and that is no opening of this record.
    site.login(HOME, "receptionist").await.get(&timeline).await.expect_problem(403, &[&id.to_string()]);

    // Nobody waits for the record of a refusal or of an outcome, so it may come a moment after the answer.
    let mut looks_made = 1;
    let mut seen = before.clone();
    for _ in 0..100 {
        seen = owner.get(&timeline).await;
        looks_made += 1;
        if seen.expect(200).holds("no_relation") && seen.holds("committed") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!seen.holds("Timeline."));
    let seen = seen.json();
    let entries: Vec<&Value> =
        seen["items"].as_array().unwrap().iter().rev().filter(|e| e["sequence"].as_u64() > Some(since)).collect();
    assert!(entries.windows(2).all(|w| w[0]["sequence"].as_u64() < w[1]["sequence"].as_u64()), "out of order");
    let me = json!(doctor.user_id().await);
    let mine: Vec<(&str, &str)> = entries
        .iter()
        .filter(|e| e["user"] == me && e["kind"] == "opened")
        .map(|e| (e["permission"].as_str().unwrap(), e["action"].as_str().unwrap()))
        .collect();
    assert_eq!(mine, [("notes.read", "read"), ("notes.write", "read"), ("patients.list", "search")], "{entries:#?}");
    assert!(
        entries.iter().any(|e| e["user"] == me && e["action"] == "create" && e["entity"] == "notes"),
        "{entries:#?}"
    );
    assert!(entries.iter().any(|e| e["outcome"] == "committed"), "{entries:#?}");
    assert!(entries.iter().any(|e| e["reason"] == "no_relation" && e["role"] == "caregiver"), "{entries:#?}");
    // The owner's looks are in it too.
    let looks = |page: &Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["permission"] == "timeline.read" && e["role"] == "owner")
            .count()
    };
    // Whether a look sees itself depends on how fast the disk is; that the next one sees it does not.
    let next = looks(&owner.get(&timeline).await.json());
    assert!(next == looks_made || next == looks_made + 1, "{next} of {looks_made} looks are recorded");

    // Page by page one comes to the first, and meets each entry once.
    let (mut met, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = owner.get(&format!("/api/patients/{id}/timeline?limit=3{cursor}")).await.json();
        met.extend(page["items"].as_array().unwrap().iter().map(|e| e["sequence"].as_u64().unwrap()));
        let Some(next) = page.get("next") else { break };
        cursor = format!("&cursor={}", next.as_str().unwrap());
    }
    assert!(met.windows(2).all(|w| w[0] > w[1]) && met.contains(&since), "{met:?}");
    for query in ["limit=0", "limit=101", "cursor=x", "cursor=01", "cursor=-1", "cursor=", "from=1"] {
        owner.get(&format!("/api/patients/{id}/timeline?{query}")).await.expect_problem(400, &[]);
    }
}

#[tokio::test]
async fn head_opens_the_same_doors_as_get_and_is_recorded_alike() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let path = format!("/api/patients/{id}/notes");
    let get = doctor.get(&path).await;
    let head = doctor.send(Method::HEAD, &path, None).await;
    head.expect(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), get.body.len().to_string());
    let stranger = *site.clinic(HOME).patients.iter().find(|p| !site.reach(HOME, user).contains(p)).unwrap();
    doctor.send(Method::HEAD, &format!("/api/patients/{stranger}/notes"), None).await.expect(404);
    site.login(HOME, "receptionist").await.send(Method::HEAD, &path, None).await.expect(403);

    let request = head.header("x-request-id").to_owned();
    let dir = site.stop().await;
    let records = records(&dir.path().join("ledger"));
    let opened = records.iter().filter(|r| r["request"] == request.as_str() && r["permission"] == "notes.read").count();
    assert_eq!(opened, 1, "{:#?}", &records[records.len() - 5..]);
}

// proves GLM-19, and CCA-19 for the routes by which a clinic is run: assignments, payroll, erasure, the ledger and its holds
#[tokio::test]
async fn every_route_that_opens_data_leaves_a_record_and_so_does_every_refusal() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let doctor_user = site.users(HOME, "doctor").next().unwrap();
    let doctor = site.login_as(HOME, doctor_user).await;
    let id = *site.reach(HOME, doctor_user).first().unwrap();
    let staff = owner.get("/api/staff").await.json();
    let employee: Uuid =
        staff["items"].as_array().unwrap().iter().find_map(|s| s["employee"].as_str()).unwrap().parse().unwrap();
    let someone = site.login(HOME, "family_member").await;
    let (mut opened, mut refused) = (Vec::new(), Vec::new());
    for row in matrix::golden().into_iter().filter(|row| !row.cells.is_empty()) {
        let granted = |role: &str| row.cells.iter().any(|(r, cell)| r == role && cell != "-");
        let me = if granted("owner") { &owner } else { &doctor };
        let subject = match row.permission.as_str() {
            _ if row.path.starts_with("/api/employees") => employee,
            "patients.erase" => newcomer(&owner).await,
            _ => id,
        };
        let circle = row.path.contains("/circle/{user}");
        let user = if circle { joined(&site, &owner, subject).await } else { doctor.user_id().await };
        let path = fill(&attached(&owner, &row.path, subject).await, subject, user);
        for method in &row.methods {
            // These two open nobody's data.
            if row.path != "/api/logout" && row.path != "/api/me" {
                let body = body_for(method, &row.path, subject, &owner).await;
                let reply = me.send(method.clone(), &path, body.as_ref()).await;
                assert!(reply.status.is_success(), "{method} {path}: {reply:?}");
                opened.push((reply.header("x-request-id").to_owned(), row.permission.clone(), method.clone()));
            }
            if !granted("family_member") {
                let reply = someone.send(method.clone(), &path, None).await;
                reply.expect(403);
                refused.push((reply.header("x-request-id").to_owned(), row.permission.clone(), method.clone()));
            }
        }
    }
    let dir = site.stop().await;
    let records = records(&dir.path().join("ledger"));
    let permissions: BTreeSet<&str> = records.iter().filter_map(|r| r["permission"].as_str()).collect();
    assert!(permissions.len() > 12, "{permissions:?}");
    let has = |request: &str, permission: &str, kinds: &[&str]| {
        records.iter().any(|r| {
            r["request"] == request && r["permission"] == permission && kinds.contains(&r["kind"].as_str().unwrap())
        })
    };
    for (request, permission, method) in &opened {
        assert!(has(request, permission, &["opened"]), "{method} {permission} left no record");
    }
    for (request, permission, method) in &refused {
        assert!(has(request, permission, &["refused"]), "the refusal of {method} {permission} left no record");
    }
    tower_ward::audit::verify(&dir.path().join("ledger")).unwrap();
}
