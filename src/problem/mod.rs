//! `problem`.
