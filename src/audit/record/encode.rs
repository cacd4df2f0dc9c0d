//! A record as canonical bytes.

use jiff::fmt::temporal::DateTimePrinter;
use uuid::fmt::Hyphenated;

use super::{
    Record, Stream,
    changes::{ClassDiff, Stated},
    names::Kind,
    pruned::{Dropped, Prune},
};

/// Nine digits of seconds always: the wall time has one spelling.
pub(super) const TIME: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

/// Appends the canonical bytes of `record`.
pub(super) fn encode(record: &Record, out: &mut String) {
    fields(record, out);
    text(out, "signature", record.signature.as_deref());
    out.push('}');
}

/// The same as if it had no signature.
pub(super) fn unsigned(record: &Record, out: &mut String) {
    fields(record, out);
    out.push('}');
}

/// Appends what is left of a record.
pub(super) fn dropped(dropped: &Dropped, out: &mut String) {
    place(out, dropped.index, &dropped.stream, dropped.sequence);
    out.push_str(r#","dropped":""#);
    data_encoding::HEXLOWER.encode_append(&dropped.hash, out);
    out.push_str("\"}");
}

fn place(out: &mut String, index: u64, stream: &Stream, sequence: u64) {
    out.push_str(r#"{"v":1,"index":"#);
    number(out, index);
    out.push_str(r#","stream":""#);
    out.push_str(stream.as_str());
    out.push_str(r#"","seq":"#);
    number(out, sequence);
}

fn fields(record: &Record, out: &mut String) {
    place(out, record.index, &record.stream, record.sequence);
    out.push_str(r#","prev":""#);
    data_encoding::HEXLOWER.encode_append(&record.previous, out);
    out.push_str(r#"","at":""#);
    // Writing to a String cannot fail.
    let _ = TIME.print_timestamp(&record.at, &mut *out);
    out.push_str(r#"","mono":"#);
    number(out, record.monotonic_ns);
    if let Some(trail) = &record.trail {
        id(out, "trail", trail.as_bytes());
    }
    word(out, "kind", Kind::as_str(record.kind));
    if let Some(action) = record.action {
        word(out, "action", action.as_str());
    }
    if let Some(user) = &record.user {
        id(out, "user", user.as_bytes());
    }
    if let Some(about) = &record.about {
        id(out, "about", about.as_bytes());
    }
    text(out, "role", record.role.as_deref());
    if let Some(session) = &record.session {
        id(out, "session", session.as_bytes());
    }
    text(out, "permission", record.permission.as_deref());
    text(out, "entity", record.entity.as_deref());
    if !record.subjects.is_empty() {
        key(out, "subjects");
        for (n, subject) in record.subjects.iter().enumerate() {
            out.push_str(if n == 0 { "[\"" } else { ",\"" });
            uuid(out, subject.as_bytes());
            out.push('"');
        }
        out.push(']');
    }
    if let Some(row) = &record.row {
        id(out, "row", row.as_bytes());
    }
    if let Some(attempt) = &record.attempt {
        id(out, "attempt", attempt.as_bytes());
    }
    if !record.changes.is_empty() {
        changes(out, &record.changes);
    }
    if let Some(pruned) = &record.prune {
        prune(out, pruned);
    }
    if let Some(purpose) = &record.purpose {
        word(out, "purpose", purpose.as_str());
    }
    text(out, "reason", record.reason.as_deref());
    text(out, "why", record.why.as_deref());
    if let Some(outcome) = record.outcome {
        word(out, "outcome", outcome.as_str());
    }
    if let Some(end) = record.end {
        word(out, "end", end.as_str());
    }
    for (name, value) in [("status", record.status.map(u64::from)), ("bytes", record.bytes), ("count", record.count)] {
        if let Some(value) = value {
            key(out, name);
            number(out, value);
        }
    }
    if let Some(peer) = record.peer {
        use std::fmt::Write as _;
        // `IpAddr` prints in the one form of RFC 5952.
        let _ = write!(out, r#","peer":"{peer}""#);
    }
    text(out, "agent", record.agent.as_deref());
    text(out, "request", record.request.as_deref());
    if let Some(method) = record.method {
        word(out, "method", method.as_str());
    }
    text(out, "route", record.route.as_deref());
}

fn prune(out: &mut String, prune: &Prune) {
    key(out, "prune");
    out.push_str("{\"from\":");
    number(out, prune.from);
    key(out, "below");
    number(out, prune.below);
    key(out, "until");
    out.push('"');
    let _ = TIME.print_timestamp(&prune.until, &mut *out);
    out.push('"');
    if !prune.kept.is_empty() {
        key(out, "kept");
        out.push('"');
        prune.kept.write_to(out);
        out.push('"');
    }
    out.push('}');
}

fn changes(out: &mut String, changes: &[ClassDiff]) {
    key(out, "changes");
    for (n, section) in changes.iter().enumerate() {
        out.push_str(if n == 0 { "[{\"class\":" } else { ",{\"class\":" });
        quoted(out, &section.class);
        out.push_str(",\"sealed\":\"");
        data_encoding::BASE64URL_NOPAD.encode_append(&section.sealed, out);
        out.push_str("\",\"fields\":");
        for (n, field) in section.fields.iter().enumerate() {
            out.push_str(if n == 0 { "[{\"name\":\"" } else { ",{\"name\":\"" });
            out.push_str(&field.name);
            out.push('"');
            for (name, stated) in [("before", &field.before), ("after", &field.after)] {
                match stated {
                    Stated::Nothing => {}
                    Stated::Commitment(commitment) => {
                        key(out, name);
                        out.push('"');
                        data_encoding::BASE64URL_NOPAD.encode_append(commitment, out);
                        out.push('"');
                    }
                    Stated::Illegible => word(out, name, ILLEGIBLE),
                }
            }
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push(']');
}

/// What stands in the place of the commitment to something that did not open. No commitment is as short.
pub(super) const ILLEGIBLE: &str = "illegible";

fn key(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn number(out: &mut String, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|&b| char::from(b)));
}

/// A field whose text needs no escapes.
fn word(out: &mut String, name: &str, value: &str) {
    key(out, name);
    out.push('"');
    out.push_str(value);
    out.push('"');
}

fn id(out: &mut String, name: &str, bytes: &[u8; 16]) {
    key(out, name);
    out.push('"');
    uuid(out, bytes);
    out.push('"');
}

fn uuid(out: &mut String, bytes: &[u8; 16]) {
    let mut buffer = [0; Hyphenated::LENGTH];
    out.push_str(uuid::Uuid::from_bytes(*bytes).hyphenated().encode_lower(&mut buffer));
}

/// A text with the escapes of RFC 8785 §3.2.2.2: the short ones where JSON has them, `\u00xx` for other controls.
fn text(out: &mut String, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    key(out, name);
    quoted(out, value);
}

fn quoted(out: &mut String, value: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in value.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&value[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            other => {
                out.push_str("\\u00");
                data_encoding::HEXLOWER.encode_append(&[other], out);
            }
        }
    }
    out.push_str(&value[plain..]);
    out.push('"');
}
