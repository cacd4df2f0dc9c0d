//! Runs that are broken off, meet others, or are overtaken.

use super::{
    attacks::{copy_folder, drop_line, replace},
    *,
};

#[tokio::test]
async fn a_crash_between_two_segments_leaves_a_ledger_that_verifies_and_the_next_run_goes_on() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 900).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 1, 5).await;
    let old = TempDir::new().unwrap();
    copy_folder(place.path(), old.path());
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    drop(ledger);
    let new = TempDir::new().unwrap();
    copy_folder(place.path(), new.path());
    let segments = (0..).take_while(|n| segment::path(old.path(), *n).exists()).count() as u32;
    assert!(segments >= 4, "{segments}");
    // Each set of segments that a crash can leave: those before it anew, the others as they were.
    for done in 0..segments - 1 {
        copy_folder(new.path(), place.path());
        for number in done..segments - 1 {
            std::fs::copy(segment::path(old.path(), number), segment::path(place.path(), number)).unwrap();
        }
        std::fs::write(place.path().join("ledger.pruned"), b"half of it").unwrap();
        let dropped = place.verify().unwrap();
        assert!(if done == 0 { dropped < 300 } else { dropped > 0 && dropped < 901 }, "{done}: {dropped}");
        let ledger = Ledger::open(place.path(), place.options(), place.clock.shared()).unwrap();
        let report = ledger.prune(&seven()).await.unwrap();
        assert_eq!((report.bodies() + dropped, report.prunes()), (901, 0));
        ledger.shutdown().await;
        drop(ledger);
        assert_eq!(place.verify(), Ok(901));
        assert!(!place.path().join("ledger.pruned").exists());
    }
}

#[tokio::test]
async fn a_hold_that_comes_after_a_crash_keeps_what_is_still_there() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 5).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 2, 5).await;
    let old = std::fs::read(segment::path(place.path(), 0)).unwrap();
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    drop(ledger);
    // The prune record is durable, and the bodies are still there.
    let lines = lines(place.path());
    let prune = lines.iter().position(|line| Record::from_bytes(line).is_ok_and(|r| r.prune().is_some())).unwrap();
    let now = std::fs::read(segment::path(place.path(), 0)).unwrap();
    assert_ne!(old, now);
    for index in 0..5 {
        let old = old.clone();
        replace(place.path(), index, move |_| line_of(&old, index));
    }
    assert_eq!(place.verify(), Ok(1));
    assert!(prune > 5);
    let ledger = place.open();
    operator_holds(&ledger, true, "harbour", Some(1)).await;
    let report = ledger.prune(&seven()).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (0, 1), "the prune record is made anew, and says what stays");
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(1));
    replace(place.path(), 0, drop_line);
    assert_eq!(place.verify().map_err(|found| (found.index(), found.kind())), Err((0, Fault::Deleted)));
}

fn line_of(segment: &[u8], index: u64) -> Vec<u8> {
    let mut at = HEADER;
    loop {
        let found = BatchHeader::from_bytes(segment[at..at + BATCH].try_into().unwrap()).unwrap();
        let (mut frames, mut place) = (&segment[at + BATCH..at + BATCH + found.length as usize], found.first);
        while let Some((line, rest)) = segment::unframe(frames) {
            if place == index {
                return line.to_vec();
            }
            frames = rest;
            place += 1;
        }
        at += BATCH + found.length as usize;
    }
}

#[tokio::test]
async fn while_bodies_go_the_ledger_is_written_and_read_as_always() {
    let place = Place::new();
    let ledger = place.open();
    for _ in 0..10 {
        write(&ledger, "harbour", 1, 200).await;
    }
    place.clock.advance(DAY * 366 * 8);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (ledger, stop, dir) = (ledger.clone(), Arc::clone(&stop), place.path().to_owned());
            std::thread::spawn(move || {
                let mut read = 0;
                while !stop.load(std::sync::atomic::Ordering::Acquire) {
                    let query = LedgerQuery::new().oldest_first();
                    ledger.danger_page(Some(&Stream::Tenant(tenant("harbour"))), &query).unwrap();
                    verify(&dir).unwrap();
                    read += 1;
                }
                read
            })
        })
        .collect();
    let (pruning, retention) = (ledger.clone(), seven());
    let pruned = tokio::spawn(async move { pruning.prune(&retention).await.unwrap() });
    while !pruned.is_finished() {
        write(&ledger, "harbour", 1, 1).await;
        assert!(matches!(ledger.prune(&seven()).await, Err(RetentionError::Running) | Ok(_)));
        tokio::task::yield_now().await;
    }
    assert_eq!(pruned.await.unwrap().bodies(), 2_010);
    stop.store(true, std::sync::atomic::Ordering::Release);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(2_010));
}

