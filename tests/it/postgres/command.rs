//! `ward audit`, of a ledger in PostgreSQL.

use std::process::{Command, Output};

use super::{append, check, open, server::Postgres, until};

fn ward(arguments: &[&str], url: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ward")).args(["audit"]).args(arguments).env("WARD_URL", url).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_the_script_and_verifies_what_it_made() {
    let server = Postgres::start();
    let printed = ward(&["schema", "--schema", "second", "--role", "writer"], "");
    let script = text(printed.stdout);
    assert!(printed.status.success(), "{:?}", printed.stderr);
    server.as_role("keeper", |mut conn| async move {
        sqlx::Executor::execute(&mut conn, sqlx::AssertSqlSafe(script)).await.unwrap();
    });
    let ledger = open(&server.place().with_schema("second").unwrap()).await.unwrap();
    append(&ledger, 1).await.unwrap();
    until("its end is there", || ledger.head().size() == 2).await;
    ledger.shutdown().await;

    let second = ["verify", "--database", "env:WARD_URL", "--schema", "second"];
    let good = ward(&second, &server.url("writer"));
    let said = text(good.stdout);
    assert!(
        good.status.success()
            && said.contains(&format!("ok: 2 records of 1 clinics in a database, head {}", ledger.head())),
        "{said}"
    );
    // The other schema's is another ledger.
    assert_eq!(check(&server).unwrap().records(), 0);
    assert!(text(ward(&second[..3], &server.url("writer")).stdout).contains("ok: 0 records"));
    server.forge("update second.records set hash = sha256('x') where idx = 1");
    let bad = ward(&second, &server.url("writer"));
    let said = text(bad.stderr);
    assert!(!bad.status.success() && said.contains("--database: record 1: edited"), "{said}");
}

#[test]
fn the_command_refuses_without_repeating_a_password() {
    let url = "postgres://writer:Canary-of-the-password@localhost/ward?host=/nowhere";
    for (name, arguments, url, says) in [
        ("the URL itself", vec!["verify", "--database", url], url, "write `env:NAME`"),
        (
            "another database",
            vec!["verify", "--database", "env:WARD_URL"],
            "mysql://w:Canary-of-the-password@h/d",
            "postgres://USER@HOST",
        ),
        ("nobody answers", vec!["verify", "--database", "env:WARD_URL"], url, "--database: record 0: unreadable"),
        ("a schema that is none", vec!["verify", "--database", "env:WARD_URL", "--schema", "a;b"], url, "`schema`"),
        ("a folder besides", vec!["verify", "folder", "--database", "env:WARD_URL"], url, "cannot be used with"),
        ("neither", vec!["verify"], url, "DIR"),
        ("a script for a role that is none", vec!["schema", "--role", "a b"], url, "`role`"),
        ("a script for nobody", vec!["schema"], url, "--role"),
    ] {
        let refused = ward(&arguments, url);
        let said = text(refused.stderr);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{name}: {said}");
        assert!(said.contains(says), "{name}: {said}");
        assert!(!said.contains("Canary-of-the-password"), "{name}: {said}");
    }
}
