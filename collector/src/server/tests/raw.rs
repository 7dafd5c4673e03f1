//! Clients that do not behave: calls whose request comes in pieces or never, and sockets that say little.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::Service as _;

use super::*;

/// No test waits for longer than this for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A `Submit` whose request's bytes are sent by hand. It goes on until [`Call::end`].
pub(super) struct Call {
    pieces: Option<mpsc::UnboundedSender<Bytes>>,
    answer: JoinHandle<Result<Vec<Answer>, Status>>,
}

impl Call {
    pub(super) fn begin(channel: &Channel) -> Self {
        let (pieces, received) = mpsc::unbounded_channel::<Bytes>();
        let frames =
            UnboundedReceiverStream::new(received).map(|piece| Ok::<_, Status>(Frame::data(piece)));
        let request = http::Request::post("/fleetmark.v1.Ingest/Submit")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(StreamBody::new(frames)))
            .unwrap();
        let mut channel = channel.clone();
        let answer = tokio::spawn(async move {
            std::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(transport)?;
            let response = channel.call(request).await.map_err(transport)?;
            if let Some(status) = Status::from_header_map(response.headers()) {
                return Err(status);
            }
            let body = response.into_body().collect().await?;
            if let Some(status) = body.trailers().and_then(Status::from_header_map)
                && status.code() != Code::Ok
            {
                return Err(status);
            }
            let bytes = body.to_bytes().slice(5..);
            Ok(v1::SubmitResponse::decode(bytes).unwrap().answers)
        });
        Self { pieces: Some(pieces), answer }
    }

    /// Sends some bytes; nobody may be left to take them.
    pub(super) fn send(&self, piece: impl Into<Bytes>) {
        let _ = self.pieces.as_ref().unwrap().send(piece.into());
    }

    /// Nothing more is sent.
    pub(super) fn end(&mut self) {
        self.pieces = None;
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_finished()
    }

    /// What the server says in the end.
    pub(super) async fn answer(self) -> Result<Vec<Answer>, Status> {
        // The request stays open until there is an answer.
        let Self { pieces: _pieces, answer } = self;
        tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap()
    }
}

fn transport(error: tonic::transport::Error) -> Status {
    Status::from_error(Box::new(error))
}

/// A message of gRPC's, as it is framed on the wire.
pub(super) fn framed(reports: Vec<Envelope>) -> Vec<u8> {
    let message = SubmitRequest { reports, sent_at: None }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    framed
}

/// A socket that speaks HTTP/2 as far as its preface and empty settings.
pub(super) async fn http2(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    socket
}

/// Reads until the other side closes.
pub(super) async fn closed(mut socket: TcpStream) {
    let mut said = Vec::new();
    // It may end in an error as well: all the same, it ends.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await.unwrap();
}

/// Asks again until the answer is as it should be.
pub(super) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
    .unwrap()
}

/// When the server says to come again.
pub(super) fn come_again(status: &Status) -> Duration {
    use tonic_types::StatusExt as _;
    let info = status.get_details_retry_info();
    info.and_then(|info| info.retry_delay).unwrap_or_else(|| panic!("no RetryInfo: {status:?}"))
}

/// Checks that a call was refused for now, in these words.
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, says: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(says), "{status:?}");
    assert!(come_again(&status) >= Duration::from_secs(1), "{status:?}");
}
