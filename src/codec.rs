//! Lower-case hex and unpadded base64url, strict on the way in: what decodes has exactly one spelling.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The same of sixteen bytes, on the stack.
#[cfg(feature = "stack")]
pub(crate) fn hex16(bytes: &[u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    HEXLOWER.encode_mut(bytes, &mut text);
    text
}

/// Decodes lower-case hex of exactly `N` bytes.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// Base64url without padding (RFC 4648 §5).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Decodes base64url without padding; refuses padding, other alphabets, and non-zero trailing bits.
pub(crate) fn unbase64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

/// Whether PostgreSQL takes this for the name of a schema or a role, without quotes and as nothing else.
#[cfg(feature = "postgres")]
pub(crate) fn is_sql_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    // `public` is everybody's schema, and everybody as a role; the others are no names to SQL.
    let reserved = matches!(name, "public" | "current_user" | "current_role" | "session_user" | "user" | "none");
    matches!(bytes, [b'a'..=b'z', ..])
        && bytes.len() <= 63
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !reserved
}

/// What [`is_sql_name`] asks for.
#[cfg(feature = "postgres")]
pub(crate) const SQL_NAME: &str = "1 to 63 of `a-z 0-9 _`, a letter first, and no word of SQL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_canonical_spellings_are_refused() {
        assert_eq!(unbase64url("Zm8").as_deref(), Some(&b"fo"[..]));
        // `Zm9` has non-zero trailing bits: `Zm8` is the one spelling.
        for bad in ["Z", "Zh", "Zm9", "Zg==", "Zm+v", "Zm/v", "Zm 8"] {
            assert_eq!(unbase64url(bad), None, "{bad}");
        }
        for bad in ["AB", "a", "0g", "abcd"] {
            assert_eq!(unhex::<1>(bad), None, "{bad}");
        }
        assert_eq!(unhex::<2>("0aff"), Some([0x0a, 0xff]));
        assert_eq!((hex(&[0x0a, 0xff]), base64url(b"fo")), ("0aff".to_owned(), "Zm8".to_owned()));
    }
}
