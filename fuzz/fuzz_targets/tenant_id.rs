//! A tenant's identifier has one spelling, and that spelling is a DNS label.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::id::TenantId;

fuzz_target!(|text: &str| {
    let Ok(id) = TenantId::new(text) else { return };
    assert_eq!(id.as_str(), text);
    assert_eq!(id.to_string().parse(), Ok(id.clone()));

    assert!((1..=63).contains(&text.len()));
    assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    assert!(!text.starts_with(|c: char| !c.is_ascii_lowercase()) && !text.ends_with('-'));
});
