//! What must not go out.

use super::*;

// Invariant 2, for what leaves by another way than the response.
#[tokio::test]
async fn an_outbound_call_is_not_made_before_the_record_of_what_it_sends_is_durable() {
    let bench = Bench::with(small_segments()).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = bench.serve(|router| {
        router.post("/send/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let counted = Arc::clone(&counted);
            async move {
                let _chart = grant.subject(id).await?;
                grant.trail().settled().await?;
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Problem>("sent")
            }
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/send/{patient}");
    let opened_before = opened_of(&bench.records().await, patient);
    let blocked = bench.block_ledger().await;
    let mut sent = 0;
    loop {
        let reply = post(&service, &owner, &path, "").await;
        if reply.status != 200 {
            reply.is_problem(503);
            break;
        }
        sent += 1;
        assert!(sent < 1_000, "the segment never ran full");
    }
    assert_eq!(calls.load(Ordering::SeqCst), sent, "who was refused has sent nothing");
    blocked.unblock(bench.ward.ledger()).await;
    assert!(opened_of(&bench.records().await, patient) - opened_before >= sent, "each call has its record");
}

fn opened_of(records: &[tower_ward::audit::Record], patient: SubjectId) -> usize {
    records.iter().filter(|r| r.kind() == tower_ward::audit::Kind::Opened && r.subjects().contains(&patient)).count()
}

// proves CLA-17, and "no byte leaves before its record is durable"
#[tokio::test]
async fn while_the_ledger_cannot_write_nothing_that_a_handler_opened_is_sent() {
    let bench = Bench::with(small_segments()).await;
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    let db = bench.db.clone();
    let service = bench.serve(|router| {
        router.get("/read/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let (db, counted) = (db.clone(), Arc::clone(&counted));
            async move {
                let chart = grant.subject(id).await?;
                let notes = notes_of(&db, &chart).await?;
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Problem>(notes.join(""))
            }
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let desk = bench.user(&bench.harbour, "receptionist").await;
    let path = format!("/read/{patient}");
    assert_eq!(get(&service, &owner, &path).await.body, CANARY);
    // The record that finds the segment full is a door's or, as often, the one that closes a request: then the next
    // door refuses already, and it is tried again.
    let (blocked, before, sent) = loop {
        let blocked = bench.block_ledger().await;
        let (mut sent, before) = (0, opened.load(Ordering::SeqCst));
        let withheld = loop {
            let reply = get(&service, &owner, &path).await;
            if reply.status != 200 {
                break reply;
            }
            sent += 1;
            assert!(sent < 1_000, "the segment never ran full");
        };
        withheld.is_problem(503);
        if opened.load(Ordering::SeqCst) - before == sent + 1 {
            break (blocked, before, sent);
        }
        assert_eq!(opened.load(Ordering::SeqCst) - before, sent, "nobody reads more than what is sent and one");
        blocked.unblock(bench.ward.ledger()).await;
    };
    // From now on the door itself refuses, and what opens none waits for no disk.
    get(&service, &owner, &path).await.is_problem(503);
    assert_eq!(opened.load(Ordering::SeqCst) - before, sent + 1);
    post(&service, &owner, &format!("/patients/{patient}/notes"), "\"x\"").await.is_problem(503);
    assert_eq!(send(&service, request(Method::GET, None, "/healthz")).await.body, "ok");
    get(&service, &desk, &path).await.is_problem(403);
    get(&service, &owner, "/nowhere").await.is_problem(404);

    blocked.unblock(bench.ward.ledger()).await;
    assert_eq!(get(&service, &owner, &path).await.body, CANARY);
    let records = bench.records().await;
    let failed: Vec<_> = records.iter().filter(|r| r.end() == Some(End::Failed)).collect();
    assert_eq!(failed.len(), 1, "the withheld answer closed its trail");
    assert_eq!(failed[0].status(), Some(503));
    let folder = bench.close().await;
    verify(&folder.path().join("ledger")).expect("whole");
}

/// A user of little power who asks for many answers and reads none of them.
#[tokio::test]
async fn one_users_unread_answers_do_not_keep_anybody_elses_door_shut() {
    let (slots, trails) = (NonZeroUsize::new(64).unwrap(), NonZeroUsize::new(8).unwrap());
    let ledger = LedgerOptions::new().with_segment_size(1 << 20).with_queue(slots).with_trails_per_user(trails);
    let bench = Bench::with(Setup { ledger, ..Setup::default() }).await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let (owner, doctor) = (bench.user(&bench.harbour, "owner").await, bench.user(&bench.harbour, "doctor").await);
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, None).await;
    let path = format!("/patients/{patient}/notes");
    let mut unread = Vec::new();
    for _ in 0..2 * slots.get() {
        unread.push(service.clone().oneshot(request(Method::GET, Some(&doctor), &path)).await.expect("an answer"));
    }
    let answers: Vec<_> = unread.iter().map(|response| response.status().as_u16()).collect();
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), trails.get(), "{answers:?}");
    assert!(answers[trails.get()..].iter().all(|status| *status == 429), "{answers:?}");
    assert_eq!(get(&service, &owner, &path).await.status, 200);
    drop(unread);
    assert_eq!(get(&service, &doctor, &path).await.status, 200);
}

#[tokio::test]
async fn a_full_queue_refuses_doors_and_only_doors() {
    let slots = NonZeroUsize::new(16).unwrap();
    let bench = Bench::with(Setup {
        ledger: LedgerOptions::new().with_segment_size(1 << 20).with_queue(slots),
        ..Setup::default()
    })
    .await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    // Requests that opened a door and do not end keep a place for their end.
    let mut open = Vec::new();
    loop {
        let (trail, closer) = bench.trail();
        let event = tower_ward::audit::Event::new(tower_ward::audit::Action::Configuration);
        if trail.record(event).is_err() {
            break;
        }
        trail.settled().await.expect("durable");
        open.push(closer);
    }
    assert!(open.len() >= 15, "{}", open.len());
    get(&service, &owner, &path).await.is_problem(503);
    assert_eq!(send(&service, request(Method::GET, None, "/healthz")).await.status, 200);
    drop(open);
    let mut tries = 0;
    while get(&service, &owner, &path).await.status != 200 {
        tries += 1;
        assert!(tries < 1_000, "the queue never had room again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_opens_no_door_writes_nothing() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let (_, records) = bench
        .records_of(async {
            for path in ["/healthz", "/nowhere", "/patients"] {
                let _ = send(&service, request(Method::GET, None, path)).await;
            }
        })
        .await;
    assert!(records.is_empty(), "refusals of strangers are counted, not written one by one: {records:?}");
    let folder = bench.close().await;
    let counted = records_on_disk(&folder.path().join("ledger"));
    let counted: Vec<_> = counted.iter().filter(|r| r.count().is_some()).collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!((counted[0].reason(), counted[0].count()), (Some("no_credentials"), Some(1)));
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_in_full_dress_with_a_closed_record() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        router
            .get("/panic/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
                let _chart = grant.subject(id).await?;
                if true {
                    panic!("{CANARY}");
                }
                Ok::<_, Problem>("never")
            })
            .public_get("/panic", "panics", || async {
                if true {
                    panic!("{CANARY}")
                }
            })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (reply, records) = bench.records_of(get(&service, &owner, &format!("/panic/{patient}"))).await;
    reply.is_problem(500);
    assert_eq!(of_kind(&records, Kind::Opened).len(), 1);
    assert_eq!(the_end(&records), End::Panicked);
    assert_eq!(of_kind(&records, Kind::Closed)[0].status(), Some(500));
    send(&service, request(Method::GET, None, "/panic")).await.is_problem(500);
    // The service is as good as before.
    assert_eq!(get(&service, &owner, &format!("/patients/{patient}/notes")).await.status, 200);
}

#[tokio::test]
async fn a_plain_service_that_panics_before_its_future_is_a_500_too() {
    let bench = Bench::new().await;
    let inner =
        service_fn(|_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> { panic!("{CANARY}") });
    let service = bench.ward.around(inner);
    send(&service, request(Method::GET, None, "/")).await.is_problem(500);
}

#[tokio::test]
async fn a_request_that_is_dropped_half_way_closes_its_record() {
    let bench = Bench::new().await;
    let reached = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&reached);
    let service = bench.serve(|router| {
        router.get("/slow/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let told = Arc::clone(&told);
            async move {
                let _chart = grant.subject(id).await?;
                told.notify_one();
                std::future::pending::<Result<&'static str, Problem>>().await
            }
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let slow = || request(Method::GET, Some(&owner), &format!("/slow/{patient}"));
    let ((), records) = bench
        .records_of(async {
            let running = tokio::spawn(service.clone().oneshot(slow()));
            reached.notified().await;
            running.abort();
            assert!(running.await.is_err_and(|e| e.is_cancelled()));
        })
        .await;
    assert_eq!(of_kind(&records, Kind::Opened).len(), 1);
    assert_eq!(the_end(&records), End::Cancelled);
    // Never polled: nothing was opened, and nothing is written.
    let ((), records) = bench.records_of(async { drop(service.clone().call(slow())) }).await;
    assert!(records.is_empty(), "{records:?}");
}

#[tokio::test]
async fn a_request_beyond_the_deadline_is_503_and_its_transaction_rolls_back() {
    let bench = Bench::with(Setup { deadline: Duration::from_millis(300), ..Setup::default() }).await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let db = bench.db.clone();
    let service = bench.serve(|router| {
        router.get("/slow/{id}", move |grant: Grant<WriteNotes>, Path(id): Path<SubjectId>| {
            let db = db.clone();
            async move {
                let chart = grant.subject(id).await?;
                let _tx = db.change(&chart, Change::import("notes")).await?;
                std::future::pending::<Result<&'static str, Problem>>().await
            }
        })
    });
    let (reply, records) = bench.records_of(get(&service, &owner, &format!("/slow/{patient}"))).await;
    reply.is_problem(503);
    assert_eq!(the_end(&records), End::Cancelled);
    let outcomes: Vec<_> = of_kind(&records, Kind::Outcome).iter().map(|record| record.outcome()).collect();
    assert_eq!(outcomes, [Some(Outcome::RolledBack)]);
    // The one connection that writes is free again.
    let reply = post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn a_handler_that_panics_while_the_deadline_drops_it_is_answered_all_the_same() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("{CANARY}");
        }
    }
    let bench = Bench::with(Setup { deadline: Duration::from_millis(50), ..Setup::default() }).await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let service = bench.serve(|router| {
        router.get("/bomb/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            let _bomb = Bomb;
            let _chart = grant.subject(id).await?;
            std::future::pending::<Result<&'static str, Problem>>().await
        })
    });
    let (reply, records) = bench.records_of(get(&service, &owner, &format!("/bomb/{patient}"))).await;
    reply.is_problem(503);
    assert!(matches!(the_end(&records), End::Panicked | End::Cancelled), "{records:?}");
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_closes_its_record_with_what_left() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        router.get("/two/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            let _chart = grant.subject(id).await?;
            let (feed, pump) = mpsc::unbounded_channel();
            feed.send(Bytes::from_static(b"first")).unwrap();
            std::mem::forget(feed);
            Ok::<_, Problem>(Body::new(Pump(pump)))
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let ((), records) = bench
        .records_of(async {
            let response =
                service.clone().oneshot(request(Method::GET, Some(&owner), &format!("/two/{patient}"))).await.unwrap();
            let mut body = response.into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().data_ref().unwrap(), "first");
        })
        .await;
    assert_eq!(the_end(&records), End::Aborted);
    assert_eq!(of_kind(&records, Kind::Closed)[0].bytes(), Some(5));
}

#[tokio::test]
async fn each_frame_of_a_stream_waits_for_the_record_of_what_it_shows() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        router.get("/stream", |grant: Grant<ReadNotes>, body: String| async move {
            let people: Vec<SubjectId> = serde_json::from_str(&body).expect("ids");
            let (feed, pump) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                for id in people {
                    let Ok(chart) = grant.subject(id).await else { return };
                    if feed.send(Bytes::from(chart.subject().to_string())).is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
            Body::new(Pump(pump))
        })
    });
    let owner = bench.user(&bench.harbour, "owner").await;
    let mut people = Vec::new();
    for _ in 0..8 {
        people.push(bench.patient(&bench.harbour, "Ada", CANARY).await);
    }
    let mut request = request(Method::GET, Some(&owner), "/stream");
    *request.body_mut() = Body::from(serde_json::to_string(&people).unwrap());
    let response = service.clone().oneshot(request).await.expect("an answer");
    let mut body = response.into_body();
    for patient in &people {
        let frame = body.frame().await.expect("a frame").expect("whole");
        assert_eq!(frame.data_ref().unwrap(), patient.to_string().as_bytes());
        let records = records_on_disk(&bench.ledger_dir());
        let opened = records
            .iter()
            .any(|r| r.kind() == Kind::Opened && r.user() == Some(owner.id) && r.subjects() == [*patient]);
        assert!(opened, "the frame came before its record");
    }
    assert!(body.frame().await.is_none());
    let closed = bench.records().await.into_iter().rfind(|r| r.kind() == Kind::Closed).expect("closed");
    assert_eq!((closed.end(), closed.bytes()), (Some(End::Completed), Some(8 * 36)));
}

#[tokio::test]
async fn a_stream_is_cut_off_where_the_ledger_fails() {
    let bench = Bench::with(small_segments()).await;
    let service = bench.serve(|router| {
        router.get("/stream/{id}", |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| async move {
            let (feed, pump) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                for n in 0..10_000 {
                    // Whoever waits for nothing at the door must still be held back behind it.
                    if grant.subject(id).await.is_err() {
                        let _ = feed.send(Bytes::from_static(CANARY.as_bytes()));
                        return;
                    }
                    if feed.send(Bytes::from(format!("{n};"))).is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            });
            Body::new(Pump(pump))
        })
    });
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let blocked = bench.block_ledger().await;
    let reply = get(&service, &owner, &format!("/stream/{patient}")).await;
    assert_eq!((reply.status, reply.whole), (200, false), "{}", reply.body);
    assert!(!reply.body.contains(CANARY), "{}", reply.body);
    let sent = reply.body.matches(';').count();
    blocked.unblock(bench.ward.ledger()).await;
    let records = bench.records().await;
    let opened = records.iter().filter(|r| r.kind() == Kind::Opened && r.user() == Some(owner.id)).count();
    assert!(opened > sent, "{sent} frames left, {opened} doors are recorded: one more was opened and withheld");
    assert_eq!(records.iter().filter(|r| r.end() == Some(End::Failed)).count(), 1);
}

