//! Files in a patient's record.

use http::{Method, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

/// What a file holds, in base64: `n` bytes of nothing, and a multiple of three so that there is no padding.
fn nothing(n: usize) -> String {
    "AAAA".repeat(n / 3)
}

#[tokio::test]
async fn a_file_is_listed_without_its_content_and_read_with_it() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, reach) = (site.login_as(HOME, user).await, site.reach(HOME, user));
    let id = *reach.first().unwrap();
    let path = format!("/api/patients/{id}/attachments");
    let new = json!({ "file_name": "Röntgen 1.pdf", "media_type": "application/pdf", "content": "JVBERi0xLjcK" });
    let made = doctor.post(&path, &new).await.expect(201).json();
    assert_eq!((&made["file_name"], made.get("content")), (&new["file_name"], None));
    let listed = doctor.get(&format!("{path}?limit=1")).await.expect(200).json();
    assert_eq!(listed["items"], json!([made]));
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let read = doctor.get(&one).await.expect(200).json();
    for (key, value) in new.as_object().unwrap() {
        assert_eq!(&read[key], value, "{key}");
    }
    // The largest that there may be, and one byte more.
    let large = |bytes: usize| json!({ "file_name": "a", "media_type": "image/png", "content": nothing(bytes) });
    doctor.post(&path, &large(184_320)).await.expect(201);
    doctor.post(&path, &large(184_323)).await.expect(400);

    // It is that patient's, in that clinic.
    let other = *reach.iter().nth(1).unwrap();
    let attachment = made["id"].as_str().unwrap();
    let owner = site.login(HOME, "owner").await;
    let theirs = attached(&owner, "{attachment}", other).await;
    let foreign = attached(&site.login(AWAY, "owner").await, "{attachment}", site.clinic(AWAY).patients[0]).await;
    let absent = doctor.get(&format!("{path}/{}", absent(id))).await;
    absent.expect(404);
    for path in [
        format!("/api/patients/{other}/attachments/{attachment}"),
        format!("{path}/{theirs}"),
        format!("{path}/{foreign}"),
        format!("{path}/{}", attachment.to_uppercase()),
        format!("{path}/x"),
    ] {
        assert_eq!(doctor.get(&path).await.fingerprint(), absent.fingerprint(), "{path}");
    }
    let stranger = site.users(HOME, "doctor").find(|user| !site.reach(HOME, user).contains(&id)).unwrap();
    site.login_as(HOME, stranger).await.get(&one).await.expect(404);
    for role in ["receptionist", "clinic_admin", "family_member"] {
        let client = site.login(HOME, role).await;
        client.get(&one).await.expect_problem(403, &["JVBERi0"]);
        client.post(&path, &new).await.expect(403);
    }
    owner.get(&one).await.expect(200);
    owner.post(&path, &new).await.expect(403);
}

#[tokio::test]
async fn a_file_that_cannot_be_one_is_refused() {
    let site = Site::start().await;
    let user = site.users(HOME, "doctor").next().unwrap();
    let (doctor, id) = (site.login_as(HOME, user).await, *site.reach(HOME, user).first().unwrap());
    let path = format!("/api/patients/{id}/attachments");
    let before = doctor.get(&path).await.json();
    let good = json!({ "file_name": "a.txt", "media_type": "text/plain", "content": "YQ==" });
    for (field, value) in [
        ("file_name", json!("")),
        ("file_name", json!("../a")),
        ("file_name", json!("a\\b")),
        ("file_name", json!("..")),
        ("file_name", json!("a\u{202e}fdp.exe")),
        ("file_name", json!("a\r\nx: y")),
        ("file_name", json!("x".repeat(256))),
        ("media_type", json!("text")),
        ("media_type", json!("text/")),
        ("media_type", json!("text/plain; charset=utf-8")),
        ("media_type", json!("text/pla in")),
        ("media_type", json!("text/plain\n")),
        ("media_type", json!(format!("text/{}", "x".repeat(123)))),
        ("content", json!("")),
        ("content", json!("YQ")),
        ("content", json!("YR==")),
        ("content", json!("YQ==\n")),
        ("content", json!("Y_-=")),
        ("content", json!([97])),
        ("test", json!(true)),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let reply = doctor.post(&path, &body).await;
        assert_eq!(reply.status, 400, "{field} {value}");
    }
    let beyond = json!({ "file_name": "a", "media_type": "a/b", "content": nothing(262_143) }).to_string();
    let request = doctor.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/json");
    doctor.exchange(request, beyond).await.expect(413);
    assert_eq!(doctor.get(&path).await.json(), before);
}

#[tokio::test]
async fn the_demos_letters_name_who_they_are_about() {
    let site = Site::start().await;
    let owner = site.login(HOME, "owner").await;
    for (demo, id) in site.patients().into_iter().filter(|(demo, _)| demo.starts_with(HOME)) {
        let path = attached(&owner, &format!("/api/patients/{id}/attachments/{{attachment}}"), id).await;
        let letter: Value = owner.get(&path).await.expect(200).json();
        assert_eq!((&letter["test"], &letter["media_type"]), (&json!(true), &json!("text/plain")), "{demo}");
        assert!(letter["id"].as_str().unwrap().parse::<Uuid>().is_ok());
    }
}
