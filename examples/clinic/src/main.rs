//! `cargo run -p clinic`.

use std::process::ExitCode;

use clap::Parser as _;
use clinic::{app, args::Args, serve};

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

async fn run() -> Result<(), app::Error> {
    let args = Args::parse();
    // Before anything is started, so that nothing that was started is ended without a word.
    let signalled = serve::signalled()?;
    let server = app::start(&args, |line| println!("{line}")).await?;
    println!("{}", server.greeting());
    for note in server.key_notes() {
        println!("  Keys: {note}.");
    }
    for note in server.ledger_notes() {
        println!("  Ledger: {note}.");
    }
    let data = args.data.display();
    println!("  All logins: {data}/demo.json. The certificate to trust: {data}/ca.pem. Ctrl-C stops.");
    if let serve::Ended::Cut(count) = server.run(signalled).await? {
        eprintln!("{count} connection(s) were cut");
    }
    Ok(())
}

fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprint!("clinic: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