#[tokio::test]
async fn two_servers_that_prune_at_a_time_leave_a_ledger_that_verifies() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 20).await;
    place.clock.advance(DAY * 366 * 8);
    // As the one server finds it, and as the other does a moment later.
    for below in [10, 15, 10] {
        let now = place.clock.shared().now();
        let prune = Prune {
            from: 0,
            below,
            until: now - jiff::SignedDuration::from_hours(24 * 366 * 7),
            kept: Spans::default(),
        };
        let mut record = Record::empty(Kind::Pruned, Stream::Tenant(tenant("harbour")), now, Duration::ZERO);
        record.prune = Some(Box::new(prune));
        let ticket = ledger.submit(ledger.reserve().unwrap(), Box::new(record));
        ledger.durable(ticket).await.unwrap();
    }
    assert_eq!(place.verify(), Ok(0), "one that goes on nowhere covers nothing");
    let report = ledger.prune(&seven()).await.unwrap();
    assert_eq!((report.bodies(), report.prunes()), (21, 1));
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(21));
}

#[tokio::test]
async fn who_does_not_wait_for_a_run_disturbs_neither_it_nor_the_next() {
    let place = Place::new();
    let ledger = place.open();
    for _ in 0..5 {
        write(&ledger, "harbour", 1, 200).await;
    }
    place.clock.advance(DAY * 366 * 8);
    let retention = seven();
    let (mut begun, mut refused) = (0, 0);
    loop {
        let gone = tokio::time::timeout(Duration::from_millis(begun), ledger.prune(&retention)).await;
        match gone {
            Ok(Ok(_)) => break,
            Ok(Err(RetentionError::Running)) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => begun += 1,
        }
    }
    assert!(refused > 0);
    ledger.shutdown().await;
    assert_eq!(place.verify(), Ok(1_005));
}

#[tokio::test]
async fn a_shutdown_ends_a_run_and_leaves_nobody_at_the_files() {
    let place = Place::new();
    for round in 0..8 {
        let ledger = place.open();
        for _ in 0..2 {
            write(&ledger, "harbour", 1, 150).await;
        }
        place.clock.advance(DAY * 366 * 8);
        let (pruning, retention) = (ledger.clone(), seven());
        let run = tokio::spawn(async move { pruning.prune(&retention).await });
        tokio::time::sleep(Duration::from_millis(round * 25)).await;
        ledger.shutdown().await;
        // The folder is free at once, and whole.
        let again = place.open();
        again.shutdown().await;
        let ended = run.await.unwrap();
        assert!(matches!(ended, Ok(_) | Err(RetentionError::Stopping | RetentionError::Trail(_))), "{ended:?}");
        place.verify().unwrap();
    }
}

/// A hold comes while a segment is written anew.
#[tokio::test]
async fn a_hold_is_not_overtaken_by_a_segment_that_was_begun_before() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 300).await;
    write(&ledger, "meadow", 2, 300).await;
    ledger.shutdown().await;
    let harbour = Stream::Tenant(tenant("harbour"));
    let mut covers = std::collections::HashMap::new();
    for clinic in ["harbour", "meadow"] {
        let mut cover = Cover::default();
        cover.add(301, &Prune { from: 0, below: 301, until: place.clock.shared().now(), kept: Spans::default() });
        covers.insert(Stream::Tenant(tenant(clinic)), cover);
    }
    // From the hundredth question on the chain is held.
    let (asked, held) = (AtomicUsize::new(0), |asked: usize| asked > 100);
    let drops = Drops {
        covers: &covers,
        spared: &|stream| *stream == harbour && held(asked.fetch_add(1, Ordering::SeqCst)),
        changes: &|| usize::from(held(asked.load(Ordering::SeqCst))),
        pruned: None,
        closed: None,
        wanted: &|| true,
    };
    let done = drop_in_folder(place.path(), &drops).unwrap();
    assert!(asked.load(Ordering::SeqCst) > 100 && done.dropped > 0);
    // Nothing verifies here, as no prune record was written; what counts is which bodies went.
    let mut number = 0;
    while let Ok(bytes) = std::fs::read(segment::path(place.path(), number)) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("\"stream\":\"harbour\",\"seq\":5,\"dropped\""), "{number}");
        number += 1;
    }
}

#[tokio::test]
async fn a_copy_that_was_broken_off_before_the_prune_record_came_opens_and_goes_on() {
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 300).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 1, 20).await;
    ledger.prune(&seven()).await.unwrap();
    ledger.shutdown().await;
    drop(ledger);
    // The beginning of it, without the segment in which the prune record stands.
    let copy = TempDir::new().unwrap();
    copy_folder(place.path(), copy.path());
    let last = (0..).take_while(|n| segment::path(copy.path(), *n).exists()).last().unwrap();
    assert!(last > 0);
    std::fs::remove_file(segment::path(copy.path(), last)).unwrap();
    for file in ["ledger.hashes", "ledger.checkpoint"] {
        std::fs::remove_file(copy.path().join(file)).unwrap();
    }
    assert_eq!(verify(copy.path()).unwrap_err().kind(), Fault::Deleted, "by itself it is no ledger yet");
    let sinks = Sinks::new().add_required("copy", FolderSink::open(copy.path(), &place.options()).unwrap());
    let ledger = Ledger::open_with(place.path(), sinks, place.options(), place.clock.shared()).unwrap();
    ledger.shutdown().await;
    assert_eq!(verify(copy.path()).unwrap().head(), ledger.head());
}