#[tokio::test]
async fn a_head_request_ends_its_trail_without_a_body() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let head = request(Method::HEAD, Some(&owner), &format!("/patients/{patient}/notes"));
    let response = service.clone().oneshot(head).await.unwrap();
    // A server does not poll this body at all.
    let records = bench.records().await;
    let closed = records.iter().rfind(|r| r.kind() == Kind::Closed).expect("closed");
    assert_eq!((closed.end(), closed.status(), closed.bytes().unwrap_or(0)), (Some(End::Completed), Some(200), 0));
    drop(response);
}

#[tokio::test]
async fn a_handler_cannot_undress_its_response() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| {
        let naked = || async {
            [
                ("strict-transport-security", "max-age=0"),
                ("content-security-policy", "default-src *"),
                ("x-request-id", CANARY),
                ("server", CANARY),
                ("cache-control", "public, max-age=600"),
            ]
        };
        router.public_get("/naked", "tries to undress", naked)
    });
    let reply = send(&service, request(Method::GET, None, "/naked")).await;
    assert_eq!(reply.status, 200);
    reply.is_dressed();
    assert!(!format!("{:?}", reply.headers).contains(CANARY), "{:?}", reply.headers);
    assert_eq!(reply.header("cache-control"), Some("no-store, max-age=0"));
    assert!(reply.header("strict-transport-security").is_some_and(|v| v.starts_with("max-age=63072000")));
}

