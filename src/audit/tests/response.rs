//! Responses and bodies that wait for their records.
