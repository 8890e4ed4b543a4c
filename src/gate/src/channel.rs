//! gRPC over a unix socket.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// How long an answer may take to begin. A node that is busy with pulls answers within some seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A channel that connects when something is asked, and again after the other side went away.
pub(crate) fn to(socket: &Path) -> Channel {
    connect(Endpoint::from_static("http://localhost").timeout(TIMEOUT), socket)
}

/// The same for a stream whose beginning may be long in coming.
pub(crate) fn patient_to(socket: &Path) -> Channel {
    connect(Endpoint::from_static("http://localhost"), socket)
}

fn connect(endpoint: Endpoint, socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    endpoint.connect_with_connector_lazy(connector)
}
