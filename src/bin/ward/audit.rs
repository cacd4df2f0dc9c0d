//! `ward audit`.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tower_ward::{
    audit::{
        Action, AttemptId, CheckpointSigner, CheckpointVerifier, Head, Kind, Known, LedgerFolder, LedgerQuery,
        MAX_CHECKPOINT, MAX_PAGE, Outcome, PostgresLedger, Record, Report, Stream, VerifierKey, verify_postgres,
        verify_with,
    },
    clock::Timestamp,
    id::{SessionId, SubjectId, TenantId, TrailId, UserId},
    keys::KeySource,
    secret::ExposeSecret as _,
};

/// What to verify, and what is known of it from elsewhere.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The ledger's folder.
    #[arg(value_name = "DIR", required_unless_present = "database")]
    dir: Option<PathBuf>,
    /// Instead of a folder: where the URL is of the PostgreSQL database that holds the ledger, `env:NAME`, `file:/path` or
    /// `credential:name`. Any role that may look will do.
    #[arg(long, value_name = "SOURCE", value_parser = source, allow_hyphen_values = true, conflicts_with = "dir")]
    database: Option<Result<KeySource, String>>,
    /// The schema of the ledger's tables there.
    #[arg(long, value_name = "NAME", default_value = "ward_ledger", requires = "database")]
    schema: String,
    /// A checkpoint that was kept elsewhere, signed by `--key`: the ledger must once have been so. May be given again.
    #[arg(long, value_name = "CHECKPOINT", requires = "key")]
    since: Vec<PathBuf>,
    /// A head that was written down, `SIZE:ROOT`, without any signature. May be given again.
    #[arg(long, value_name = "HEAD")]
    since_head: Vec<Head>,
    /// Who signs the checkpoints, as `ward audit keygen` printed it. The ledger's own newest one is verified too.
    #[arg(long, value_name = "KEY")]
    key: Option<VerifierKey>,
    /// Who signed them before. May be given again.
    #[arg(long, value_name = "KEY", requires = "key")]
    old_key: Vec<VerifierKey>,
    /// A witness: if it has cosigned a checkpoint, that must hold. May be given again.
    #[arg(long, value_name = "KEY", requires = "key")]
    witness: Vec<VerifierKey>,
    /// How many witnesses must have cosigned each checkpoint that was kept.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "witness")]
    quorum: usize,
}

/// A parser's refusal would be printed next to the text that was refused, which may be a URL: so it refuses nothing.
#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn source(text: &str) -> Result<Result<KeySource, String>, std::convert::Infallible> {
    Ok(text.parse::<KeySource>().map_err(|error| error.to_string()))
}

/// No database's URL is longer.
const MAX_URL: usize = 4_096;

fn place(source: &Result<KeySource, String>, schema: &str) -> Result<PostgresLedger, String> {
    let url = source.as_ref().map_err(Clone::clone)?.read_secret(MAX_URL).map_err(|error| error.to_string())?;
    let place = PostgresLedger::new(url.expose_secret()).and_then(|place| place.with_schema(schema));
    place.map_err(|error| error.to_string())
}

/// Prints the script that makes a ledger's tables.
pub(crate) fn schema(schema: &str, role: &str) -> ExitCode {
    // Where the database is does not matter to the script.
    let script = PostgresLedger::new("postgres://localhost").and_then(|place| place.with_schema(schema)?.schema(role));
    print(script.map_err(|error| error.to_string()))
}

