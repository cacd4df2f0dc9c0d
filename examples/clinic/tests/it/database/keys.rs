//! Keys and accounts in a PostgreSQL database: begun there, found there again, erased there, and nowhere else.

use http::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tower_ward::keys::RootKey;

use super::*;
use crate::{
    erasure::{done, erase, newcomer, sealed},
    postgres::cluster::Cluster,
    process::until,
};

const ROLE: &str = "clinic_keys";
/// Stands in the URLs, and the servers of these tests do not ask for it.
const SECRET: &str = "Canary-of-the-password";
const SCHEMAS: [&str; 2] = ["ward_keys", "ward_accounts"];

/// A server with an empty database for each of these names.
async fn server(databases: &[&str]) -> Cluster {
    let cluster = Cluster::start(&[]);
    cluster.sql("create role clinic_owner login; create role clinic_keys login");
    for database in databases {
        cluster.sql(&format!("create database {database} owner clinic_owner"));
    }
    cluster
}

/// A server with empty stores, the folder of their URL's file, and the source that names it.
async fn prepared() -> (Cluster, TempDir, String) {
    let cluster = server(&["keys"]).await;
    make_key_stores(&cluster, "keys", "clinic_owner", ROLE).await;
    let elsewhere = TempDir::new().unwrap();
    let keys = source(elsewhere.path(), "keys", &url(&cluster, ROLE, "keys"));
    (cluster, elsewhere, keys)
}

fn url(cluster: &Cluster, role: &str, database: &str) -> String {
    cluster.url_of(role, database).replacen('@', &format!(":{SECRET}@"), 1)
}

/// Runs statements in a database as the superuser.
async fn sql(cluster: &Cluster, database: &str, statements: &str) {
    let mut conn = PgConnection::connect(&cluster.url_of("postgres", database)).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut conn).await.unwrap();
}

/// How many entries of a store hold these bytes.
async fn holding(cluster: &Cluster, database: &str, schema: &str, bytes: &[u8]) -> i64 {
    let mut conn = PgConnection::connect(&cluster.url_of("postgres", database)).await.unwrap();
    let count = AssertSqlSafe(format!("select count(*) from {schema}.objects where position($1 in value) > 0"));
    sqlx::query(count).bind(bytes).fetch_one(&mut conn).await.unwrap().get(0)
}

