//! `ward audit verify`.

use std::{path::Path, process::ExitCode};

/// Checks the ledger in `dir`, and says what it is worth, or which record is the first bad one.
pub(crate) fn verify(dir: &Path) -> ExitCode {
    match tower_ward::audit::verify(dir) {
        Ok(report) => {
            println!(
                "ok: {} records of {} clinics in {} segments, head {}",
                report.records(),
                report.tenants(),
                report.segments(),
                report.head()
            );
            if let Some(bytes) = report.torn() {
                println!("{bytes} bytes at the end were cut off by a crash before they were acknowledged");
            }
            println!(
                "keep the head elsewhere: the files alone cannot show that their end was cut or all was rewritten"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}
