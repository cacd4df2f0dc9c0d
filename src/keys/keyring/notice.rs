//! What one process tells the others that share the store: which keys to forget.
//!
//! One object holds the newest changes with a number that counts all. Who reads it knows whether it missed any, and then
//! forgets everything. A notice is sent after the change itself is durable; should a crash come between the two, a cached
//! key is still read again within the health interval.

use std::collections::VecDeque;

use super::super::record::Authority;
use crate::{
    id::{SubjectId, TenantId},
    keys::derive::{label, push_part},
    secret::equal,
};

const VERSION: u8 = 2;
const KIND: u8 = 5;
/// At most 21 KiB, a third of what a store takes.
pub(super) const MAX: usize = 256;
const MAC: usize = 32;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) what: What,
    pub(super) tenant: TenantId,
    pub(super) subject: Option<SubjectId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The keys are withdrawn: whoever holds one must stop.
    Cut = 1,
    /// The record is another one; keys that are held stay good.
    Changed = 2,
    /// The records of a tenant's subjects are others; keys that are held stay good.
    Subjects = 3,
}

/// The newest notices, and how many there were in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notices {
    pub(super) count: u64,
    newest: VecDeque<Notice>,
}

impl Notices {
    /// None, with a count that nobody has seen or will come to.
    pub(super) fn anew() -> Self {
        Self { count: u64::from_be_bytes(crate::entropy::array()) | 1 << 63, newest: VecDeque::new() }
    }

    pub(super) fn push(&mut self, notice: Notice) {
        self.count = self.count.wrapping_add(1);
        if self.newest.len() == MAX {
            self.newest.pop_front();
        }
        self.newest.push_back(notice);
    }

    /// Those after the first `seen`; `None` if some of them are not here any more.
    pub(super) fn since(&self, seen: u64) -> Option<impl Iterator<Item = &Notice>> {
        let new = usize::try_from(self.count.checked_sub(seen)?).ok()?;
        Some(self.newest.range(self.newest.len().checked_sub(new)?..))
    }

    pub(super) fn to_bytes(&self, authority: &Authority) -> Vec<u8> {
        let mut out = self.body();
        let mac = mac(authority, &out);
        out.extend_from_slice(&mac);
        out
    }

    fn body(&self) -> Vec<u8> {
        let mut out = vec![VERSION, KIND];
        out.extend_from_slice(&self.count.to_be_bytes());
        for notice in &self.newest {
            out.push(notice.what as u8);
            push_part(&mut out, notice.tenant.as_str().as_bytes());
            push_part(&mut out, notice.subject.as_ref().map_or(&[][..], |subject| subject.as_bytes()));
        }
        out
    }

    /// `None` unless this authority wrote it.
    pub(super) fn parse(bytes: &[u8], authority: &Authority) -> Option<Self> {
        let (body, given) = bytes.split_last_chunk::<MAC>()?;
        if !equal(&mac(authority, body), given) {
            return None;
        }
        Self::parse_body(body)
    }

    fn parse_body(body: &[u8]) -> Option<Self> {
        let (&[VERSION, KIND], rest) = body.split_first_chunk::<2>()? else { return None };
        let (count, mut rest) = rest.split_first_chunk::<8>()?;
        let mut newest = VecDeque::new();
        while let [what, tail @ ..] = rest {
            let what = match what {
                1 => What::Cut,
                2 => What::Changed,
                3 => What::Subjects,
                _ => return None,
            };
            let (tenant, tail) = part(tail)?;
            let (subject, tail) = part(tail)?;
            let subject = if subject.is_empty() { None } else { Some(SubjectId::from_bytes(subject.try_into().ok()?)) };
            newest.push_back(Notice { what, tenant: TenantId::new(str::from_utf8(tenant).ok()?).ok()?, subject });
            rest = tail;
        }
        (newest.len() <= MAX).then_some(Self { count: u64::from_be_bytes(*count), newest })
    }
}

/// Parse, print, compare: for the fuzz target. Whether the bytes were notices, their MAC aside.
pub(in crate::keys) fn round_trips(body: &[u8]) -> bool {
    match Notices::parse_body(body) {
        Some(notices) => {
            assert_eq!(notices.body(), body, "notices have one spelling");
            true
        }
        None => false,
    }
}

fn mac(authority: &Authority, body: &[u8]) -> [u8; MAC] {
    let mut message = Vec::with_capacity(body.len() + 64);
    push_part(&mut message, label::RECORD.as_bytes());
    message.extend_from_slice(body);
    authority.mac(&message)
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(i: u8) -> Notice {
        let subject = (i.is_multiple_of(2)).then(|| SubjectId::from_bytes([i; 16]));
        let what = if i.is_multiple_of(3) { What::Cut } else { What::Changed };
        Notice { what, tenant: TenantId::new(&format!("clinic-{i}")).unwrap(), subject }
    }

    #[test]
    fn notices_come_back_and_what_was_missed_shows() {
        let authority = Authority::new(&[7; 32]);
        let mut notices = Notices::default();
        assert_eq!(notices.since(0).unwrap().count(), 0);
        for i in 0..=u8::MAX {
            notices.push(notice(i));
        }
        notices.push(notice(9));
        let bytes = notices.to_bytes(&authority);
        assert!(bytes.len() < 24 * 1024, "{}", bytes.len());
        assert_eq!(Notices::parse(&bytes, &authority).as_ref(), Some(&notices));
        assert_eq!(notices.since(257).unwrap().count(), 0);
        assert_eq!(notices.since(255).unwrap().collect::<Vec<_>>(), [&notice(255), &notice(9)]);
        assert_eq!(notices.since(1).unwrap().count(), 256);
        assert!(notices.since(0).is_none(), "the first is gone");
        assert!(notices.since(258).is_none(), "somebody put an older object back");
    }

    #[test]
    fn every_flipped_bit_of_a_notice_is_noticed() {
        let authority = Authority::new(&[7; 32]);
        let mut notices = Notices::default();
        notices.push(notice(6));
        notices.push(notice(7));
        let good = notices.to_bytes(&authority);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Notices::parse(&bytes, &authority).is_none(), "bit {bit}");
        }
        assert!(Notices::parse(&good[..good.len() - 1], &authority).is_none());
        assert!(Notices::parse(&good, &Authority::new(&[8; 32])).is_none());
        assert!(Notices::parse(&[], &authority).is_none());
    }
}