/// A folder's files, below its name.
fn names(data: &Path) -> Vec<String> {
    files(data).iter().map(|path| path.strip_prefix(data).unwrap().display().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_accounts_in_a_database_are_found_there_again_and_in_no_file() {
    let (cluster, _elsewhere, keys) = prepared().await;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let flag = ["--keys-database", keys.as_str()];

    let child = Child::start(&data, &flag, &[]).await;
    let doctor = child.place.login(HOME, "doctor").await;
    let seen = doctor.get("/api/patients").await.expect(200).json();
    assert!(!seen["items"].as_array().unwrap().is_empty());
    let (out, _) = child.stop().await;
    assert!(out.contains("the key store, in a PostgreSQL database, has 1 copy"), "{out}");
    assert!(out.contains("stays, wrapped, in the log of its PostgreSQL server"), "{out}");

    let child = Child::start(&data, &flag, &[]).await;
    assert_eq!(child.place.login(HOME, "doctor").await.get("/api/patients").await.expect(200).json(), seen);
    // Not even while it runs.
    let names = names(&data);
    assert!(names.iter().any(|name| name == "keys-copy.sqlite"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("keys.sqlite") || name.contains("accounts")), "{names:?}");
    child.stop().await;
    for (path, bytes) in snapshot(&data) {
        assert!(!find(&bytes, SECRET.as_bytes()), "the URL stands in {}", path.display());
    }

    // No other place is taken for it, and finding that out costs nobody a folder.
    let before = snapshot(&data);
    let says = |said: &str, words: &[&str]| {
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains(SECRET) && !said.contains("postgres://"), "{said}");
    };
    let elsewhere = "are in a PostgreSQL database: name the source of its URL with --keys-database";
    says(&refused(&data, &[]), &[elsewhere]);
    // Nor is the folder emptied and what is there forgotten.
    says(&refused(&data, &["--fresh"]), &[elsewhere]);
    says(&refused(&data, &["--keys-database", &keys, "--fresh"]), &["holds keys or accounts already", "--fresh"]);
    let other = dir.path().join("other");
    says(&refused(&other, &flag), &["another data folder", "--data", "ward store schema"]);
    assert!(!other.exists());
    for schema in SCHEMAS {
        sql(&cluster, "keys", &format!("create table kept as table {schema}.objects; delete from {schema}.objects"))
            .await;
        says(&refused(&data, &flag), &["--keys-database holds no keys or no accounts", "was begun with"]);
        let back = format!("insert into {schema}.objects table kept; drop table kept");
        sql(&cluster, "keys", &back).await;
    }
    assert!(snapshot(&data) == before, "something was changed");
    Child::start(&data, &flag, &[]).await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_logged_in_and_who_has_joined_outlive_a_kill() {
    const PASSWORD: &str = "a password of their own";
    let (_cluster, _elsewhere, keys) = prepared().await;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let flag = ["--keys-database", keys.as_str()];

    let child = Child::start(&data, &flag, &[]).await;
    let owner = child.place.login(HOME, "owner").await;
    let gone = child.place.login(HOME, "doctor").await;
    gone.send(Method::POST, "/api/logout", None).await.expect(204);
    let id = newcomer(&owner, "Joined").await;
    let email = "niece@example.org";
    let invitations = format!("/api/patients/{id}/circle/invitations");
    let invited = owner.post(&invitations, &json!({ "email": email })).await.expect(201).json();
    let join = json!({ "token": invited["token"], "email": email, "password": PASSWORD });
    let joined = child.place.guest(HOME).post("/api/circle/join", &join).await.expect(201).json();
    // SIGKILL.
    drop(child);

    let child = Child::start(&data, &flag, &[]).await;
    let guest = child.place.guest(HOME);
    let back = guest.with_token(owner.token.as_deref());
    back.get(&format!("/api/patients/{id}")).await.expect(200);
    guest.try_refresh(owner.refresh.as_deref().unwrap()).await.expect(200);
    guest.try_login(joined["username"].as_str().unwrap(), PASSWORD).await.expect(200);
    // What ended, ended for good; what was used is not used again.
    guest.with_token(gone.token.as_deref()).get("/api/me").await.expect(401);
    guest.post("/api/circle/join", &join).await.expect(404);
    child.stop().await;
}

// proves CLA-37: with the key store in a database and its copy in a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_patients_key_is_gone_from_the_database_and_from_the_copy() {
    let (cluster, elsewhere, keys) = prepared().await;
    let copy = elsewhere.path().join("copy.sqlite");
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let flags = ["--keys-database", keys.as_str(), "--key-copy", copy.to_str().unwrap()];
    let child = Child::start(&data, &flags, &[]).await;
    let owner = child.place.login(HOME, "owner").await;
    let (id, kept) = (newcomer(&owner, "Quillfeather").await, newcomer(&owner, "Stays").await);
    let record: Vec<u8> = {
        let mut conn = PgConnection::connect(&cluster.url_of("postgres", "keys")).await.unwrap();
        let value = sqlx::query_scalar("select value from ward_keys.objects where name = $1");
        value.bind(format!("t:{HOME}:key:subject-{id}")).fetch_one(&mut conn).await.unwrap()
    };
    let key = sealed(&record);
    let in_copy = || {
        let ends = ["", "-wal"].map(|end| PathBuf::from(format!("{}{end}", copy.display())));
        ends.iter().filter_map(|path| read(path)).any(|bytes| find(&bytes, key))
    };
    // What the server's own log has, it has for a while.
    let in_tables = || {
        cluster.sql("checkpoint");
        let tables = files(&cluster.data()).into_iter().filter(|path| !path.to_string_lossy().contains("/pg_wal/"));
        tables.filter(|path| read(path).is_some_and(|bytes| find(&bytes, key))).collect::<Vec<_>>()
    };
    until(async || in_copy()).await;
    assert!(!in_tables().is_empty(), "the key was not where this test looks for it");
    assert_eq!(holding(&cluster, "keys", "ward_keys", key).await, 1);

    assert_eq!(erase(&owner, id).await.expect(200).json(), done());
    assert_eq!(holding(&cluster, "keys", "ward_keys", key).await, 0);
    assert_eq!(in_tables(), Vec::<PathBuf>::new());
    assert!(!in_copy(), "the copy has the key");
    owner.get(&format!("/api/patients/{id}")).await.expect(404);
    child.stop().await;

    let child = Child::start(&data, &flags, &[]).await;
    let owner = child.place.login(HOME, "owner").await;
    owner.get(&format!("/api/patients/{id}")).await.expect(404);
    owner.get(&format!("/api/patients/{kept}")).await.expect(200);
    child.stop().await;
}

#[tokio::test]
async fn keys_in_the_folder_stay_there() {
    let dir = demo_folder().await;
    let before = snapshot(dir.path());
    // Nobody asks the database first: there is none.
    let said = refused(dir.path(), &["--keys-database", "env:CLINIC_TEST_URL_THAT_IS_NOT_SET"]);
    assert!(said.contains("the keys and accounts of") && said.contains("start without --keys-database"), "{said}");
    assert!(snapshot(dir.path()) == before, "something was changed");
}

// attack: the keys of another folder, under the same root key, in the place of this one's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_another_folder_are_not_taken_for_this_ones() {
    let cluster = server(&["one", "two"]).await;
    let (elsewhere, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let root = elsewhere.path().join("root.key");
    RootKey::generate().write_new_file(&root).unwrap();
    let root = format!("file:{}", root.display());
    let mut sources = Vec::new();
    for database in ["one", "two"] {
        make_key_stores(&cluster, database, "clinic_owner", ROLE).await;
        let keys = source(elsewhere.path(), database, &url(&cluster, ROLE, database));
        Child::start(&dir.path().join(database), &["--key", &root, "--keys-database", &keys], &[]).await.stop().await;
        sources.push(keys);
    }
    let said = refused(&dir.path().join("one"), &["--key", &root, "--keys-database", &sources[1]]);
    assert!(
        said.contains("holds the keys of another data folder: name the database that this one was begun with"),
        "{said}"
    );
    assert!(!said.contains(SECRET) && !said.contains("postgres://"), "{said}");
    Child::start(&dir.path().join("one"), &["--key", &root, "--keys-database", &sources[0]], &[]).await.stop().await;
}

#[tokio::test]
async fn a_database_that_is_not_fit_for_keys_is_refused_and_its_url_is_not_said() {
    let cluster = server(&["empty", "half", "whole"]).await;
    make_key_stores(&cluster, "whole", "clinic_owner", ROLE).await;
    make_key_stores(&cluster, "half", "clinic_owner", ROLE).await;
    sql(&cluster, "half", "drop schema ward_accounts cascade").await;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let whole = url(&cluster, ROLE, "whole");
    let nowhere = format!("postgres://keys:{SECRET}@localhost/keys?host={}", dir.path().display());
    let named = |name: &str, url: &str| source(dir.path(), name, url);
    let open = named("open", &whole);
    fs::set_permissions(dir.path().join("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let script = "made by what `ward store schema` prints";
    for (name, source, says) in [
        ("the URL itself", nowhere.clone(), ["--keys-database", "write `env:NAME`"]),
        (
            "another database",
            named("mysql", &format!("mysql://k:{SECRET}@h/d")),
            ["--keys-database", "postgres://USER@HOST"],
        ),
        ("no URL", named("none", &format!("postgres://k:{SECRET}@[h")), ["--keys-database", "postgres://USER@HOST"]),
        ("everybody's to read", open, ["--keys-database", "chmod 600"]),
        ("nobody answers", named("nowhere", &nowhere), ["`ward_keys`", "the store failed"]),
        ("no stores", named("empty", &url(&cluster, ROLE, "empty")), [script, "the tables are not there"]),
        ("keys alone", named("half", &url(&cluster, ROLE, "half")), ["`ward_accounts`", "the tables are not there"]),
        (
            "the owner's role",
            named("owner", &url(&cluster, "clinic_owner", "whole")),
            ["`ward_keys`", "owns the tables"],
        ),
        ("a superuser's", named("super", &url(&cluster, "postgres", "whole")), ["`ward_keys`", "superuser"]),
    ] {
        let said = refused(&data, &["--keys-database", &source]);
        assert!(says.iter().all(|words| said.contains(words)), "{name}: {said}");
        assert!(!said.contains(SECRET) && !said.contains(&*cluster.folder().to_string_lossy()), "{name}: {said}");
        assert!(!data.exists(), "{name}: something was begun");
    }
}

#[tokio::test]
async fn each_part_needs_a_database_role_of_its_own() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut n = 0;
    let mut named = |url: &str| {
        n += 1;
        source(dir.path(), &format!("url-{n}"), &url.replacen('@', &format!(":{SECRET}@"), 1))
    };
    let socket = dir.path().display();
    // Nobody needs to answer, and nobody does.
    for (name, keys, other) in [
        ("the same database", "postgres://ward@127.0.0.1:9/clinic", "postgres://ward@127.0.0.1:9/clinic"),
        ("another name of the server", "postgres://ward@localhost:9/keys", "postgres://ward@127.0.0.1:6432/clinic"),
        ("another database", "postgres://ward@127.0.0.1:9/keys", "postgres://ward@127.0.0.1:9/clinic"),
        (
            "another spelling",
            "postgresql://ward@DB.localhost:5432/keys",
            "postgres://ward@db.localhost/clinic?sslmode=require",
        ),
        (
            "by a socket",
            format!("postgres://ward@x/keys?host={socket}").as_str(),
            format!("postgres://ward@y/clinic?host={socket}").as_str(),
        ),
    ] {
        let (keys, other) = (named(keys), named(other));
        for flags in [&["--ledger-database"][..], &["--database-url"], &["--database-url", "--database-owner"]] {
            let mut arguments = vec!["--keys-database", &keys];
            let apart = named("postgres://else@127.0.0.1:9/clinic");
            for flag in flags {
                arguments.extend([*flag, if Some(flag) == flags.last() { other.as_str() } else { apart.as_str() }]);
            }
            let said = refused(&data, &arguments);
            let sentence = format!("--keys-database: {} names this role too", flags.last().unwrap());
            assert!(said.contains(&sentence), "{name}: {said}");
            assert!(said.contains("each needs a database role of its own: make one"), "{name}: {said}");
            assert!(!said.contains(SECRET) && !said.contains("ward@"), "{name}: {said}");
            assert!(!data.exists(), "{name}: something was begun");
        }
    }
    // Nor do the ledger, the clinics and their owner share one.
    for (flags, sentence) in [
        (["--ledger-database", "--database-url"], "--database-url: --ledger-database names this role too"),
        (["--database-url", "--database-owner"], "--database-owner: --database-url names this role too"),
    ] {
        let [one, other] = ["one", "other"].map(|database| named(&format!("postgres://ward@127.0.0.1:9/{database}")));
        let said = refused(&data, &[flags[0], &one, flags[1], &other]);
        assert!(said.contains(sentence) && !said.contains(SECRET), "{said}");
        assert!(!data.exists(), "something was begun");
    }
    // Another role is asked whether it is there.
    let (keys, other) = (named("postgres://ward@127.0.0.1:9/keys"), named("postgres://other@127.0.0.1:9/clinic"));
    let said = refused(&data, &["--keys-database", &keys, "--database-url", &other]);
    assert!(said.contains("--database-url: nobody can log in there") && !said.contains(SECRET), "{said}");
}
