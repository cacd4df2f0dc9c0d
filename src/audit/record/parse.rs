//! Canonical bytes as a record. What does not come out of `encode` is refused.

use std::{borrow::Cow, fmt::Write as _, net::IpAddr, str::FromStr};

use super::{
    MAX_NAME, MAX_RECORD, MAX_SUBJECTS, MAX_TEXT, MAX_WHY, Purpose, Record, Stream,
    changes::{ClassDiff, FieldDiff, MAX_CLASSES, MAX_FIELD_NAME, MAX_FIELDS, MAX_SEALED_VALUES, Stated},
    encode,
    names::{Action, End, Kind, Method, Outcome},
    pruned::{Dropped, MAX_KEPT, MAX_SIGNATURE, Prune, Spans},
};
use crate::{clock::Timestamp, codec};

/// Bytes that are not a canonical record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical record: bad `{field}`")]
pub struct RecordError {
    field: &'static str,
}

impl RecordError {
    /// The first field that is wrong: `record` for the frame itself.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

/// The longest identifier, time or address.
const MAX_WORD: usize = 64;

/// A word as it is printed, on the stack: each record of a ledger that is verified has two.
struct Printed {
    bytes: [u8; MAX_WORD],
    len: usize,
}

impl Printed {
    fn new() -> Self {
        Self { bytes: [0; MAX_WORD], len: 0 }
    }

