//! Services over a real socket, called by whom a test says.

use std::net::SocketAddr;

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
    service::interceptor::InterceptedService,
    transport::{Channel, Server},
};

use crate::identity::{Address, Caller, Who};

/// A header by which a test says from where it calls.
const FROM: &str = "test-from";

/// A server with one service, and a channel to it. It ends with the test.
pub(crate) struct Called {
    pub(crate) channel: Channel,
    _server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Serves this to somebody like this; `None` is a server that does not say who calls.
pub(crate) async fn serve<S>(service: S, who: Option<Who>) -> Called
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = std::convert::Infallible,
        > + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let service = InterceptedService::new(service, move |request| Ok(say(request, who.as_ref())));
    let incoming = TcpListenerStream::new(listener);
    let server = Server::builder().add_service(service).serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    Called { channel: channel.connect().await.unwrap(), _server: server }
}

fn say(mut request: Request<()>, who: Option<&Who>) -> Request<()> {
    let from = request.metadata().get(FROM).map(|from| from.to_str().unwrap().to_owned());
    let address = Address::Ip(from.as_deref().unwrap_or("192.0.2.7").parse().unwrap());
    if let Some(who) = who {
        request.extensions_mut().insert(Caller { who: who.clone(), address });
    }
    request
}

/// A call from another address.
pub(crate) fn from<T>(address: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(FROM, address.parse().unwrap());
    request
}

/// The code and the message of a call that failed.
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (tonic::Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}
