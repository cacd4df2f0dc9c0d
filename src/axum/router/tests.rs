//! What no user of the router can do, done from inside: one request's extensions put into another's.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
};
use http::{Extensions, header};
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tower::ServiceExt;

use super::Router;
use crate::{
    access::{Grant, NoRelations, Policy},
    audit::{Actor, Ledger, LedgerOptions, RequestFacts},
    axum::Path,
    clock::SystemClock,
    id::{SubjectId, TenantId},
    identity::{Identity, IdentityOptions, NewAccount},
    keys::{Keyring, RootKey},
    problem::Problem,
    secret::ExposeSecret,
    stack::{ConnInfo, Visit, Ward, WardService},
    store::{Durable, MemoryStore},
    tenant::Hosts,
};

crate::permissions! { ReadNotes = "notes.read"; }

const CANARY: &str = "what the notes say";
const PASSWORD: &str = "correct horse battery staple";

struct Clinic {
    ward: Ward,
    token: String,
    patient: SubjectId,
    _folder: tempfile::TempDir,
}

async fn clinic() -> Clinic {
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::shared();
    let store: Arc<dyn Durable> = Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
    let keyring = Keyring::open(RootKey::generate(), Arc::clone(&store)).await.unwrap();
    let tenant = TenantId::new("harbour").unwrap();
    let patient = SubjectId::generate(&*clock);
    keyring.create_tenant(&tenant).await.unwrap();
    keyring.create_subject(&tenant, patient).await.unwrap();
    let options = LedgerOptions::new().with_segment_size(1 << 20);
    let ledger = Ledger::open(folder.path(), options, Arc::clone(&clock)).unwrap();
    let identity =
        Identity::open(store, &keyring, clock, IdentityOptions::new("https://clinic.example")).await.unwrap();
    let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example").unwrap();
    hosts.register(tenant.clone()).unwrap();
    let (trail, _closer) = ledger.begin(RequestFacts::new());
    trail.set_actor(Actor { role: Some("operator".into()), tenant: Some(tenant.clone()), ..Actor::default() });
    identity.danger_create_account(&trail, &tenant, NewAccount::new("owner", PASSWORD.into(), "owner")).await.unwrap();
    let tokens = identity.login(&trail, &tenant, "owner", PASSWORD.into()).await.unwrap();
    let token = tokens.access_token().expose_secret().to_owned();
    let ward = Ward::builder()
        .keys(keyring)
        .audit(ledger)
        .authenticate(identity)
        .tenants(hosts)
        .policy(Policy::from_toml("[roles.owner]\ngrants.'notes.read' = 'clinic'").unwrap())
        .relations(NoRelations)
        .build()
        .unwrap();
    Clinic { ward, token, patient, _folder: folder }
}

fn request(path: &str, token: Option<&str>) -> Request {
    let mut request = Request::get(path).header(header::HOST, "harbour.clinic.example");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let peer = SocketAddr::from(([192, 0, 2, 1], 40_000));
    request.extension(ConnInfo::new(peer, None)).body(Body::empty()).unwrap()
}

async fn get(service: WardService<axum::Router>, request: Request) -> (u16, String) {
    let response = service.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

/// The extensions of a request with a principal, and what of them the thief puts into a request without one.
async fn steal(whole: bool, in_flight: bool) {
    let clinic = clinic().await;
    let stash: Arc<Mutex<Option<Extensions>>> = Arc::default();
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let thief = {
        let stash = Arc::clone(&stash);
        move |mut request: Request, next: Next| {
            let stash = Arc::clone(&stash);
            async move {
                let mine = stash.lock().unwrap().clone();
                match (request.uri().query(), mine) {
                    (Some("steal"), Some(stolen)) if whole => *request.extensions_mut() = stolen,
                    (Some("steal"), Some(stolen)) => {
                        request.extensions_mut().insert(stolen.get::<Visit>().unwrap().clone());
                    }
                    _ => *stash.lock().unwrap() = Some(request.extensions().clone()),
                }
                next.run(request).await
            }
        }
    };
    let read = {
        let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
        move |grant: Grant<ReadNotes>, Path(patient): Path<SubjectId>| {
            let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
            async move {
                // The first one waits here, while the second one goes past.
                reached.notify_one();
                if in_flight {
                    go_on.notified().await;
                }
                let _chart = grant.subject(patient).await?;
                Ok::<_, Problem>(CANARY)
            }
        }
    };
    let mut router: Router = Router::new(&clinic.ward).get("/patients/{id}", read).public_get(
        "/healthz",
        "liveness, holds no data",
        || async { CANARY },
    );
    router.inner = router.inner.layer(from_fn(thief));
    let service = router.into_service().unwrap();
    let path = format!("/patients/{}", clinic.patient);

    let first = tokio::spawn(get(service.clone(), request(&path, Some(&clinic.token))));
    reached.notified().await;
    if !in_flight {
        assert_eq!(first.await.unwrap(), (200, CANARY.to_owned()));
        for path in [format!("{path}?steal"), "/healthz?steal".to_owned()] {
            let (status, body) = get(service.clone(), request(&path, None)).await;
            assert_eq!(status, 500, "{path}");
            assert!(!body.contains(CANARY));
        }
        return;
    }
    let second = tokio::spawn(get(service.clone(), request(&format!("{path}?steal"), None)));
    reached.notified().await;
    // Both go on; the door of the second one opens under the trail of the first.
    go_on.notify_waiters();
    let (status, body) = second.await.unwrap();
    assert_eq!(status, 500);
    assert!(!body.contains(CANARY));
    assert_eq!(first.await.unwrap(), (200, CANARY.to_owned()), "the one who was robbed is served");
}

#[tokio::test]
async fn the_extensions_of_a_request_that_has_ended_release_nothing_in_another() {
    for whole in [false, true] {
        steal(whole, false).await;
    }
}

#[tokio::test]
async fn the_extensions_of_a_request_in_flight_release_nothing_in_another() {
    for whole in [false, true] {
        steal(whole, true).await;
    }
}
