//! The question to assayd, over its unix socket.

use std::{
    error::Error as _,
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    task::{Context, Poll},
    time::Instant,
};

use assay_proto::v1::{VerifyRequest, VerifyResponse, image_verifier_client::ImageVerifierClient};
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout},
        time::{TimeVal, TimeValLike},
    },
};
use tonic::{Code, Status, body::Body, codegen::Service};

use crate::limits::{MAX_ANSWER, MAX_QUESTIONS};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon is away: no socket, or nobody behind it.
    Away(String),
    /// The connection broke before there was an answer.
    Broken(String),
    /// The time was up.
    Deadline,
    /// The daemon is there and did not take the question.
    Refused(String),
}

/// Asks, and asks again when the connection breaks before there is an answer: a daemon that is stopped, replaced or killed takes
/// questions down with it, and where systemd listens the next one finds the question in the socket's queue. A daemon that starts
/// is waited for by that queue too.
pub(crate) fn ask(socket: &Path, question: &VerifyRequest, deadline: Instant) -> Result<VerifyResponse, Failure> {
    let mut broke: Option<String> = None;
    let mut left = MAX_QUESTIONS;
    loop {
        left -= 1;
        match (ask_once(socket, question.clone(), deadline), broke) {
            (Err(Failure::Broken(reason)), _) if left > 0 => broke = Some(reason),
            (Err(Failure::Away(away)), Some(reason)) => {
                return Err(Failure::Broken(format!("{reason}, and then {away}")));
            }
            (answer, _) => return answer,
        }
    }
}

fn ask_once(socket: &Path, question: VerifyRequest, deadline: Instant) -> Result<VerifyResponse, Failure> {
    let stream = connect_before(socket, deadline)?;
    // One thread: an answer from memory is there before another thread would have started.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Away(format!("the hook cannot wait for an answer: {error}")))?;
    runtime.block_on(async {
        match tokio::time::timeout_at(deadline.into(), exchange(stream, question, deadline)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Deadline),
        }
    })
}

async fn exchange(stream: UnixStream, question: VerifyRequest, deadline: Instant) -> Result<VerifyResponse, Failure> {
    let broken =
        |error: hyper::Error| Failure::Broken(format!("the connection to assayd broke: {}", innermost(&error)));
    let stream = tokio::net::UnixStream::from_std(stream)
        .map_err(|error| Failure::Away(format!("the connection to assayd cannot be used: {error}")))?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // How the connection ends shows in the answer, or in its absence.
    tokio::spawn(connection);

    let mut client = ImageVerifierClient::with_origin(Connection(sender), Uri::from_static("http://assayd"))
        .max_decoding_message_size(MAX_ANSWER);
    let mut request = tonic::Request::new(question);
    // The daemon learns how long the answer is waited for (gRPC over HTTP/2, `grpc-timeout`).
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    match client.verify(request).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(failure(&status)),
    }
}

/// Tells a daemon that answered with an error from one that did not answer. Only what tonic made of an error of the
/// connection has a source.
fn failure(status: &Status) -> Failure {
    match (status.source(), status.code()) {
        (Some(error), _) => Failure::Broken(format!("the connection to assayd broke: {}", innermost(error))),
        (None, Code::DeadlineExceeded) => Failure::Deadline,
        (None, code) => Failure::Refused(format!(
            "assayd did not take the question: {code:?}: {}",
            status.message()
        )),
    }
}

/// The last of an error's causes, which is the one that says what happened.
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// Connects, and waits for a place in the listener's queue no longer than the deadline.
///
/// A non-blocking connect does not wait at all when the queue of a unix socket is full: it fails with EAGAIN, and many
/// pulls at once would be denied for nothing. A blocking one waits as long as SO_SNDTIMEO says (unix(7), socket(7)).
fn connect_before(path: &Path, deadline: Instant) -> Result<UnixStream, Failure> {
    let away = |error: Errno| {
        Failure::Away(format!(
            "assayd cannot be reached at {}: {}",
            path.display(),
            io::Error::from(error)
        ))
    };
    let address = UnixAddr::new(path).map_err(away)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(away)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would mean to wait for ever.
        let left = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
        setsockopt(&socket, SendTimeout, &TimeVal::microseconds(left)).map_err(away)?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => break,
            Err(Errno::EAGAIN) => return Err(Failure::Deadline),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(away(error)),
        }
    }
    let stream = UnixStream::from(socket);
    stream
        .set_nonblocking(true)
        .map_err(|error| Failure::Away(format!("the connection to assayd cannot be used: {error}")))?;
    Ok(stream)
}

/// One HTTP/2 connection as the service that the generated client calls. tonic's own channel would add a queue, a
/// worker and reconnecting, none of which one question needs.
struct Connection(SendRequest<Body>);

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, hyper::Result<Response<Incoming>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
