//! Calls that go on for long, and end when they are not for their callers any more.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use tonic::{Status, body::Body};

use super::guard::Policy;
use crate::identity::{Caller, Denied};

/// Lets whoever answers at length ask whether the caller may still have it.
#[derive(Clone)]
pub(crate) struct Leave {
    pub(super) policy: Arc<Policy>,
    pub(super) caller: Caller,
}

impl Leave {
    /// Whether the caller would be let in now: it may have been revoked, or have ended.
    pub(crate) fn check(&self) -> Result<(), Denied> {
        self.policy.check_again(&self.caller)
    }
}

/// A request that is as long as its caller likes, of which nothing more is heard once that may not ask any more.
pub(super) struct Leaving {
    pub(super) body: Body,
    pub(super) leave: Leave,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| match self.leave.check() {
            Ok(()) => frame,
            Err(denied) => Err(Status::from(&denied)),
        }))
    }
}
