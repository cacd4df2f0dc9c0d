//! All clinics in one PostgreSQL database: what keeps them apart, and what happens when somebody tries.

mod changes;
mod doctor;
mod generated;
mod injection;
mod plans;
mod pooler;
mod site;

use site::Site;