#[tokio::test]
async fn an_upgrade_that_no_trail_would_cover_is_refused() {
    let bench = Bench::new().await;
    let service =
        bench.serve(|router| router.get("/socket", |_: Grant<ReadNotes>| async { StatusCode::SWITCHING_PROTOCOLS }));
    let owner = bench.user(&bench.harbour, "owner").await;
    get(&service, &owner, "/socket").await.is_problem(500);
}

/// What a nested stack would do to a response, and what a cache would: hand it out under another request's trail.
#[tokio::test]
async fn a_response_made_under_another_requests_trail_is_withheld() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let routes = bench.serve(|router| router);
    let inner = service_fn(move |request: Request<Body>| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.oneshot(request).await?.map(Body::new)) }
    });
    let nested = bench.ward.around(inner);
    let (reply, records) = bench
        .records_of(send(&nested, request(Method::GET, Some(&owner), &format!("/patients/{patient}/notes"))))
        .await;
    reply.is_problem(500);
    let refused = of_kind(&records, Kind::Refused);
    assert_eq!((refused.len(), refused[0].reason()), (1, Some("foreign_trail")));
    // A public route's as well: whoever opened something there did it under the inner trail.
    send(&nested, request(Method::GET, None, "/healthz")).await.is_problem(500);
}

/// A middleware that puts one request's extensions on the next one, in front of the ward's own routes.
#[tokio::test]
async fn a_visit_put_into_a_later_request_is_replaced_by_that_requests_own() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let stolen: Arc<Mutex<Option<Visit>>> = Arc::default();
    let kept = Arc::clone(&stolen);
    let service = bench.serve(|router| {
        let keep = move |visit: Visit| async move { drop(kept.lock().unwrap().replace(visit)) };
        router.public_get("/keep", "keeps the visit", keep)
    });
    assert_eq!(get(&service, &owner, "/keep").await.status, 200);
    let mut theft = request(Method::GET, None, &format!("/patients/{patient}/notes"));
    theft.extensions_mut().insert(stolen.lock().unwrap().take().expect("kept"));
    send(&service, theft).await.is_problem(401);
}
