//! sqlmap, over the wire: every place of every operation, and the hole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, time::Instant};

use super::{
    document::{Operation, Place},
    planted::PLANTED,
    runner::Target as _,
    stage::Stage,
};
use crate::{
    harness::{AWAY, FAR, HOME, canaries, data, files},
    process::is_long,
    program::program,
};

/// Longer than any run of it takes in the short form and in the long one.
const PATIENCE: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(1_800)];

/// The program, each run of it anew.
struct Sqlmap {
    /// Its home, its reports and what it dumps.
    dir: TempDir,
}

/// What a run left behind.
struct Run {
    said: String,
    report: Value,
    took: Duration,
}

impl Sqlmap {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    async fn run(&self, name: &str, arguments: &[&str]) -> Run {
        let report = self.dir.path().join(format!("{name}.json"));
        let began = Instant::now();
        let running = Command::new(program("sqlmap"))
            .args(["--batch", "--disable-coloring", "--flush-session", "--skip-waf", "--host", "harbour.localhost"])
            .args(["--ignore-code", "*", "--retries", "0"])
            .arg("--output-dir")
            .arg(self.dir.path().join(name))
            .arg("--report-json")
            .arg(&report)
            .args(arguments)
            .envs([("HOME", self.dir.path().as_os_str()), ("TERM", "dumb".as_ref())])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE[usize::from(is_long("sqlmap"))], running).await;
        let output = output.expect("sqlmap does not end").unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let report = std::fs::read(&report).unwrap_or_else(|_| panic!("{name}: no report: {said}"));
        Run { said, report: serde_json::from_slice(&report).unwrap(), took: began.elapsed() }
    }
}

impl Run {
    /// What was found, of one target or of several.
    fn data(&self) -> Vec<&Value> {
        let one = std::iter::once(&self.report);
        let targets = self.report["targets"].as_array().into_iter().flatten();
        one.chain(targets).flat_map(|target| target["data"].as_array().into_iter().flatten()).collect()
    }

    /// The value of its kind.
    fn value(&self, kind: &str) -> &Value {
        let found = self.data().into_iter().find(|found| found["type_name"] == kind);
        &found.unwrap_or_else(|| panic!("nothing of the kind {kind}: {}", self.report))["value"]
    }
}

/// A request as a proxy logs it, with a mark after each text.
async fn logged(stage: &Stage, address: SocketAddr, operation: &Operation, places: &[Place]) -> String {
    let mut sample = stage.valid(operation, None).await;
    for place in places {
        if let Place::Query(_) = place {
            let valid = stage.valid(operation, Some(place)).await.value(place);
            sample = sample.with(place, &valid);
        }
    }
    for place in places {
        let marked = format!("{}*", sample.value(place));
        sample = sample.with(place, &marked);
    }
    let target = sample.target(&operation.path, "*");
    let mut text = format!("{} http://{address}{target} HTTP/1.1\nHost: {HOME}.localhost\n", operation.method);
    if let Some(role) = Stage::role(operation) {
        let _ = writeln!(text, "Authorization: Bearer {}", stage.token(&role).await);
    }
    for (name, value) in &sample.headers {
        let _ = writeln!(text, "{name}: {value}");
    }
    if let Some(body) = &sample.body {
        let _ = write!(text, "Content-Type: application/json\n\n{body}\n");
    }
    format!("{0}\n{text}\n{0}\n", "=".repeat(40))
}

/// Operations that one run may hold: it looks at each place of a path once, whatever the method.
fn runs(operations: &[Operation]) -> BTreeMap<String, Vec<(Operation, Vec<Place>)>> {
    let mut runs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for operation in operations {
        // Where the next page begins depends on what else is asked for.
        let cursor = |place: &&Place| **place == Place::Query("cursor".to_owned());
        let (cursors, others): (Vec<_>, Vec<_>) = operation.places.iter().partition(cursor);
        let kind = match operation.method {
            Method::GET => "get",
            Method::POST if operation.path.contains("{id}") => "post",
            Method::POST => "entry",
            Method::DELETE => "delete",
            _ => "change",
        };
        for (kind, places) in [(kind, others), ("cursor", cursors)] {
            if !places.is_empty() {
                let places = places.into_iter().cloned().collect();
                runs.entry(kind.to_owned()).or_default().push((operation.clone(), places));
            }
        }
    }
    runs
}

/// What is tried in the short form, and in the long one.
fn depth() -> &'static [&'static str] {
    if is_long("sqlmap") {
        &["--level", "2", "--time-sec", "2"]
    } else {
        &["--level", "1", "--technique", "BEU", "--dbms", "PostgreSQL"]
    }
}

