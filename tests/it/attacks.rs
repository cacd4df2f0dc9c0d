//! Attacks as tables: each row is named, and the name is in the message of the assertion that it breaks.

#[cfg(all(feature = "axum", feature = "sqlite"))]
mod body;
mod forwarded;
mod host;
mod policy;
