//! Sealed fields, as an application sees them.
