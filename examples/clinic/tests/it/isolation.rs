//! Attacks on the walls between clinics and between patients: everything that is not one's own is the same 404.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

/// The employees of a clinic: people too, but nobody's patients.
async fn employees(site: &Site, tenant: &str) -> Vec<Uuid> {
    let staff = site.login(tenant, "owner").await.get("/api/staff").await;
    staff.expect(200);
    let ids =
        staff.json()["items"].as_array().unwrap().iter().filter_map(|s| s["employee"].as_str()?.parse().ok()).collect();
    assert!(!Vec::is_empty(&ids));
    ids
}

/// Who is nobody to this user: the name of the case, and the id.
fn strangers(site: &Site, role: &str, reach: &BTreeSet<Uuid>) -> Vec<(&'static str, Uuid)> {
    let home = &site.clinic(HOME).patients;
    let (away, far) = (site.clinic(AWAY).patients[0], site.clinic(FAR).patients[3]);
    let mut strangers =
        vec![("foreign", away), ("foreign too", far), ("absent", absent(home[0])), ("absent too", absent(away))];
    let unassigned: Vec<Uuid> = home.iter().copied().filter(|id| !reach.contains(id)).collect();
    let clinic_wide = ["receptionist", "owner", "clinic_admin"].contains(&role);
    assert_eq!(unassigned.is_empty(), clinic_wide, "{role}");
    strangers.extend(unassigned.into_iter().take(2).map(|id| ("unassigned", id)));
    strangers
}

// proves GLM-12, GLM-17, GLM-18, CLA-11, CLA-23, CCA-28: with `files`, which moves ciphertext about.
#[tokio::test]
async fn a_foreign_an_absent_and_an_unassigned_patient_are_one_404_on_every_route() {
    let site = Site::start().await;
    let foreign_employee = employees(&site, AWAY).await[0];
    let doctor = site.login(HOME, "doctor").await.user_id().await;
    let mut compared = 0;
    for role in ROLES {
        let user = site.users(HOME, role).next().unwrap();
        let me = site.login_as(HOME, user).await;
        let mut ids = strangers(&site, role, &site.reach(HOME, user));
        ids.push(("foreign employee", foreign_employee));
        for (method, path, permission) in site.routes_with_a_person() {
            let expected = if site.grants(role, &permission) { 404 } else { 403 };
            let body = valid_body(&method, &path);
            let mut first: Option<String> = None;
            for (name, id) in &ids {
                let reply = me.send(method.clone(), &fill(&path, id, doctor), body.as_ref()).await;
                assert_eq!(reply.status.as_u16(), expected, "{role} {method} {path} {name}");
                let seen = reply.fingerprint();
                let first = first.get_or_insert_with(|| seen.clone());
                assert_eq!(*first, seen, "{role} {method} {path} {name}");
                compared += 1;
            }
        }
    }
    assert!(compared > 400, "only {compared} requests were compared");
}

