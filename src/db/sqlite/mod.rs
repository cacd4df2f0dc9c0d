//! One SQLite file per clinic.

mod changes;
mod clinics;
mod files;
mod latch;
mod relations;
mod touched;
mod tx;

use files::File;
pub use files::{Db, MAX_OPEN_FILES};
pub use relations::SqliteRelations;
pub use tx::{ReadTx, TenantTx};
