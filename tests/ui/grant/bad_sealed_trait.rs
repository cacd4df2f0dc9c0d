//! A grant of one's own opens nothing: the traits are sealed.
use tower_ward::access::{Authority, OpenDoor};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub ReadSchedule = "schedule.read" opens Schedule; }

pub struct Mine;

impl Authority for Mine {}
impl OpenDoor for Mine {}

fn main() {}
