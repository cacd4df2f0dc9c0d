//! Attacks as tables: each row is named, and the name is in the message of the assertion that it breaks.

mod forwarded;
mod host;
mod policy;
