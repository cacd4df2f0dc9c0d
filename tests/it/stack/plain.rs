//! Without axum.

use super::*;

#[tokio::test]
async fn the_path_works_around_any_service_over_http() {
    let bench = Bench::with(small_segments()).await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (keyring, clock, db) = (bench.keyring.clone(), bench.shared_clock(), bench.db.clone());
    let inner = service_fn(move |request: Request<Body>| {
        let (keyring, clock, db) = (keyring.clone(), clock.clone(), db.clone());
        async move {
            let visit = request.extensions().get::<Visit>().expect("the ward put it there").clone();
            let Some(principal) = visit.principal().filter(|p| p.role() == "owner") else {
                return Ok::<_, Infallible>(Problem::forbidden().into_response::<Full<Bytes>>());
            };
            let read = async {
                let (user, tenant): (UserId, _) = (principal.user(), principal.tenant().clone());
                let grant: Grant<ReadNotes> =
                    danger_grant(visit.trail(), &keyring, &clock, user, tenant, "our own rules")?;
                let chart = grant
                    .subject(request.uri().path()[1..].parse::<SubjectId>().map_err(|_| Problem::not_found())?)
                    .await?;
                Ok::<_, Problem>(notes_of(&db, &chart).await?.concat())
            };
            Ok(match read.await {
                Ok(notes) => Response::new(Full::from(notes)),
                Err(problem) => problem.into_response(),
            })
        }
    });
    let service = bench.ward.around(inner);
    let path = format!("/{patient}");
    let read = |method| send(&service, request(method, Some(&owner), &path));
    let (reply, records) = bench.records_of(read(Method::GET)).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, CANARY));
    reply.is_dressed();
    assert_eq!(of_kind(&records, Kind::Opened)[0].subjects(), [patient]);
    assert_eq!(the_end(&records), End::Completed);
    let (_, records) = bench.records_of(read(Method::HEAD)).await;
    assert_eq!(the_end(&records), End::Completed);
    send(&service, request(Method::GET, None, &path)).await.is_problem(403);
    let mut misdirected = request(Method::GET, Some(&owner), &path);
    misdirected.headers_mut().insert(header::HOST, HeaderValue::from_static("evil.example"));
    send(&service, misdirected).await.is_problem(421);

    let blocked = bench.block_ledger().await;
    let withheld: Reply = loop {
        let reply = read(Method::GET).await;
        if reply.status != 200 {
            break reply;
        }
    };
    withheld.is_problem(503);
    blocked.unblock(bench.ward.ledger()).await;
    assert_eq!(read(Method::GET).await.status, 200);
}

#[tokio::test]
async fn an_inner_service_that_fails_ends_its_trail_as_failed() {
    let bench = Bench::new().await;
    let (keyring, clock, harbour) = (bench.keyring.clone(), bench.shared_clock(), bench.harbour.clone());
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let inner = service_fn(move |request: Request<Body>| {
        let (keyring, clock, harbour) = (keyring.clone(), clock.clone(), harbour.clone());
        async move {
            let visit = request.extensions().get::<Visit>().expect("a visit");
            let grant: Grant<ReadNotes> =
                danger_grant(visit.trail(), &keyring, &clock, UserId::from_bytes([1; 16]), harbour, "our own rules")
                    .unwrap();
            let _ = grant.subject(patient).await.unwrap();
            Err::<Response<Body>, _>(std::io::Error::other("no answer"))
        }
    });
    let service = bench.ward.around(inner);
    let (answer, records) = bench.records_of(service.oneshot(request(Method::GET, None, "/"))).await;
    assert!(answer.is_err());
    assert_eq!(the_end(&records), End::Failed);
}

#[test]
fn conn_info_says_what_it_was_given() {
    assert_eq!(peer().peer(), SocketAddr::from(([192, 0, 2, 1], 40_000)));
    assert_eq!(ConnInfo::new(peer().peer(), Some("x.example".into())).server_name(), Some("x.example"));
}
