//! A timestamp authority: the real `openssl ts -reply`, behind a web server that logs, delays and breaks.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::certificates::SigningIdentity;
use crate::openssl::OpenSsl;
use crate::web::WebServer;

const PATH: &str = "/timestamp";
const REPLY: &str = "application/timestamp-reply";

/// How an authority makes timestamps. The time in a timestamp is always the machine's own.
#[derive(Clone, Debug)]
pub struct Stamping {
    /// Who signs: an identity made with [`crate::certificates::Profile::timestamping`]. openssl refuses a certificate
    /// that is not for timestamps alone.
    pub identity: SigningIdentity,
    /// The digest of the signature: `sha256`.
    pub signer_digest: &'static str,
    /// The digest that names the signing certificate. `sha1` makes a signing-certificate attribute (RFC 2634), any other
    /// a signing-certificate-v2 (RFC 5035).
    pub certificate_digest: &'static str,
    /// The accuracy that it claims, in seconds.
    pub accuracy: Option<u32>,
    /// Which digests it puts a time to.
    pub digests: &'static str,
    /// Whether timestamps carry the certificates above the signing certificate, when the client asks for certificates.
    pub with_chain: bool,
}

impl Stamping {
    /// SHA-256 throughout, to the second, with the chain.
    pub fn with(identity: &SigningIdentity) -> Self {
        Self {
            identity: identity.clone(),
            signer_digest: "sha256",
            certificate_digest: "sha256",
            accuracy: Some(1),
            digests: "sha256, sha384, sha512",
            with_chain: true,
        }
    }

    /// openssl's configuration (openssl-ts(1), configuration file options).
    fn configuration(&self) -> String {
        let accuracy = self.accuracy.map(|seconds| format!("accuracy = secs:{seconds}\n"));
        let chain = if self.with_chain { "certs = chain.pem\n" } else { "" };
        format!(
            "[tsa]\ndefault_tsa = authority\n\
             [authority]\nserial = serial\nsigner_cert = certificate.pem\nsigner_key = key.pem\n{chain}{}\
             signer_digest = {}\ness_cert_id_alg = {}\ndigests = {}\ndefault_policy = 1.2.3.4.1\n\
             ordering = no\ntsa_name = no\ness_cert_id_chain = no\n",
            accuracy.unwrap_or_default(),
            self.signer_digest,
            self.certificate_digest,
            self.digests,
        )
    }
}

/// A timestamp authority on a loopback port of its own, until it is dropped.
#[derive(Debug)]
pub struct TimestampAuthority {
    web: WebServer,
    root_pem: String,
    office: Arc<Office>,
}

impl TimestampAuthority {
    /// Starts an authority.
    ///
    /// # Errors
    ///
    /// No port could be opened, or no file written.
    pub async fn start(openssl: &OpenSsl, how: &Stamping) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-timestamp-").tempdir()?;
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
        let identity = &how.identity;
        let above = identity.chain_pem.strip_prefix(&identity.certificate_pem);
        write("certificate.pem", &identity.certificate_pem)?;
        write("chain.pem", above.unwrap_or_default())?;
        write("key.pem", &identity.key_pem)?;
        write("serial", "01\n")?;
        write("configuration", &how.configuration())?;
        let office = Arc::new(Office {
            openssl: openssl.clone(),
            folder,
            counter: tokio::sync::Mutex::new(()),
        });
        let web = WebServer::start().await?;
        let behind = office.clone();
        web.serve_program(PATH, REPLY, move |_, _, query| {
            let office = behind.clone();
            async move { office.reply(&query, &[]).await }
        });
        Ok(Self {
            web,
            root_pem: identity.anchor_pem.clone(),
            office,
        })
    }

    /// The address for clients to send their queries to (RFC 3161 §3.4).
    pub fn url(&self) -> String {
        self.web.url(PATH)
    }

    /// The root of its chain, PEM: what a trust store of the kind `tsa` holds.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// How many queries came.
    pub fn requests(&self) -> usize {
        self.web.requests(PATH)
    }

    /// The web server in front of it: its log, delays, faults, stop and restart.
    pub fn web(&mut self) -> &mut WebServer {
        &mut self.web
    }

    /// A timestamp of `content` with its digest by `digest` (`sha256`), and with the certificates: the token in DER, as
    /// an envelope holds it.
    ///
    /// # Errors
    ///
    /// openssl refuses.
    pub async fn stamp(&self, content: &[u8], digest: &str) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("content"), content)?;
        let digest = format!("-{digest}");
        let arguments = ["ts", "-query", "-data", "content", "-cert", &digest, "-out", "query"];
        self.office.openssl.run(folder.path(), &arguments).await?;
        let query = fs::read(folder.path().join("query"))?;
        self.office.reply(&query, &["-token_out"]).await
    }
}

/// Where queries are answered, one after another: they share the file with the serial number.
#[derive(Debug)]
struct Office {
    openssl: OpenSsl,
    folder: tempfile::TempDir,
    counter: tokio::sync::Mutex<()>,
}

impl Office {
    async fn reply(&self, query: &[u8], further: &[&str]) -> Result<Vec<u8>> {
        let _turn = self.counter.lock().await;
        let folder: &Path = self.folder.path();
        fs::write(folder.join("query"), query)?;
        let arguments = ["ts", "-reply", "-config", "configuration", "-section", "authority"];
        let arguments = arguments.into_iter().chain(["-queryfile", "query", "-out", "reply"]);
        let arguments: Vec<_> = arguments.chain(further.iter().copied()).collect();
        self.openssl.run(folder, &arguments).await?;
        fs::read(folder.join("reply")).context("openssl wrote no reply")
    }
}
