//! The path of a request, attacked from both ends: what comes in, and what must not go out.

mod incoming;
mod outgoing;
mod plain;

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tower::{Service, ServiceExt, service_fn};
use tower_ward::{
    access::{Grant, Relations, danger_grant},
    audit::{End, Kind, LedgerOptions, Outcome, Record, verify},
    axum::{Json, Path},
    db::Change,
    id::{SubjectId, UserId},
    problem::Problem,
    quota::Quota,
    stack::{ConnInfo, Visit},
};

use crate::support::{
    Bench, CANARY, Reply, Setup, get,
    ledger::records_on_disk,
    model::{ReadNotes, WriteNotes, notes_of},
    of_kind, peer, post, request, send,
};

fn quota(burst: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(burst).unwrap())
}

fn small_segments() -> Setup {
    Setup { ledger: LedgerOptions::new().with_segment_size(128 * 1024), ..Setup::default() }
}

/// A body that the test feeds.
struct Pump(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Pump {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(ready!(self.0.poll_recv(cx)).map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[track_caller]
fn the_end(records: &[Record]) -> End {
    let closed = of_kind(records, Kind::Closed);
    assert_eq!(closed.len(), 1, "{records:?}");
    closed[0].end().expect("an end")
}