/// With `TOWER_WARD_LONG=sqlmap` at level 2, by every technique and for every database; else at level 1, without those that wait.
// proves GLM-31
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlmap_finds_nothing_to_inject_in_the_clinic() {
    let stage = Stage::start().await;
    let (address, served) = stage.serve().await;
    let sqlmap = Sqlmap::new();
    let began = Instant::now();
    let runs = runs(&stage.operations());
    let attack = async |kind: &str| {
        let (operations, began) = (&runs[kind], Instant::now());
        let (mut marked, mut seen) = (0, 0);
        // One after the other where each takes long: a token is good for ten minutes.
        for some in operations.chunks(if is_long("sqlmap") { 1 } else { operations.len() }) {
            let (mut log, mut marks) = (String::new(), 0);
            for (operation, places) in some {
                log.push_str(&logged(&stage, address, operation, places).await);
                marks += places.len();
            }
            let name = format!("{kind}-{marked}");
            let file = sqlmap.dir.path().join(format!("{name}.log"));
            std::fs::write(&file, log).unwrap();
            let run = sqlmap.run(&name, &[&["-l", file.to_str().unwrap()], depth()].concat()).await;
            assert!(run.data().is_empty(), "{name}: {}\n{}", run.report, run.said);
            let looked_at = run.said.matches("does not seem to be injectable").count();
            assert_eq!(looked_at, marks, "{name}: {}", run.said);
            marked += marks;
            seen += 1;
        }
        println!(
            "sqlmap, {kind}: {marked} places of {} operations in {seen} runs, {} s",
            operations.len(),
            began.elapsed().as_secs()
        );
        marked
    };
    // Nobody reads the ledger twice at a time, so what reads comes one after the other.
    let (read, made, changed) =
        tokio::join!(async { attack("get").await + attack("cursor").await }, attack("post"), async {
            attack("change").await + attack("delete").await + attack("entry").await
        });
    let places = read + made + changed;
    let answered = served.take();
    println!("sqlmap: {places} places, {} s, {:?}", began.elapsed().as_secs(), answered.by_status);
    assert!(answered.failed.is_empty(), "{:#?}", answered.failed);
    assert!(places > 150 && answered.by_status.values().sum::<usize>() > 2_000, "{answered:?}");
}

// proves GLM-31, GLM-12, CLA-12: what would find a hole finds one, and through it no row of another clinic comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlmap_finds_a_planted_hole_and_takes_rows_of_one_clinic_through_it() {
    let stage = Stage::start().await;
    let (address, served) = stage.serve().await;
    let sqlmap = Sqlmap::new();
    let patients = |tenant| -> BTreeSet<String> {
        stage.place().clinic(tenant).patients.iter().map(ToString::to_string).collect()
    };
    let url = format!("http://{address}{PLANTED}?id={}", patients(HOME).first().unwrap());
    let token = format!("Authorization: Bearer {}", stage.token("owner").await);
    let ask = async |name: &str, arguments: &[&str]| {
        let fixed = ["-u", &url, "-p", "id", "-H", &token];
        sqlmap.run(name, &[&fixed, arguments].concat()).await
    };

    // At the depth at which nothing was found in the clinic.
    let run = ask("depth", depth()).await;
    assert!(!run.value("TECHNIQUES").as_array().unwrap().is_empty(), "{}", run.said);

    // By everything, and then whatever a thief would do next.
    let others = format!("select count(*) from patients where tenant<>'{HOME}'");
    let by_all = ["--technique", "BEUST", "--time-sec", "1", "--dbms", "PostgreSQL"];
    let theft =
        ["--sql-query", &others, "--dump", "-D", "public", "-T", "patients", "-C", "id,tenant,given,nhs_number"];
    let run = ask("theft", &[&by_all[..], &theft].concat()).await;
    let found = run.value("TECHNIQUES")[0]["data"].as_array().unwrap();
    let techniques: BTreeSet<_> = found.iter().map(|one| one["technique"].as_str().unwrap()).collect();
    println!("sqlmap, planted: {techniques:?} in {} s, {:?}", run.took.as_secs(), served.take().by_status);
    let expected =
        ["UNION query", "boolean-based blind", "error-based", "stacked queries", "time-based blind"].map(Into::into);
    assert_eq!(techniques, BTreeSet::from(expected), "{}", run.said);
    assert_eq!(run.value("SQL_QUERY"), "0", "{}", run.said);
    let stolen = run.value("DUMP_TABLE");
    let column = |name: &str| -> BTreeSet<String> {
        let values = stolen["columns"][name].as_array().unwrap_or_else(|| panic!("no {name}: {stolen}"));
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(column("tenant"), BTreeSet::from([HOME.to_owned()]));
    let ids = column("id");
    assert!(ids.is_superset(&patients(HOME)), "{ids:?}");
    for tenant in [AWAY, FAR] {
        assert!(ids.is_disjoint(&patients(tenant)), "{tenant}");
    }
    // And what is sealed came as it is kept.
    let people = data().clinics.into_iter().flat_map(|clinic| clinic.patients);
    let plain = canaries(people.flat_map(|one| [one.nhs_test_number, one.phone, one.email]));
    assert!(plain.len() > 100 && column("given").len() > 20);
    for file in files(sqlmap.dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(plain.found_in(&bytes), None, "{}", file.display());
        assert_eq!(stage.foreign(&bytes), None, "{}", file.display());
    }
}
