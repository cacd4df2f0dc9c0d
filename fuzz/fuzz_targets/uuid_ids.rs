//! An identifier has one spelling and one form in bytes, and each gives the other back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::id::{RowId, SubjectId};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(id) = text.parse::<SubjectId>()
    {
        assert_eq!(id.to_string(), text);
        assert_eq!(SubjectId::from_bytes(*id.as_bytes()), id);
    }
    if let Ok(bytes) = <[u8; 16]>::try_from(data) {
        let id = RowId::from_bytes(bytes);
        assert_eq!(id.as_bytes(), &bytes);
        assert_eq!(id.to_string().parse(), Ok(id));
    }
});
