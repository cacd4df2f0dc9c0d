//! `tenant`.