// proves GLM-12
#[tokio::test]
async fn a_malformed_id_is_the_same_404_as_an_absent_one() {
    let site = Site::start().await;
    let own = site.clinic(HOME).patients[0];
    let simple = own.simple().to_string();
    let malformed = [
        "0".to_owned(),
        "x".to_owned(),
        "me".to_owned(),
        "*".to_owned(),
        own.to_string().to_uppercase(),
        format!("%7B{own}%7D"),
        format!("urn:uuid:{own}"),
        format!("{own}%20"),
        format!("%20{own}"),
        format!("{own}%00"),
        format!("{own}0"),
        own.to_string()[..35].to_owned(),
        simple,
        format!("..%2f{own}"),
        format!("{own}'%20or%20'1'='1"),
        "%FF%FE".to_owned(),
        Uuid::nil().to_string(),
        Uuid::max().to_string(),
        "a".repeat(4000),
    ];
    for role in ["doctor", "owner", "patient"] {
        let me = site.login(HOME, role).await;
        let doctor = site.login(HOME, "doctor").await.user_id().await;
        for (method, path, permission) in site.routes_with_a_person() {
            if !site.grants(role, &permission) {
                continue;
            }
            let body = valid_body(&method, &path);
            let absent = me.send(method.clone(), &fill(&path, absent(own), doctor), body.as_ref()).await;
            absent.expect(404);
            for id in &malformed {
                let reply = me.send(method.clone(), &fill(&path, id, doctor), body.as_ref()).await;
                assert_eq!(reply.fingerprint(), absent.fingerprint(), "{role} {method} {path} {id}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_body_is_refused_alike_for_ones_own_patient_and_for_anybody_elses() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
    let mut ids = strangers(&site, "doctor", &reach);
    ids.push(("own", *reach.first().unwrap()));
    let wrong = [
        ("POST", "notes", json!({ "text": "" })),
        ("POST", "notes", json!({ "txt": "a" })),
        ("POST", "prescriptions", json!({ "drug": "a\nb", "dose": "1", "instructions": "i" })),
        ("PATCH", "", json!({ "version": 1, "given": "" })),
        ("PATCH", "", json!({ "version": "one" })),
        ("PATCH", "", json!({ "version": 1 })),
        ("PATCH", "", json!({ "version": 1, "nhs_number": "9990000019" })),
        ("PATCH", "summary", json!({ "version": 1 })),
        ("PATCH", "summary", json!({ "version": 1, "allergies": null })),
    ];
    for (method, kind, body) in wrong {
        let mut seen = BTreeSet::new();
        for (_, id) in &ids {
            let path = format!("/api/patients/{id}/{kind}");
            let reply = me.send(method.parse().unwrap(), path.trim_end_matches('/'), Some(&body)).await;
            reply.expect(400);
            seen.insert(reply.fingerprint());
        }
        assert_eq!(seen.len(), 1, "{method} {kind} {body}");
    }
}

// proves GLM-17, GLM-18
#[tokio::test]
async fn lists_pages_and_searches_hold_nobody_but_ones_own() {
    let site = Site::start().await;
    let patients = site.patients();
    let names: BTreeMap<Uuid, (String, String)> = data()
        .clinics
        .into_iter()
        .flat_map(|c| c.patients)
        .map(|p| (patients[&p.id], (p.given.to_lowercase(), p.family.to_lowercase())))
        .collect();
    let words: BTreeSet<&String> = names.values().flat_map(|(given, family)| [given, family]).collect();
    for role in ROLES {
        let user = site.users(HOME, role).next().unwrap();
        let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
        assert!(!reach.is_empty(), "{role} reaches nobody: this shows nothing");
        let all: Vec<Uuid> = reach.iter().copied().collect();
        for limit in [1, 7, 100] {
            assert_eq!(me.list(limit, "").await, all, "{role}, {limit} a page");
        }
        // Nothing but the page: no total, and no further page when nobody of one's own is left.
        let page = me.get("/api/patients?limit=100").await.json();
        assert_eq!(page.as_object().unwrap().keys().collect::<Vec<_>>(), ["items"], "{role}");

        let nobody = me.get("/api/patients?q=nobodycalledthis").await;
        nobody.expect(200);
        for word in words.iter().step_by(5) {
            let want: Vec<Uuid> =
                all.iter().copied().filter(|id| [&names[id].0, &names[id].1].contains(word)).collect();
            let q = format!("q={}", encode(word));
            assert_eq!(me.list(3, &format!("&{q}")).await, want, "{role} looks for {word}");
            if want.is_empty() {
                let reply = me.get(&format!("/api/patients?{q}")).await;
                assert_eq!(reply.fingerprint(), nobody.fingerprint(), "{role} looks for {word}");
            }
        }
    }
}

fn encode(word: &str) -> String {
    word.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

// proves GLM-12
#[tokio::test]
async fn a_cursor_of_another_clinic_leads_to_nobody_elses_page_and_says_nothing() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
    let unassigned = site.clinic(HOME).patients.iter().copied().filter(|id| !reach.contains(id));
    let foreign = site.clinic(AWAY).patients.iter().copied();
    for id in unassigned.chain(foreign).step_by(4) {
        let there = me.get(&format!("/api/patients?cursor={id}")).await;
        there.expect(200);
        for item in there.json()["items"].as_array().unwrap() {
            assert!(reach.contains(&item["id"].as_str().unwrap().parse().unwrap()));
        }
        // The neighbour of an id is nobody's, and sorts to the same place.
        let nobody = me.get(&format!("/api/patients?cursor={}", absent(id))).await;
        assert_eq!(there.fingerprint(), nobody.fingerprint());
    }
    for malformed in ["", "x", "1%20or%201=1", &Uuid::nil().simple().to_string()] {
        me.get(&format!("/api/patients?cursor={malformed}")).await.expect_problem(400, &["or 1=1"]);
    }
}

// proves GLM-12
#[tokio::test]
async fn a_cursor_from_another_chart_leads_no_further_than_ones_own() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
    let own = *reach.first().unwrap();
    let unassigned = *site.clinic(HOME).patients.iter().find(|id| !reach.contains(id)).unwrap();
    let foreign = site.clinic(AWAY).patients[0];
    let (here, there) = (site.login(HOME, "owner").await, site.login(AWAY, "owner").await);
    for kind in ["notes", "prescriptions", "results", "encounters", "messages"] {
        let path = |id| format!("/api/patients/{id}/{kind}");
        let whole = me.get(&format!("{}?limit=100", path(own))).await;
        whole.expect(200);
        let whole = whole.json()["items"].as_array().unwrap().clone();
        // Page by page it is the same, each entry once.
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = me.get(&format!("{}?limit=3{cursor}", path(own))).await.json();
            paged.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page.get("next") else { break };
            cursor = format!("&cursor={}", next.as_str().unwrap());
        }
        assert_eq!(paged, whole, "{kind}");
        for (client, id) in [(&here, unassigned), (&there, foreign)] {
            let page = client.get(&format!("{}?limit=1", path(id))).await;
            page.expect(200);
            let Some(next) = page.json().get("next").map(|next| next.as_str().unwrap().to_owned()) else { continue };
            let seen = me.get(&format!("{}?limit=100&cursor={next}", path(own))).await;
            seen.expect(200);
            let seen = seen.json()["items"].as_array().unwrap().clone();
            assert!(whole.ends_with(&seen), "{kind}: entries that are not this patient's");
        }
        for malformed in ["x", "1", "1.x", "1.2.3", "-1.", ".", "1.00000000000000000000000000000000", "%27"] {
            me.get(&format!("{}?cursor={malformed}", path(own))).await.expect_problem(400, &[]);
        }
        // One place has one spelling.
        for malformed in [format!("%2B1.{own}"), format!("01.{own}"), format!("1.{}", own.to_string().to_uppercase())] {
            me.get(&format!("{}?cursor={malformed}", path(own))).await.expect_problem(400, &[]);
        }
    }
}

// proves CLA-11, GLM-17
#[tokio::test]
async fn the_diary_shows_ones_own_patients_alone() {
    let site = Site::start().await;
    let today = site.ward.clock().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |days: i32| today.checked_add(jiff::Span::new().days(days)).unwrap();
    let path = format!("/api/appointments?from={}&to={}&limit=100", day(-15), day(15));
    let whole = site.login(HOME, "owner").await.get(&path).await;
    whole.expect(200);
    let whole: Vec<Value> = whole.json()["items"].as_array().unwrap().clone();
    let patient = |a: &Value| a["patient"].as_str().unwrap().parse::<Uuid>().unwrap();
    let home: BTreeSet<Uuid> = site.clinic(HOME).patients.iter().copied().collect();
    assert!(whole.len() > 20 && whole.iter().all(|a| home.contains(&patient(a))), "{}", whole.len());
    let mut shorter = 0;
    for role in ROLES {
        for user in site.users(HOME, role).take(2) {
            let (me, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
            let want: Vec<&Value> = whole.iter().filter(|a| reach.contains(&patient(a))).collect();
            let seen = me.get(&path).await;
            seen.expect(200);
            assert_eq!(seen.json()["items"].as_array().unwrap().iter().collect::<Vec<_>>(), want, "{}", user.username);
            shorter += usize::from(want.len() < whole.len() && !want.is_empty());
        }
    }
    assert!(shorter >= 4, "too few users have an appointment to see");
}

// proves CLA-14, CLM-17
#[tokio::test]
async fn a_token_of_one_clinic_at_anothers_host_is_refused_on_every_route() {
    let site = Site::start().await;
    let own = site.clinic(HOME).patients[0];
    let foreign = site.clinic(AWAY).patients[0];
    let owner = site.login(HOME, "owner").await;
    let there = site.guest(AWAY).with_token(owner.token.as_deref());
    let mut first: Option<String> = None;
    for route in site.router().routes() {
        for method in route.methods().iter().filter(|m| **m != Method::HEAD) {
            for id in [own, foreign] {
                let body = valid_body(method, route.path());
                let reply = there.send(method.clone(), &fill(route.path(), id, own), body.as_ref()).await;
                assert_eq!(reply.status, 403, "{method} {}", route.path());
                let seen = reply.fingerprint();
                assert_eq!(*first.get_or_insert_with(|| seen.clone()), seen, "{method} {}", route.path());
            }
        }
    }
    // The platform's host is no clinic either.
    site.at("localhost").with_token(owner.token.as_deref()).get("/api/me").await.expect_problem(403, &[]);
    owner.get("/api/me").await.expect(200);
}

// proves CLM-17
#[tokio::test]
async fn no_header_names_a_clinic() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let (own, foreign) = (site.clinic(HOME).patients[0], site.clinic(AWAY).patients[0]);
    let away = &site.clinic(AWAY).host;
    let plain = owner.get("/api/patients").await;
    plain.expect(200);
    for (name, value) in [
        ("x-forwarded-host", away.as_str()),
        ("x-host", away),
        ("x-original-host", away),
        ("forwarded", "host=meadow.localhost;proto=https"),
        ("x-tenant", AWAY),
        ("x-tenant-id", AWAY),
        ("x-clinic-id", AWAY),
        ("x-original-url", "/api/openapi.json"),
        ("x-rewrite-url", "/api/openapi.json"),
        ("x-http-method-override", "DELETE"),
        ("cookie", "tenant=meadow; clinic=meadow"),
    ] {
        let ask = |path: &str| owner.request(Method::GET, path).header(name, value);
        let seen = owner.exchange(ask("/api/patients"), "").await;
        assert_eq!(seen.fingerprint(), plain.fingerprint(), "{name}");
        owner.exchange(ask(&format!("/api/patients/{foreign}")), "").await.expect(404);
        owner.exchange(ask(&format!("/api/patients/{own}")), "").await.expect(200);
    }
    // Nor does the query or the body.
    owner.get("/api/patients?tenant=meadow").await.expect_problem(400, &[AWAY]);
    let login = json!({ "username": "a", "password": "b", "tenant": AWAY });
    site.guest(HOME).post("/api/login", &login).await.expect_problem(400, &[AWAY]);
}

#[tokio::test]
async fn an_employee_is_nobodys_patient() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    let doctor = site.login(HOME, "doctor").await.user_id().await;
    let employee = employees(&site, HOME).await[0];
    let patient = site.clinic(HOME).patients[0];
    for (method, path, permission) in site.routes_with_a_person() {
        if !site.grants("owner", &permission) {
            continue;
        }
        // The other kind of person: an employee where a patient is asked for, and the other way round.
        let id = if path.starts_with("/api/employees") { patient } else { employee };
        let body = valid_body(&method, &path);
        let reply = owner.send(method.clone(), &fill(&path, id, doctor), body.as_ref()).await;
        let absent = owner.send(method.clone(), &fill(&path, absent(id), doctor), body.as_ref()).await;
        assert_eq!(reply.fingerprint(), absent.fingerprint(), "{method} {path}");
        absent.expect(404);
    }
}

#[tokio::test]
async fn a_patient_is_assigned_to_the_clinics_own_staff_alone() {
    let site = Site::start().await;
    let admin = site.login(HOME, "clinic_admin").await;
    let patient = site.clinic(HOME).patients[0];
    let away = site.login(AWAY, "doctor").await.user_id().await;
    let relative = site.login(HOME, "family_member").await.user_id().await;
    for (name, user) in [("another clinic's", away), ("nobody", absent(away)), ("a relative", relative)] {
        for method in [Method::PUT, Method::DELETE] {
            let reply = admin.send(method.clone(), &format!("/api/patients/{patient}/assignments/{user}"), None).await;
            assert_eq!(reply.status, 404, "{method} {name}");
        }
    }
}
