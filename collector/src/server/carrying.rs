//! Answers that hold something for as long as they are on their way.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

/// A body with what is dropped once all of it is on its way, or nobody wants it any more.
pub(super) struct Carrying<B, T> {
    pub(super) body: B,
    pub(super) _until_then: T,
}

impl<B: Body + Unpin, T: Unpin> Body for Carrying<B, T> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
