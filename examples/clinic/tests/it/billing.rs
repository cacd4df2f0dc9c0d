//! Quotes and invoices.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::*;

fn lines() -> Value {
    json!([
        { "text": "Travel vaccination", "quantity": 3, "unit_price_pence": 6_249 },
        { "text": "Medical certificate", "quantity": 1, "unit_price_pence": 1 },
    ])
}

#[tokio::test]
async fn an_invoice_comes_from_a_quote_of_the_same_patient_and_adds_up() {
    let site = Site::start().await;
    let user = site.users(HOME, "patient").next().unwrap();
    let (me, id) = (site.login_as(HOME, user).await, user.subject.unwrap());
    let desk = site.login(HOME, "receptionist").await;
    let (quotes, invoices) = (format!("/api/patients/{id}/quotes"), format!("/api/patients/{id}/invoices"));
    let quote = desk.post(&quotes, &json!({ "lines": lines() })).await.expect(201).json();
    assert_eq!(
        (&quote["total_pence"], &quote["status"], &quote["version"]),
        (&json!(18_748), &json!("open"), &json!(1))
    );

    let accept = json!({ "id": quote["id"], "version": 1, "status": "accepted" });
    let accepted = desk.send(Method::PATCH, &quotes, Some(&accept)).await.expect(200).json();
    assert_eq!((&accepted["version"], &accepted["lines"]), (&json!(2), &lines()));
    desk.send(Method::PATCH, &quotes, Some(&accept)).await.expect(409);
    // What was accepted is not written over.
    let other =
        json!({ "id": quote["id"], "version": 2, "lines": [{ "text": "x", "quantity": 1, "unit_price_pence": 9 }] });
    desk.send(Method::PATCH, &quotes, Some(&other)).await.expect(409);

    let invoice = desk.post(&invoices, &json!({ "quote": quote["id"], "lines": lines() })).await.expect(201).json();
    assert_eq!((&invoice["quote"], &invoice["total_pence"]), (&quote["id"], &json!(18_748)));
    let cheaper = json!({ "id": invoice["id"], "version": 1, "lines": [lines()[1]], "status": "paid" });
    let paid = desk.send(Method::PATCH, &invoices, Some(&cheaper)).await.expect(200).json();
    assert_eq!((&paid["total_pence"], &paid["status"], &paid["quote"]), (&json!(1), &json!("paid"), &quote["id"]));
    assert_eq!(me.get(&format!("{invoices}?limit=1")).await.expect(200).json()["items"], json!([paid]));
    assert_eq!(me.get(&format!("{quotes}?limit=1")).await.expect(200).json()["items"], json!([accepted]));
    me.post(&invoices, &json!({ "lines": lines() })).await.expect(403);

    // What they were is on record, and who may read them may read that.
    let changes = me.get(&format!("/api/patients/{id}/billing/changes?limit=5")).await.expect(200).json();
    let total =
        &changes["items"][0]["fields"].as_array().unwrap().iter().find(|f| f["name"] == "total").unwrap().clone();
    assert_eq!((&total["before"]["value"], &total["after"]["value"]), (&json!(18_748), &json!(1)));

    // Another's quote, here or elsewhere, is no quote.
    let owner = site.login(HOME, "owner").await;
    let others = *site.clinic(HOME).patients.iter().find(|other| **other != id).unwrap();
    let away = site.login(AWAY, "owner").await;
    let foreign = site.clinic(AWAY).patients[0];
    let theirs =
        owner.post(&format!("/api/patients/{others}/quotes"), &json!({ "lines": lines() })).await.expect(201).json();
    let far =
        away.post(&format!("/api/patients/{foreign}/quotes"), &json!({ "lines": lines() })).await.expect(201).json();
    let mut faces = Vec::new();
    for quote in [theirs["id"].clone(), far["id"].clone(), json!(absent(id)), json!(Uuid::nil())] {
        let reply = desk.post(&invoices, &json!({ "quote": quote, "lines": lines() })).await;
        reply.expect(404);
        faces.push(reply.fingerprint());
        let patch = json!({ "id": quote, "version": 1, "status": "declined" });
        desk.send(Method::PATCH, &quotes, Some(&patch)).await.expect(404);
    }
    faces.dedup();
    assert_eq!(faces.len(), 1);
    for role in ["doctor", "caregiver", "family_member"] {
        site.login(HOME, role).await.get(&invoices).await.expect_problem(403, &["vaccination"]);
    }
}

#[tokio::test]
async fn a_bill_that_does_not_add_up_is_refused() {
    let site = Site::start().await;
    let (desk, id) = (site.login(HOME, "receptionist").await, site.clinic(HOME).patients[0]);
    let path = format!("/api/patients/{id}/invoices");
    let before = desk.get(&path).await.json();
    let line =
        |quantity: Value, price: Value| json!([{ "text": "x", "quantity": quantity, "unit_price_pence": price }]);
    for (name, lines) in [
        ("no lines", json!([])),
        ("none of it", line(json!(0), json!(1))),
        ("a negative number", line(json!(-1), json!(1))),
        ("too many", line(json!(1001), json!(1))),
        ("a negative price", line(json!(1), json!(-1))),
        ("half a penny", line(json!(1), json!(0.5))),
        ("a price as a text", line(json!(1), json!("1"))),
        ("beyond what is counted", line(json!(1), json!(u64::MAX))),
        ("two lines in one", json!([{ "text": "a\nb", "quantity": 1, "unit_price_pence": 1 }])),
        ("a total", json!([{ "text": "a", "quantity": 1, "unit_price_pence": 1, "total": 1 }])),
        ("too many lines", json!(vec![line(json!(1), json!(1))[0].clone(); 51])),
    ] {
        let reply = desk.post(&path, &json!({ "lines": lines })).await;
        assert_eq!(reply.status, 400, "{name}");
    }
    desk.post(&path, &json!({ "lines": lines(), "total_pence": 1 })).await.expect(400);
    assert_eq!(desk.get(&path).await.json(), before);
}
