//! A revocation endpoint that misbehaves on demand, over real sockets, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use assayd::fetch::revocation::{EndpointHost, RevocationConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    /// The header fields, in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer(Vec<u8>),
    Status(u16),
    Redirect(u16, String),
    /// Never a byte.
    Silence,
    /// A body without an end.
    Endless,
    /// A length beyond every limit, and no body.
    Declares(usize),
    /// A head and half a body.
    BreaksOff,
}

type Script = Box<dyn Fn(&Asked) -> Reply + Send>;

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Script>>,
}

impl Endpoint {
    pub(crate) async fn new(script: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(script))),
        };
        let (asked, script) = (Arc::clone(&endpoint.asked), Arc::clone(&endpoint.script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&asked), Arc::clone(&script)));
            }
        });
        endpoint
    }

    pub(crate) async fn that(reply: Reply) -> Self {
        Self::new(move |_| reply.clone()).await
    }

    /// What it answers from now on.
    pub(crate) fn now(&self, reply: Reply) {
        *self.script.lock().unwrap() = Box::new(move |_| reply.clone());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn host(&self) -> EndpointHost {
        self.address.to_string().parse().unwrap()
    }
}

/// A configuration under which these endpoints may be asked.
pub(crate) fn allowing(endpoints: &[&Endpoint]) -> RevocationConfig {
    RevocationConfig {
        hosts: endpoints.iter().map(|endpoint| endpoint.host()).collect(),
        ..RevocationConfig::default()
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<Asked>>>, script: Arc<Mutex<Script>>) -> Option<()> {
    let request = read(&mut stream).await?;
    asked.lock().unwrap().push(request.clone());
    let reply = (script.lock().unwrap())(&request);
    let head = |status: u16, rest: &str| format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{rest}\r\n");
    let length = |bytes: usize| format!("content-length: {bytes}\r\n");
    let (text, body) = match &reply {
        Reply::Answer(body) => (head(200, &length(body.len())), body.clone()),
        Reply::Status(status) => (head(*status, &length(6)), b"<html>".to_vec()),
        Reply::Redirect(status, to) => (head(*status, &format!("location: {to}\r\n{}", length(0))), Vec::new()),
        Reply::Declares(bytes) => (head(200, &length(*bytes)), Vec::new()),
        Reply::BreaksOff => (head(200, &length(100)), vec![0x30; 50]),
        Reply::Endless => (head(200, ""), Vec::new()),
        Reply::Silence => std::future::pending().await,
    };
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.write_all(&body).await.ok()?;
    if matches!(reply, Reply::Endless) {
        loop {
            stream.write_all(&[0x30; 16 * 1024]).await.ok()?;
        }
    }
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (line, head) = text.split_once("\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
        .unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = line.split(' ');
    Some(Asked {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        head,
        body: bytes.split_off(end),
    })
}