    fn is(&self, text: &str) -> bool {
        self.bytes[..self.len] == *text.as_bytes()
    }
}

impl std::fmt::Write for Printed {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let place = self.bytes[self.len..].get_mut(..part.len()).ok_or(std::fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.len += part.len();
        Ok(())
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Record, RecordError> {
    let frame = RecordError { field: "record" };
    if bytes.len() > MAX_RECORD {
        return Err(frame);
    }
    let mut c = Cursor { rest: std::str::from_utf8(bytes).map_err(|_| frame)? };
    let (index, stream, sequence) = c.place()?;
    let previous = c.required("prev", Cursor::hash)?;
    let at = c.required("at", Cursor::time)?;
    let monotonic_ns = c.required("mono", Cursor::number)?;
    let trail = c.optional("trail", Cursor::parsed)?;
    let kind = c.required("kind", |c, field| Kind::parse(c.word(field)?).ok_or(RecordError { field }))?;
    let action = c.optional("action", |c, field| Action::parse(c.word(field)?).ok_or(RecordError { field }))?;
    let user = c.optional("user", Cursor::parsed)?;
    let about = c.optional("about", Cursor::parsed)?;
    let role = c.optional("role", |c, field| c.text(field, MAX_NAME))?.map(|text| text.as_ref().into());
    let session = c.optional("session", Cursor::parsed)?;
    let permission = c.optional("permission", |c, field| c.text(field, MAX_NAME))?.map(owned);
    let entity = c.optional("entity", |c, field| c.text(field, MAX_NAME))?.map(owned);
    let subjects = c.optional("subjects", Cursor::subjects)?.unwrap_or_default();
    let row = c.optional("row", Cursor::parsed)?;
    let attempt = c.optional("attempt", Cursor::parsed)?;
    let changes = c.optional("changes", Cursor::changes)?.unwrap_or_default();
    let prune = c.optional("prune", Cursor::prune)?;
    let purpose = c.optional("purpose", |c, field| Purpose::new(c.word(field)?).map_err(|_| RecordError { field }))?;
    let reason = c.optional("reason", |c, field| c.text(field, MAX_TEXT))?.map(owned);
    let why = c.optional("why", |c, field| c.text(field, MAX_WHY))?.map(|text| text.as_ref().into());
    let outcome = c.optional("outcome", |c, field| Outcome::parse(c.word(field)?).ok_or(RecordError { field }))?;
    let end = c.optional("end", |c, field| End::parse(c.word(field)?).ok_or(RecordError { field }))?;
    let status = c.optional("status", |c, field| u16::try_from(c.number(field)?).map_err(|_| RecordError { field }))?;
    let sent = c.optional("bytes", Cursor::number)?;
    let count = c.optional("count", Cursor::number)?;
    let peer = c.optional("peer", Cursor::address)?;
    let agent = c.optional("agent", |c, field| c.text(field, MAX_TEXT))?.map(|text| text.as_ref().into());
    let request = c.optional("request", |c, field| c.text(field, MAX_NAME))?.map(|text| text.as_ref().into());
    let method = c.optional("method", |c, field| Method::parse(c.word(field)?).ok_or(RecordError { field }))?;
    let route = c.optional("route", |c, field| c.text(field, MAX_TEXT))?.map(|text| text.as_ref().into());
    let signature = c.optional("signature", |c, field| c.text(field, MAX_SIGNATURE))?.map(|text| text.as_ref().into());
    c.end()?;
    // A change says what it made of its row, and nothing else does.
    if (kind == Kind::Changed) == changes.is_empty() {
        return Err(RecordError { field: "changes" });
    }
    // A prune record says what may go and is signed, and no other does or is.
    if (kind == Kind::Pruned) != prune.is_some() || prune.as_ref().is_some_and(|p| p.below > sequence || p.until > at) {
        return Err(RecordError { field: "prune" });
    }
    if (kind == Kind::Pruned) != signature.is_some() {
        return Err(RecordError { field: "signature" });
    }
    Ok(Record {
        index,
        stream,
        sequence,
        previous,
        at,
        monotonic_ns,
        trail,
        kind,
        action,
        user,
        about,
        role,
        session,
        permission,
        entity,
        subjects,
        row,
        attempt,
        changes,
        prune: prune.map(Box::new),
        purpose,
        reason,
        why,
        outcome,
        end,
        status,
        bytes: sent,
        count,
        peer,
        agent,
        request,
        method,
        route,
        signature,
    })
}

/// What is left of a record.
pub(super) fn dropped(bytes: &[u8]) -> Result<Dropped, RecordError> {
    let frame = RecordError { field: "record" };
    let mut c = Cursor { rest: std::str::from_utf8(bytes).map_err(|_| frame)? };
    let (index, stream, sequence) = c.place()?;
    let hash = c.required("dropped", Cursor::hash)?;
    c.end()?;
    Ok(Dropped { index, stream, sequence, hash })
}

/// A number in its one spelling.
pub(super) fn decimal(digits: &str) -> Option<u64> {
    let spelled = digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    // Refuses the empty text and what does not fit.
    spelled.then(|| digits.parse().ok()).flatten()
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

impl<'a> Cursor<'a> {
    fn literal(&mut self, expected: &str, field: &'static str) -> Result<(), RecordError> {
        self.rest = self.rest.strip_prefix(expected).ok_or(RecordError { field })?;
        Ok(())
    }

    /// Whether the next field has this name; steps over the name if so.
    fn key(&mut self, name: &str) -> bool {
        let after =
            self.rest.strip_prefix(",\"").and_then(|r| r.strip_prefix(name)).and_then(|r| r.strip_prefix("\":"));
        match after {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn required<T>(
        &mut self,
        name: &'static str,
        value: impl FnOnce(&mut Self, &'static str) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        if self.key(name) { value(self, name) } else { Err(RecordError { field: name }) }
    }

    fn optional<T>(
        &mut self,
        name: &'static str,
        value: impl FnOnce(&mut Self, &'static str) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        if self.key(name) { value(self, name).map(Some) } else { Ok(None) }
    }

    /// The end of the line.
    fn end(&mut self) -> Result<(), RecordError> {
        self.literal("}", "record")?;
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError { field: "record" }) }
    }

    /// How every line begins: the index, the chain, the number there.
    fn place(&mut self) -> Result<(u64, Stream, u64), RecordError> {
        self.literal(r#"{"v":1"#, "v")?;
        let index = self.required("index", Cursor::number)?;
        let stream = self.required("stream", |c, field| Stream::named(c.word(field)?).ok_or(RecordError { field }))?;
        Ok((index, stream, self.required("seq", Cursor::number)?))
    }

    fn hash(&mut self, field: &'static str) -> Result<[u8; 32], RecordError> {
        // It is as long as the longest word.
        codec::unhex(self.word(field)?).ok_or(RecordError { field })
    }

    fn prune(&mut self, field: &'static str) -> Result<Prune, RecordError> {
        let bad = RecordError { field };
        self.literal("{\"from\":", field)?;
        let from = self.number(field)?;
        self.literal(",\"below\":", field)?;
        let below = self.number(field)?;
        self.literal(",\"until\":", field)?;
        let until = self.time(field)?;
        let mut kept = Spans::default();
        if self.key("kept") {
            let (text, rest) = self.rest.strip_prefix('"').and_then(|rest| rest.split_once('"')).ok_or(bad)?;
            kept = Some(text).filter(|text| text.len() <= MAX_KEPT).and_then(Spans::parse).ok_or(bad)?;
            self.rest = rest;
        }
        self.literal("}", field)?;
        let within = kept.ranges().all(|(first, last)| from <= first && last < below);
        if from < below && within { Ok(Prune { from, below, until, kept }) } else { Err(bad) }
    }

    fn number(&mut self, field: &'static str) -> Result<u64, RecordError> {
        let end = self.rest.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        decimal(digits).ok_or(RecordError { field })
    }

    /// A text that holds no escape.
    fn word(&mut self, field: &'static str) -> Result<&'a str, RecordError> {
        let bad = RecordError { field };
        let inside = self.rest.strip_prefix('"').ok_or(bad)?;
        let end = inside.bytes().take(MAX_WORD + 1).position(|b| b == b'"').ok_or(bad)?;
        self.rest = &inside[end + 1..];
        Ok(&inside[..end])
    }

    fn parsed<T: FromStr>(&mut self, field: &'static str) -> Result<T, RecordError> {
        self.word(field)?.parse().map_err(|_| RecordError { field })
    }

    fn time(&mut self, field: &'static str) -> Result<Timestamp, RecordError> {
        let text = self.word(field)?;
        let time: Timestamp = text.parse().map_err(|_| RecordError { field })?;
        let mut canonical = Printed::new();
        let printed = encode::TIME.print_timestamp(&time, jiff::fmt::StdFmtWrite(&mut canonical));
        if printed.is_ok() && canonical.is(text) { Ok(time) } else { Err(RecordError { field }) }
    }

    fn address(&mut self, field: &'static str) -> Result<IpAddr, RecordError> {
        let text = self.word(field)?;
        let address: IpAddr = text.parse().map_err(|_| RecordError { field })?;
        let mut canonical = Printed::new();
        let printed = write!(canonical, "{address}");
        if printed.is_ok() && canonical.is(text) { Ok(address) } else { Err(RecordError { field }) }
    }

    fn subjects<T: FromStr>(&mut self, field: &'static str) -> Result<Vec<T>, RecordError> {
        let bad = RecordError { field };
        let mut subjects = Vec::new();
        self.literal("[", field)?;
        loop {
            if subjects.len() == MAX_SUBJECTS {
                return Err(bad);
            }
            subjects.push(self.parsed(field)?);
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else {
                self.literal("]", field)?;
                return Ok(subjects);
            }
        }
    }

    /// Steps over a comma that another item follows, or over the end of the list; says which it was.
    fn goes_on(&mut self, field: &'static str) -> Result<bool, RecordError> {
        if let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest;
            return Ok(true);
        }
        self.literal("]", field)?;
        Ok(false)
    }

    /// The sections of a record of a change, by rising classes.
    fn changes(&mut self, field: &'static str) -> Result<Vec<ClassDiff>, RecordError> {
        let bad = RecordError { field };
        let (mut sections, mut fields, mut sealed) = (Vec::<ClassDiff>::new(), 0, 0);
        self.literal("[", field)?;
        loop {
            self.literal("{\"class\":", field)?;
            let class: Box<str> = self.text(field, MAX_FIELD_NAME)?.into();
            if class.is_empty() || sections.last().is_some_and(|last| last.class >= class) {
                return Err(bad);
            }
            self.literal(",\"sealed\":\"", field)?;
            let (text, rest) = self.rest.split_once('"').ok_or(bad)?;
            // Before any memory is taken.
            if text.len() > MAX_SEALED_VALUES.div_ceil(3) * 4 {
                return Err(bad);
            }
            let section = ClassDiff {
                class,
                sealed: codec::unbase64url(text).ok_or(bad)?.into(),
                fields: {
                    self.rest = rest;
                    self.literal(",\"fields\":[", field)?;
                    self.fields(field, MAX_FIELDS - fields)?
                },
            };
            self.literal("}", field)?;
            if section.sealed.is_empty() {
                return Err(bad);
            }
            fields += section.fields.len();
            sealed += section.sealed.len();
            sections.push(section);
            if sealed > MAX_SEALED_VALUES || sections.len() > MAX_CLASSES {
                return Err(bad);
            }
            if !self.goes_on(field)? {
                return Ok(sections);
            }
        }
    }

    /// The fields of a section, by rising names.
    fn fields(&mut self, field: &'static str, most: usize) -> Result<Vec<FieldDiff>, RecordError> {
        let bad = RecordError { field };
        let mut fields = Vec::<FieldDiff>::new();
        loop {
            self.literal("{\"name\":", field)?;
            let name = self.word(field)?;
            let good = (1..=MAX_FIELD_NAME).contains(&name.len())
                && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !good || fields.len() == most || fields.last().is_some_and(|last| *last.name >= *name) {
                return Err(bad);
            }
            let (before, after) = (self.stated("before", field)?, self.stated("after", field)?);
            if (before, after) == (Stated::Nothing, Stated::Nothing) {
                return Err(bad);
            }
            fields.push(FieldDiff { name: name.into(), before, after });
            self.literal("}", field)?;
            if !self.goes_on(field)? {
                return Ok(fields);
            }
        }
    }

    fn stated(&mut self, name: &str, field: &'static str) -> Result<Stated, RecordError> {
        if !self.key(name) {
            return Ok(Stated::Nothing);
        }
        match self.word(field)? {
            encode::ILLEGIBLE => Ok(Stated::Illegible),
            text => {
                let bytes = codec::unbase64url(text).and_then(|bytes| bytes.try_into().ok());
                bytes.map(Stated::Commitment).ok_or(RecordError { field })
            }
        }
    }

    /// A text of at most `max` bytes once its escapes are undone.
    fn text(&mut self, field: &'static str, max: usize) -> Result<Cow<'a, str>, RecordError> {
        let bad = RecordError { field };
        let inside = self.rest.strip_prefix('"').ok_or(bad)?;
        let mut plain = 0;
        let mut undone: Option<String> = None;
        let mut bytes = inside.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &inside[at + 1..];
                    let text = match undone {
                        None => Cow::Borrowed(&inside[..at]),
                        Some(mut text) => {
                            text.push_str(&inside[plain..at]);
                            Cow::Owned(text)
                        }
                    };
                    return if text.len() <= max { Ok(text) } else { Err(bad) };
                }
                b'\\' => {
                    let (character, length) = escape(&inside[at..]).ok_or(bad)?;
                    let text = undone.get_or_insert_default();
                    text.push_str(&inside[plain..at]);
                    text.push(character);
                    if text.len() > max {
                        return Err(bad);
                    }
                    plain = at + length;
                    bytes.nth(length - 2);
                }
                ..b' ' => return Err(bad),
                _ => {}
            }
        }
        Err(bad)
    }
}

/// The character that an escape stands for, and the escape's length. Only the escape that `encode` would write.
fn escape(text: &str) -> Option<(char, usize)> {
    let short = match text.as_bytes().get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'b' => '\u{8}',
        b't' => '\t',
        b'n' => '\n',
        b'f' => '\u{c}',
        b'r' => '\r',
        b'u' => {
            let [code] = codec::unhex::<1>(text.strip_prefix("\\u00")?.get(..2)?)?;
            let control = code < b' ' && !matches!(code, 0x08 | b'\t' | b'\n' | 0x0c | b'\r');
            return control.then(|| (char::from(code), 6));
        }
        _ => return None,
    };
    Some((short, 2))
}
