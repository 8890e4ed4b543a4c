//! A web server over HTTPS with one folder of files in memory, which misbehaves on demand.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{ETAG, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::Files;

/// How a file is served wrongly.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status, whatever there is, and how long to wait where it is said.
    Status(u16, Option<u64>),
    /// 302 to this address.
    Redirect(String),
    /// So many spaces, whose number is not said before.
    Endless(usize),
    /// The file, and so many spaces after it.
    Padded(usize),
    /// A promise of the whole file, and its first half.
    Truncated,
    /// The first half of the file, as if it were the whole.
    Short,
    /// The file with one bit flipped.
    Flipped,
    /// These bytes.
    Instead(Vec<u8>),
    /// One byte a second.
    Dripping,
    /// Nothing at all.
    Silent,
    /// No answer but the end of the connection, so many times.
    HangUp(usize),
    /// 304, whether or not it was asked for.
    NotModified,
    /// A validator that stays when the file changes.
    StuckTag,
    /// A validator that is made of the file's length alone, and this as the time of the last change.
    CoarseTag(Timestamp),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) file: String,
    pub(crate) if_none_match: bool,
    pub(crate) status: u16,
}

#[derive(Default)]
struct Shared {
    files: Files,
    faults: Vec<(String, Fault)>,
    asked: Vec<Asked>,
    connections: usize,
}

/// The server, until it is dropped. Its files are below `/policy/`.
pub(crate) struct Server {
    address: SocketAddr,
    certificate: String,
    shared: Arc<Mutex<Shared>>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key)
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Mutex<Shared>>::default();
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&shared)));
        Self {
            address,
            certificate,
            shared,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/policy", self.address)
    }

    pub(crate) fn ca(&self) -> Vec<u8> {
        self.certificate.clone().into_bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    /// Serves these files from now on.
    pub(crate) fn serve(&self, files: Files) {
        self.lock().files = files;
    }

    /// Serves files whose path holds this text wrongly, from now on.
    pub(crate) fn misbehave(&self, path: &str, fault: Fault) {
        self.lock().faults.push((path.to_owned(), fault));
    }

    pub(crate) fn behave(&self) {
        self.lock().faults.clear();
    }

    /// What was asked since this was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    pub(crate) fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Refuses connections from now on.
    pub(crate) fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Mutex<Shared>>) {
    let mut running = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        shared.lock().unwrap().connections += 1;
        running.spawn(serve(stream, tls.clone(), Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Mutex<Shared>>) {
    stream.set_nodelay(true).unwrap();
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(&shared, &request).await }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that goes away is no failure.
    let _ = connection.await;
}

type Body = BoxBody<Bytes, std::io::Error>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

fn pieces(pieces: impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static) -> Body {
    BoxBody::new(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

async fn answer(shared: &Mutex<Shared>, request: &Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let path = request.uri().path().to_owned();
    let asked = path.strip_prefix("/policy/").unwrap_or(&path).replace("%20", " ");
    let condition = request.headers().get(IF_NONE_MATCH).cloned();
    let (content, fault) = {
        let mut shared = shared.lock().unwrap();
        let content = shared.files.get(&asked).cloned();
        let mut faults = shared.faults.iter_mut();
        let fault = faults.find(|(part, fault)| asked.contains(part.as_str()) && !matches!(fault, Fault::HangUp(0)));
        let now = fault.as_ref().map(|(_, fault)| fault.clone());
        if let Some((_, Fault::HangUp(left))) = fault {
            *left -= 1;
        }
        (content, now)
    };
    let log = |status: StatusCode| {
        shared.lock().unwrap().asked.push(Asked {
            file: asked.clone(),
            if_none_match: condition.is_some(),
            status: status.as_u16(),
        });
    };
    let bare = |status: u16| {
        let status = StatusCode::from_u16(status).unwrap();
        log(status);
        Response::builder().status(status)
    };
    match &fault {
        Some(Fault::Status(status, wait)) => {
            let mut response = bare(*status);
            if let Some(wait) = wait {
                response = response.header(RETRY_AFTER, *wait);
            }
            return Ok(response.body(full("no")).unwrap());
        }
        Some(Fault::Redirect(to)) => return Ok(bare(302).header(LOCATION, to).body(full("")).unwrap()),
        Some(Fault::NotModified) => return Ok(bare(304).body(full("")).unwrap()),
        Some(Fault::Endless(length)) => {
            let piece = Bytes::from(vec![b' '; 64 * 1024]);
            let count = length.div_ceil(piece.len());
            let endless = stream::iter((0..count).map(move |_| Ok(piece.clone())));
            return Ok(bare(200).body(pieces(endless)).unwrap());
        }
        Some(Fault::HangUp(_)) => {
            log(StatusCode::NO_CONTENT);
            return Err(std::io::Error::other("hung up"));
        }
        Some(Fault::Silent) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        Some(Fault::Instead(bytes)) => return Ok(bare(200).body(full(bytes.clone())).unwrap()),
        _ => {}
    }
    let Some(mut content) = content else {
        return Ok(bare(404).body(full("not found")).unwrap());
    };
    let etag = match &fault {
        Some(Fault::StuckTag) => "\"stuck\"".to_owned(),
        Some(Fault::CoarseTag(_)) => format!("\"{}\"", content.len()),
        _ => format!("\"{}\"", Digest::sha256(&content).hex()),
    };
    if condition
        .as_ref()
        .is_some_and(|condition| condition.as_bytes() == etag.as_bytes())
    {
        return Ok(bare(304).header(ETAG, etag).body(full("")).unwrap());
    }
    let mut response = bare(200).header(ETAG, etag);
    if let Some(Fault::CoarseTag(changed)) = &fault {
        let changed = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(changed);
        response = response.header(LAST_MODIFIED, changed.unwrap());
    }
    let body = match fault {
        Some(Fault::Padded(more)) => {
            content.resize(content.len() + more, b' ');
            full(content)
        }
        Some(Fault::Short) => {
            content.truncate(content.len() / 2);
            full(content)
        }
        Some(Fault::Flipped) => {
            let middle = content.len() / 2;
            content[middle] ^= 1;
            full(content)
        }
        Some(Fault::Truncated) => {
            let length = content.len();
            content.truncate(length / 2);
            let broken = stream::iter([Ok(Bytes::from(content)), Err(std::io::Error::other("broken off"))]);
            return Ok(response.header("content-length", length).body(pieces(broken)).unwrap());
        }
        Some(Fault::Dripping) => pieces(stream::unfold(content.into_iter(), |mut bytes| async move {
            let byte = bytes.next()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Bytes::from(vec![byte])), bytes))
        })),
        _ => full(content),
    };
    Ok(response.body(body).unwrap())
}
