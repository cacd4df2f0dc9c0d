//! Family circles: who is invited, joins once, and leaves.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

const EMAIL: &str = "Niece.canary+3c3c@example.org";
const PASSWORD: &str = "a password that is long enough";

fn invitations(patient: Uuid) -> String {
    format!("/api/patients/{patient}/circle/invitations")
}

async fn invite(client: &Client, patient: Uuid) -> String {
    let made = client.post(&invitations(patient), &json!({ "email": EMAIL })).await.expect(201).json();
    made["token"].as_str().unwrap().to_owned()
}

async fn join(guest: &Client, token: &str, email: &str) -> Reply {
    guest.post("/api/circle/join", &json!({ "token": token, "email": email, "password": PASSWORD })).await
}

async fn relative(site: &Site, joined: &Value) -> Client {
    let mut client = site.guest(HOME);
    let login = client.try_login(joined["username"].as_str().unwrap(), PASSWORD).await;
    login.expect(200);
    client.use_tokens(&login);
    client
}

#[tokio::test]
async fn who_is_invited_joins_once_and_is_out_from_the_very_next_request() {
    let site = Site::start().await;
    let user = site.users(HOME, "patient").next().unwrap();
    let (me, id) = (site.login_as(HOME, user).await, user.subject.unwrap());
    let token = invite(&me, id).await;
    // The address is the patient's to see, and the token nobody's any more.
    let listed = me.get(&format!("{}?limit=1", invitations(id))).await;
    assert!(listed.expect(200).holds("niece.canary+3c3c@example.org") && !listed.holds(&token[10..]));
    assert_eq!(
        (&listed.json()["items"][0]["used_at"], &listed.json()["items"][0]["user"]),
        (&Value::Null, &Value::Null)
    );

    let guest = site.guest(HOME);
    let joined = join(&guest, &token, &EMAIL.to_uppercase()).await.expect(201).json();
    assert!(!joined["username"].as_str().unwrap().contains("niece"));
    let niece = relative(&site, &joined).await;
    assert_eq!(niece.get("/api/me").await.json()["role"], "family_member");
    assert_eq!(niece.list(100, "").await, [id]);
    niece.get(&format!("/api/patients/{id}/notes")).await.expect(403);
    assert_eq!(me.get(&format!("{}?limit=1", invitations(id))).await.json()["items"][0]["user"], joined["user"]);
    join(&guest, &token, EMAIL).await.expect(404);

    // With the account that they have by now, and the password to it, they join another circle.
    let other = *site.clinic(HOME).patients.iter().find(|other| **other != id).unwrap();
    let desk = site.login(HOME, "receptionist").await;
    let with = |token: &str, password: &str| json!({ "token": token, "email": EMAIL, "username": joined["username"], "password": password });
    let wrong = with(&invite(&desk, other).await, "a password that is not theirs");
    guest.post("/api/circle/join", &wrong).await.expect(404);
    let token = invite(&desk, other).await;
    let staff = site.users(HOME, "doctor").next().unwrap();
    let as_staff = json!({ "token": invite(&desk, other).await, "email": EMAIL, "username": staff.username, "password": staff.password });
    guest.post("/api/circle/join", &as_staff).await.expect(404);
    let again = guest.post("/api/circle/join", &with(&token, PASSWORD)).await.expect(201).json();
    assert_eq!(again, joined);
    assert_eq!(niece.list(100, "").await.len(), 2);

    let place = format!("/api/patients/{id}/circle/{}", joined["user"].as_str().unwrap());
    site.login(HOME, "doctor").await.send(Method::DELETE, &place, None).await.expect(403);
    me.send(Method::DELETE, &place, None).await.expect(204);
    assert_eq!(niece.list(100, "").await, [other]);
    niece.get(&format!("/api/patients/{id}")).await.expect(404);
    me.send(Method::DELETE, &place, None).await.expect(404);

    // The address stands nowhere in clear, nor does a token.
    let dir = site.stop().await;
    let needles = canaries(["niece.canary".to_owned(), "canary+3c3c".to_owned(), token[10..].to_owned()]);
    for file in files(dir.path()) {
        assert_eq!(
            read(&file).and_then(|bytes| needles.found_in(&bytes).map(str::to_owned)),
            None,
            "{}",
            file.display()
        );
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_an_invitation_is_one_refusal() {
    let site = Site::start().await;
    let user = site.users(HOME, "patient").next().unwrap();
    let (me, id) = (site.login_as(HOME, user).await, user.subject.unwrap());
    let (guest, away) = (site.guest(HOME), site.guest(AWAY));
    let unknown = join(&guest, "twj1.e30.AAAA", EMAIL).await;
    unknown.expect_problem(404, &["twj1", "niece"]);
    let spent = invite(&me, id).await;
    join(&guest, &spent, EMAIL).await.expect(201);
    let tried = invite(&me, id).await;
    let mut changed = invite(&me, id).await;
    changed.pop();
    let foreign = invite(&me, id).await;
    let now = site.ward.clock().now();
    let soon = json!({ "email": EMAIL, "until": (now + jiff::SignedDuration::from_millis(1_500)).to_string() });
    let brief = me.post(&invitations(id), &soon).await.expect(201).json()["token"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    for (name, reply) in [
        ("used", join(&guest, &spent, EMAIL).await),
        ("another address", join(&guest, &tried, "nephew@example.org").await),
        ("used up by another address", join(&guest, &tried, EMAIL).await),
        ("changed", join(&guest, &changed, EMAIL).await),
        ("another clinic's", join(&away, &foreign, EMAIL).await),
        ("expired", join(&guest, &brief, EMAIL).await),
        ("empty", join(&guest, "", EMAIL).await),
        ("long", join(&guest, &"x".repeat(4_000), EMAIL).await),
    ] {
        assert_eq!(reply.fingerprint(), unknown.fingerprint(), "{name}");
    }
    // What is wrong in itself is said, and uses nothing up.
    let token = invite(&me, id).await;
    for wrong in [
        json!({ "token": token, "email": "niece", "password": PASSWORD }),
        json!({ "token": token, "email": EMAIL, "password": "short" }),
        json!({ "token": token, "email": EMAIL, "password": PASSWORD, "role": "owner" }),
        json!({ "token": token, "email": EMAIL }),
    ] {
        guest.post("/api/circle/join", &wrong).await.expect_problem(400, &["short", "niece"]);
    }
    join(&guest, &token, EMAIL).await.expect(201);
}

#[tokio::test]
async fn nobody_invites_but_the_patient_and_the_desk() {
    let site = Site::start().await;
    let [one, two] = site.users(HOME, "patient").collect::<Vec<_>>()[..] else { panic!("two patients can log in") };
    let id = one.subject.unwrap();
    let new = json!({ "email": EMAIL });
    for role in ["doctor", "caregiver", "clinic_admin", "family_member"] {
        let client = site.login(HOME, role).await;
        client.post(&invitations(id), &new).await.expect(403);
        client.get(&invitations(id)).await.expect(403);
    }
    let other = site.login_as(HOME, two).await;
    other.post(&invitations(id), &new).await.expect(404);
    other.get(&invitations(id)).await.expect(404);
    let me = site.login_as(HOME, one).await;
    let now = site.ward.clock().now();
    let at = |hours: i64| (now + jiff::SignedDuration::from_hours(hours)).to_string();
    for wrong in [
        json!({ "email": "nobody" }),
        json!({ "email": "a b@example.org" }),
        json!({ "email": "a@b@example.org" }),
        json!({ "email": "@example.org" }),
        json!({ "email": format!("{}@example.org", "x".repeat(254)) }),
        json!({ "email": EMAIL, "until": at(-1) }),
        json!({ "email": EMAIL, "until": at(24 * 7 + 1) }),
    ] {
        me.post(&invitations(id), &wrong).await.expect(400);
    }
    let made = me.post(&invitations(id), &json!({ "email": EMAIL, "until": at(1) })).await.expect(201).json();
    let expires: jiff::Timestamp = made["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(expires <= now + jiff::SignedDuration::from_mins(61), "{expires}");

    // Whoever invited and is not there any more has invited nobody.
    let desk = site.login(HOME, "receptionist").await;
    let token = invite(&desk, site.clinic(HOME).patients[5]).await;
    let owner = site.login(HOME, "owner").await;
    let path = format!("/api/patients/{}", site.clinic(HOME).patients[5]);
    owner.send(Method::DELETE, &path, None).await.expect(200);
    join(&site.guest(HOME), &token, EMAIL).await.expect(404);
}
