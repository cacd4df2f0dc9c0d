//! No password and no token is in anything that comes out.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::util::SubscriberInitExt;

use super::{PASSWORD, World};
use crate::{
    identity::{NewAccount, Principal, generate_password},
    secret::ExposeSecret,
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// proves CCA-10, MED-08
#[tokio::test]
async fn passwords_and_tokens_are_in_no_output() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = subscriber.set_default();

    let world = World::new().await;
    let mut printed = format!("{world:?}", world = world.identity);
    let mut print = |value: &dyn std::fmt::Debug| printed.push_str(&format!("{value:?} {value:#?}\n"));
    let wrong = "wrong-password-canary";
    print(&NewAccount::new("x", PASSWORD.into(), "doctor"));
    let short = NewAccount::new("x", "short-canary".into(), "doctor");
    print(&world.identity.danger_create_account(&world.admin(), &world.clinic, short).await);
    print(&world.try_login("dr.adeyemi", wrong).await);
    print(&world.try_login("nobody", wrong).await);
    let tokens = world.login().await;
    print(&tokens);
    print(&tokens.principal());
    print(&world.verify(&tokens));
    print(&Principal::for_test(&world.clinic, "patient", None));
    let next = world.refresh(tokens.refresh_token()).await.expect("current");
    print(&world.refresh(tokens.refresh_token()).await);
    print(&world.refresh(next.refresh_token()).await);
    let last = world.login().await;
    world.store.breaks(true);
    let failed = world.try_login("dr.adeyemi", PASSWORD).await;
    print(&failed);
    print(&world.refresh(last.refresh_token()).await);
    world.store.breaks(false);
    world.identity.logout(&world.trail(), last.principal()).await.expect("out");
    print(&world.identity.danger_accounts(&world.clinic, None, 10).await);
    print(&generate_password());
    printed.push_str(&failed.expect_err("broken").to_string());

    let recorded = world.trails.recorded().await;
    let stored = String::from_utf8_lossy(&world.store.written()).into_owned();
    let logged = String::from_utf8_lossy(&log.0.lock().expect("not poisoned")).into_owned();
    assert_eq!(logged.contains("could not be decided"), cfg!(feature = "tracing"), "the log is read at all: {logged}");
    assert!(stored.contains("$argon2id$"), "the store is read at all");
    assert!(recorded.contains("refresh_token_reused"), "the ledger is read at all");

    let mut canaries = vec![PASSWORD.to_owned(), wrong.to_owned(), "short-canary".to_owned()];
    for tokens in [&tokens, &next, &last] {
        let refresh = tokens.refresh_token().expose_secret();
        canaries.push(refresh.split_once('.').expect("two parts").1.to_owned());
        canaries.push(tokens.access_token().expose_secret().rsplit_once('.').expect("parts").1.to_owned());
    }
    for (place, text) in [("printed", printed), ("ledger", recorded), ("store", stored), ("log", logged)] {
        for canary in &canaries {
            assert!(!text.contains(canary), "{place}");
        }
    }
}
