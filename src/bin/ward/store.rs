//! `ward store`.

use std::process::ExitCode;

use tower_ward::store::PostgresPlace;

use crate::audit::print;

/// Prints the script that makes a store's tables.
pub(crate) fn schema(schema: &str, role: &str) -> ExitCode {
    // Where the database is does not matter to the script.
    let script = PostgresPlace::new("postgres://localhost").and_then(|place| place.with_schema(schema)?.schema(role));
    print(script.map_err(|error| error.to_string()))
}
