//! `field`.
