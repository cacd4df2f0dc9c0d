//! The scope of a list hands no work on.
use std::time::Duration;

use tower_ward::access::{Jobs, Scope, Task};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub enum Remind {}
impl Task for Remind {
    type Permission = ReadNotes;
    const ID: &'static str = "remind";
}

pub async fn issue(jobs: &Jobs, scope: &Scope<ReadNotes>) {
    let _ = jobs.issue::<Remind>(scope, Duration::from_secs(60)).await;
}

fn main() {}