/// Prints a script, or why there is none.
pub(crate) fn print(script: Result<String, String>) -> ExitCode {
    let printed = script.and_then(|script| {
        let mut out = io::stdout().lock();
        out.write_all(script.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Checks a ledger, and says what it is worth, or which record is the first bad one.
pub(crate) fn verify(what: &Verify) -> ExitCode {
    let report = known(what).and_then(|known| match (&what.dir, &what.database) {
        (Some(dir), _) => verify_with(dir, &known).map_err(|error| format!("{}: {error}", dir.display())),
        (None, Some(source)) => {
            let verified = place(source, &what.schema).map(|place| verify_postgres(&place, &known));
            verified
                .and_then(|report| report.map_err(|error| error.to_string()))
                .map_err(|error| format!("--database: {error}"))
        }
        (None, None) => Err("name the ledger's folder, or its database with --database".to_owned()),
    });
    match report {
        Ok(report) => {
            say(what, &report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn known(what: &Verify) -> Result<Known, String> {
    let mut known = what.since_head.iter().copied().fold(Known::new(), Known::add_head);
    let Some(key) = &what.key else { return Ok(known) };
    let add = |keys: CheckpointVerifier, key: &VerifierKey| keys.add_old_key(key.clone());
    let own = CheckpointVerifier::new(key.clone()).and_then(|own| what.old_key.iter().try_fold(own, add));
    // The ledger itself asks no witness: what it has just signed, none has seen yet.
    let own = own.map_err(|error| error.to_string())?;
    let kept = what.witness.iter().try_fold(own.clone(), |keys, witness| keys.add_witness(witness.clone()));
    let kept = match what.quorum {
        0 => kept,
        quorum => kept.and_then(|keys| keys.with_quorum(quorum)),
    };
    let kept = kept.map_err(|error| error.to_string())?;
    for file in &what.since {
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let mut note = Vec::new();
        let limit = MAX_CHECKPOINT as u64 + 1;
        std::fs::File::open(file)
            .and_then(|open| open.take(limit).read_to_end(&mut note))
            .map_err(|error| at(&error))?;
        let signed = kept.verify(&note).map_err(|error| at(&error))?;
        known = known.add_head(signed.head());
    }
    Ok(known.with_keys(own))
}

fn say(what: &Verify, report: &Report) {
    let (records, tenants, head) = (report.records(), report.tenants(), report.head());
    match what.dir {
        Some(_) => {
            println!("ok: {records} records of {tenants} clinics in {} segments, head {head}", report.segments())
        }
        None => println!("ok: {records} records of {tenants} clinics in a database, head {head}"),
    }
    if report.dropped() > 0 {
        println!(
            "of {} records the hash alone is left: retention dropped them, as prune records say",
            report.dropped()
        );
    }
    if let Some(bytes) = report.torn() {
        println!("{bytes} bytes at the end were cut off by a crash before they were acknowledged");
    }
    if let Some(signed) = report.signed() {
        println!("signed up to record {}, {} after that", signed.size(), report.records() - signed.size());
    }
    match what.since.len() + what.since_head.len() {
        0 => println!(
            "keep the head or a checkpoint elsewhere: the ledger alone cannot show that its end was cut or all was rewritten"
        ),
        kept => println!("it begins as each of the {kept} that were kept says"),
    }
}

/// Makes a key that signs checkpoints.
pub(crate) fn keygen(name: &str, out: &Path) -> ExitCode {
    let made = CheckpointSigner::generate(name).map_err(|error| error.to_string()).and_then(|signer| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let write = |mut file: std::fs::File| {
            file.write_all(signer.encode().expose_secret().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        let written = options.open(out).and_then(write);
        written.map(|()| signer.verifier_key().to_string()).map_err(|error| format!("{}: {error}", out.display()))
    });
    match made {
        Ok(key) => {
            println!("{key}");
            eprintln!("the signing key is in {}; give the line above to whoever is to verify", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Which records of which ledger.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The ledger's folder.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Of this clinic. Without it, of all of them and of the platform.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Of the platform's own chain.
    #[arg(long, conflicts_with = "tenant")]
    platform: bool,
    /// That name this person.
    #[arg(long, value_name = "ID")]
    subject: Option<SubjectId>,
    /// That this user did.
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// That was done to this user's account.
    #[arg(long, value_name = "ID")]
    about: Option<UserId>,
    /// In this session.
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// In this request or job.
    #[arg(long, value_name = "ID")]
    trail: Option<TrailId>,
    /// Of this change.
    #[arg(long, value_name = "ID")]
    attempt: Option<AttemptId>,
    /// In which this was done: as often as there are actions, of which one is enough.
    #[arg(long, value_parser = action)]
    action: Vec<Action>,
    /// Of this kind: as often as there are kinds, of which one is enough.
    #[arg(long, value_parser = kind)]
    kind: Vec<Kind>,
    /// About this kind of thing.
    #[arg(long, value_name = "NAME")]
    entity: Option<String>,
    /// That ended so.
    #[arg(long, value_parser = outcome)]
    outcome: Option<Outcome>,
    /// By this route's template.
    #[arg(long, value_name = "TEMPLATE")]
    route: Option<String>,
    /// From this moment on, as in 2026-05-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// At most so many records.
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    limit: usize,
    /// The oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// On from where an earlier list of the same records ended.
    #[arg(long)]
    cursor: Option<String>,
    /// One canonical record a line, as it stands in the ledger.
    #[arg(long)]
    json: bool,
}

fn action(text: &str) -> Result<Action, &'static str> {
    Action::parse(text).ok_or("no action of a record: `docs/ledger.md` lists them")
}

fn kind(text: &str) -> Result<Kind, &'static str> {
    Kind::parse(text).ok_or("no kind of record: `docs/ledger.md` lists them")
}

fn outcome(text: &str) -> Result<Outcome, &'static str> {
    Outcome::parse(text).ok_or("an outcome is `committed`, `rolled_back` or `unknown`")
}

impl List {
    fn query(&self) -> LedgerQuery {
        let mut query = LedgerQuery::new();
        query = self.subject.into_iter().fold(query, LedgerQuery::with_subject);
        query = self.user.into_iter().fold(query, LedgerQuery::with_user);
        query = self.about.into_iter().fold(query, LedgerQuery::with_about);
        query = self.session.into_iter().fold(query, LedgerQuery::with_session);
        query = self.trail.into_iter().fold(query, LedgerQuery::with_trail);
        query = self.attempt.into_iter().fold(query, LedgerQuery::with_attempt);
        query = self.action.iter().copied().fold(query, LedgerQuery::add_action);
        query = self.kind.iter().copied().fold(query, LedgerQuery::add_kind);
        query = self.entity.iter().fold(query, |query, entity| query.with_entity(entity));
        query = self.outcome.into_iter().fold(query, LedgerQuery::with_outcome);
        query = self.route.iter().fold(query, |query, route| query.with_route(route));
        query = self.from.into_iter().fold(query, LedgerQuery::with_from);
        query = self.until.into_iter().fold(query, LedgerQuery::with_until);
        if self.oldest_first { query.oldest_first() } else { query }
    }

    fn print(&self, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
        let folder = LedgerFolder::open(&self.dir)?;
        let chain = self.tenant.clone().map(Stream::Tenant).or(self.platform.then_some(Stream::Platform));
        let (query, mut cursor, mut left) = (self.query(), self.cursor.clone(), self.limit);
        // Page by page, so that a long list takes no more memory than a short one.
        while let Some(limit) = NonZeroUsize::new(left.min(MAX_PAGE)) {
            let query = cursor.into_iter().fold(query.clone().with_limit(limit), LedgerQuery::with_cursor);
            let page = folder.danger_page(chain.as_ref(), &query)?;
            left -= page.records.len();
            for record in &page.records {
                if self.json {
                    out.write_all(&record.to_bytes())?;
                    out.write_all(b"\n")?;
                } else {
                    writeln!(out, "{}", line(record))?;
                }
            }
            let Some(next) = page.next else { return Ok(out.flush()?) };
            cursor = Some(next);
        }
        out.flush()?;
        if let Some(cursor) = cursor {
            eprintln!("there may be more: go on with --cursor {cursor}");
        }
        Ok(())
    }
}

/// Prints the records that are asked for.
pub(crate) fn list(list: &List) -> ExitCode {
    match list.print(&mut io::BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}: {error}", list.dir.display());
            let mut cause = error.source();
            while let Some(why) = cause {
                eprintln!("  because: {why}");
                cause = why.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// A record for the eye: what is absent is left out, and a text cannot move the terminal's cursor.
fn line(record: &Record) -> String {
    let chain = format!("{}#{}", record.stream().as_str(), record.sequence());
    let mut words = vec![record.at().to_string(), chain, record.kind().as_str().to_owned()];
    words.extend(record.action().map(|action| action.as_str().to_owned()));
    let mut named = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name}={value}")));
    let text = |text: Option<&str>| text.map(|text| format!("{text:?}"));
    named("user", record.user().map(|id| id.to_string()));
    named("role", text(record.role()));
    named("about", record.about().map(|id| id.to_string()));
    named("entity", text(record.entity()));
    match record.subjects() {
        [] => {}
        [one] => named("subject", Some(one.to_string())),
        several => named("subjects", Some(several.len().to_string())),
    }
    named("outcome", record.outcome().map(|outcome| outcome.as_str().to_owned()));
    named("end", record.end().map(|end| end.as_str().to_owned()));
    named("status", record.status().map(|status| status.to_string()));
    named("count", record.count().map(|count| count.to_string()));
    named("peer", record.peer().map(|peer| peer.to_string()));
    named("why", text(record.why()));
    named("reason", text(record.reason()));
    words.join(" ")
}
