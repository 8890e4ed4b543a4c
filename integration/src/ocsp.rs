//! An OCSP responder: the real `openssl ocsp`, behind a web server that logs, delays and breaks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use http::Method;

use crate::certificates::{Authority, Profile, Serial, SigningIdentity};
use crate::openssl::{OpenSsl, Reason, Revoked, index_line};
use crate::process::Service;
use crate::web::WebServer;

/// The path that it answers below.
const PATH: &str = "/ocsp";
const ANSWER: &str = "application/ocsp-response";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Who signs the answers about an authority's certificates.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The authority itself.
    Issuer,
    /// A certificate of the authority's with the purpose of signing OCSP answers (RFC 6960 §4.2.2.2).
    Delegate,
    /// The same, expired yesterday.
    ExpiredDelegate,
    /// A certificate of the authority's that may only sign artifacts: its answers count for nothing.
    Sibling,
    /// Whatever the test has made.
    Identity(SigningIdentity),
}

impl Signer {
    /// Key and certificate, PEM.
    fn material(&self, authority: &Authority) -> Result<(String, String)> {
        let identity = match self {
            Self::Issuer => return Ok((authority.key_pem(), authority.certificate_pem())),
            Self::Delegate => authority.issue(&Profile::responder("responder"))?,
            Self::ExpiredDelegate => authority.issue(&Profile {
                not_before: SystemTime::now() - 2 * DAY,
                not_after: SystemTime::now() - DAY,
                ..Profile::responder("expired responder")
            })?,
            Self::Sibling => authority.issue(&Profile::named("sibling"))?,
            Self::Identity(identity) => identity.clone(),
        };
        Ok((identity.key_pem, identity.certificate_pem))
    }
}

/// For how long answers say that they are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// This many minutes from the answer on.
    Minutes(u32),
    /// They do not say it: there is no nextUpdate.
    Unlimited,
}

/// How a responder is to answer. The default is a delegate whose answers are good for an hour.
#[derive(Clone, Debug)]
pub struct Responder {
    /// Who signs.
    pub signer: Signer,
    /// For how long.
    pub validity: Validity,
    /// Further arguments of `openssl ocsp`: `-resp_no_certs`, `-resp_key_id`, `-badsig`, `-rmd sha384`.
    pub arguments: Vec<String>,
}

impl Default for Responder {
    fn default() -> Self {
        Self {
            signer: Signer::Delegate,
            validity: Validity::Minutes(60),
            arguments: vec![],
        }
    }
}

impl Responder {
    /// The default with another signer.
    pub fn signed_by(signer: Signer) -> Self {
        Self {
            signer,
            ..Self::default()
        }
    }
}

/// A responder for the certificates of one authority. It knows no certificate until it is told of one. openssl reads its
/// database when it starts, so a change starts a new one behind the same address.
#[derive(Debug)]
pub struct OcspResponder {
    openssl: OpenSsl,
    web: WebServer,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    known: BTreeMap<Serial, Option<Revoked>>,
    starts: u32,
    port: Arc<AtomicU16>,
    service: Option<Service>,
}

impl OcspResponder {
    /// Starts a responder for the certificates of `authority`.
    ///
    /// # Errors
    ///
    /// openssl does not start; the error has the end of its log.
    pub async fn start(openssl: &OpenSsl, authority: &Authority, how: &Responder) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-ocsp-").tempdir()?;
        let (key, certificate) = how.signer.material(authority)?;
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
        write("authority.pem", &authority.certificate_pem())?;
        write("key.pem", &key)?;
        write("certificate.pem", &certificate)?;
        write("index.txt.attr", "unique_subject = no\n")?;

        // One malformed request ends it without -ignore_err. It has no option for the address to listen on.
        let fixed =
            "ocsp -index index.txt -port 0 -ignore_err -CA authority.pem -rsigner certificate.pem -rkey key.pem";
        let mut arguments: Vec<_> = fixed.split(' ').map(str::to_owned).collect();
        if let Validity::Minutes(minutes) = how.validity {
            arguments.extend(["-nmin".to_owned(), minutes.to_string()]);
        }
        arguments.extend(how.arguments.iter().cloned());

