//! The body of an answer: whole, or a stream that goes on.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::doors::Working;

/// What is sent after an answer's head.
pub(super) enum AnswerBody {
    /// All of it at once.
    Whole(Full<Bytes>),
    /// Piece by piece, until whoever writes lets go or the time is over.
    Stream {
        /// What comes.
        pieces: mpsc::Receiver<Bytes>,
        /// When it ends in any case.
        end: Pin<Box<Sleep>>,
        /// Its connection has work as long as it lasts.
        working: Option<Working>,
    },
}

impl AnswerBody {
    /// Keeps `its` for as long as something is still to be said; of an answer that is whole there is not.
    pub(super) fn hold(&mut self, its: Working) {
        if let Self::Stream { working, .. } = self {
            *working = Some(its);
        }
    }
}

impl<T: Into<Bytes>> From<T> for AnswerBody {
    fn from(whole: T) -> Self {
        Self::Whole(Full::new(whole.into()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Stream { pieces, end, .. } => match pieces.poll_recv(cx) {
                Poll::Ready(piece) => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
                Poll::Pending => end.as_mut().poll(cx).map(|()| None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}
