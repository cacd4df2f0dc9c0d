//! `stack`.