        let port = Arc::new(AtomicU16::new(0));
        let web = WebServer::start().await?;
        let behind = port.clone();
        web.serve_program(PATH, ANSWER, move |method, rest, body| {
            forward(behind.load(Ordering::Acquire), method, rest, body)
        });
        let mut responder = Self {
            openssl: openssl.clone(),
            web,
            folder,
            arguments,
            known: BTreeMap::new(),
            starts: 0,
            port,
            service: None,
        };
        responder.reload().await?;
        Ok(responder)
    }

    /// The address for certificates to name.
    pub fn url(&self) -> String {
        self.web.url(PATH)
    }

    /// The web server in front of it: its log, delays, faults, stop and restart.
    pub fn web(&mut self) -> &mut WebServer {
        &mut self.web
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.web.requests(PATH)
    }

    /// Answers `good` for these certificates from now on.
    ///
    /// # Errors
    ///
    /// openssl does not start again.
    pub async fn good(&mut self, serials: impl IntoIterator<Item = &Serial>) -> Result<()> {
        self.known
            .extend(serials.into_iter().map(|serial| (serial.clone(), None)));
        self.reload().await
    }

    /// Answers `revoked` for this certificate from now on, since an hour ago.
    ///
    /// # Errors
    ///
    /// openssl does not start again.
    pub async fn revoke(&mut self, serial: &Serial, reason: Reason) -> Result<()> {
        self.record(Revoked::new(serial, reason)).await
    }

    /// The same with a time, and with a date of invalidity where there is one.
    ///
    /// # Errors
    ///
    /// openssl does not start again.
    pub async fn record(&mut self, revoked: Revoked) -> Result<()> {
        self.known.insert(revoked.serial.clone(), Some(revoked));
        self.reload().await
    }

    /// Answers `unknown` for this certificate from now on.
    ///
    /// # Errors
    ///
    /// openssl does not start again.
    pub async fn forget(&mut self, serial: &Serial) -> Result<()> {
        self.known.remove(serial);
        self.reload().await
    }

    /// What it answers about one certificate now, in DER: to be replayed later, by [`WebServer::serve_ocsp`].
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn answer(&self, serial: &Serial) -> Result<Vec<u8>> {
        let url = format!("http://127.0.0.1:{}", self.port.load(Ordering::Acquire));
        let number = format!("0x{serial}");
        let arguments = ["ocsp", "-issuer", "authority.pem", "-serial", &number, "-no_nonce"]
            .into_iter()
            .chain(["-noverify", "-url", &url, "-no_proxy", "*", "-respout", "captured.der"]);
        let arguments: Vec<_> = arguments.collect();
        self.openssl.run(self.folder.path(), &arguments).await?;
        fs::read(self.folder.path().join("captured.der")).context("openssl wrote no answer")
    }

    async fn reload(&mut self) -> Result<()> {
        let lines = self
            .known
            .iter()
            .map(|(serial, revoked)| index_line(serial, revoked.as_ref()));
        let index: String = lines.collect::<Result<_>>()?;
        fs::write(self.folder.path().join("index.txt"), index)?;
        self.starts += 1;
        let log = self.folder.path().join(format!("responder.{}.log", self.starts));
        let command = self.openssl.command(self.folder.path(), &self.arguments);
        let mut service = Service::spawn("openssl ocsp", command, &log)?;
        service
            .wait_until(|| {
                let port = listening(&log);
                async move { port.is_some() }
            })
            .await?;
        let port = listening(&log).context("openssl ocsp names no port")?;
        self.port.store(port, Ordering::Release);
        // The new one answers before the old one goes.
        self.service = Some(service);
        Ok(())
    }
}

/// The port in `ACCEPT [::]:38103 PID=29175`, which is written once it listens.
fn listening(log: &std::path::Path) -> Option<u16> {
    let text = fs::read_to_string(log).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("ACCEPT "))?;
    let (address, _) = line.split_once(" PID=")?;
    address.rsplit_once(':')?.1.parse().ok()
}

/// Passes a request on, GET and POST alike (RFC 6960 appendix A.1).
async fn forward(port: u16, method: Method, rest: String, body: bytes::Bytes) -> Result<Vec<u8>> {
    let url = format!("http://127.0.0.1:{port}{}", if rest.is_empty() { "/" } else { &rest });
    let request = crate::http_client().request(method, url);
    let request = request.header(http::header::CONTENT_TYPE, "application/ocsp-request");
    let answer = request
        .body(body)
        .send()
        .await
        .context("openssl ocsp does not answer")?;
    let status = answer.status();
    ensure!(status.is_success(), "openssl ocsp answers {status}");
    Ok(answer.bytes().await.context("openssl ocsp breaks off")?.to_vec())
}
