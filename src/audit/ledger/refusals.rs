//! Refusals before identity, counted per peer and minute, so that a stranger cannot fill the ledger.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::{
    audit::record::{Action, Kind, Record, Stream},
    clock::Timestamp,
};

/// How long one count runs.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Whose refusals share a count. `None` is everybody for whom there was no room.
type Key = (Option<IpAddr>, &'static str);

#[derive(Debug)]
struct Count {
    /// The first peer of it; all of an IPv6 /64 share one count.
    peer: Option<IpAddr>,
    at: Timestamp,
    since: Duration,
    count: u64,
    status: Option<u16>,
}

/// At most `most` peers' counts, and one for each reason that has no room.
#[derive(Debug)]
pub(crate) struct Refusals {
    most: usize,
    counts: HashMap<Key, Count>,
}

impl Refusals {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, counts: HashMap::new() }
    }

    /// Counts one. `true` if nothing was being counted before, so that the writer has to be told.
    pub(crate) fn note(
        &mut self,
        peer: Option<IpAddr>,
        reason: &'static str,
        status: Option<u16>,
        at: Timestamp,
        now: Duration,
    ) -> bool {
        let first = self.counts.is_empty();
        let mut key = (peer.map(network), reason);
        let full = self.counts.len() >= self.most && !self.counts.contains_key(&key);
        if full {
            // Reasons are words of this crate: there are few.
            key.0 = None;
        }
        let new = || Count { peer: if full { None } else { peer }, at, since: now, count: 0, status };
        let count = self.counts.entry(key).or_insert_with(new);
        count.count = count.count.saturating_add(1);
        first
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Takes at most `most` counts whose minute is over, or any if `all`.
    pub(crate) fn take(&mut self, now: Duration, all: bool, most: usize) -> Vec<Record> {
        self.counts
            .extract_if(|_, count| all || now.saturating_sub(count.since) >= WINDOW)
            .take(most)
            .map(|((_, reason), count)| {
                let mut record = Record::empty(Kind::Refused, Stream::Platform, count.at, count.since);
                record.action = Some(Action::Denied);
                record.reason = Some(reason.into());
                record.status = count.status;
                record.count = Some(count.count);
                record.peer = count.peer;
                record
            })
            .collect()
    }
}

/// An IPv6 subscriber holds at least a /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;
    const NOW: Duration = Duration::from_secs(100);

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_flood_from_one_64_is_one_record_a_minute() {
        let mut refusals = Refusals::new(8);
        assert!(refusals.note(peer("2001:db8::1"), "no_token", Some(401), AT, NOW));
        for n in 2..1_000 {
            assert!(!refusals.note(peer(&format!("2001:db8::{n:x}")), "no_token", Some(401), AT, NOW));
        }
        assert!(refusals.take(NOW + WINDOW - Duration::from_nanos(1), false, 9).is_empty());
        let records = refusals.take(NOW + WINDOW, false, 9);
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].count(), records[0].peer()), (Some(999), peer("2001:db8::1")));
        assert!(refusals.is_empty());
    }

    #[test]
    fn a_flood_from_many_peers_fills_a_bounded_table_and_then_one_count() {
        let mut refusals = Refusals::new(8);
        for n in 0..10_000_u32 {
            refusals.note(Some(IpAddr::V4(n.into())), "no_token", None, AT, NOW);
        }
        let mut records = refusals.take(NOW, true, 5);
        assert_eq!(records.len(), 5);
        records.append(&mut refusals.take(NOW, true, 5));
        assert_eq!(records.len(), 9);
        assert_eq!(records.iter().filter_map(Record::count).sum::<u64>(), 10_000);
    }
}
