//! `rate_limit`.
