//! `axum`.
