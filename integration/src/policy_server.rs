//! The real nginx with one folder of files, as a policy repository is served.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::certificates::{ServerIdentity, server_identity};
use crate::peers::{NGINX, Peers, Program};
use crate::process::Service;

/// The file that says which others count. It is put in place after them.
const LAST: &str = "timestamp.json";

/// nginx over TLS, on a port of its own. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct PolicyServer {
    program: Program,
    service: Option<Service>,
    identity: ServerIdentity,
    host: String,
    directory: tempfile::TempDir,
}

impl PolicyServer {
    /// Starts it on this address, with an empty folder and a certificate from a CA of its own.
    ///
    /// # Errors
    ///
    /// It cannot be fetched or does not come up; then the error holds the end of its log.
    pub async fn start(peers: &Peers, address: Ipv4Addr) -> Result<Self> {
        let program = peers.linked(&NGINX)?;
        let directory = tempfile::Builder::new().prefix("assay-nginx-").tempdir()?;
        let path = directory.path();
        // It cannot report a port that it chose itself, so a free one is looked for.
        let host = TcpListener::bind((address, 0))?.local_addr()?.to_string();
        let identity = server_identity(&[&address.to_string()])?;
        fs::create_dir(path.join("www"))?;
        fs::write(path.join("certificate.pem"), identity.certificate_pem())?;
        fs::write(path.join("key.pem"), identity.key_pem())?;
        fs::write(path.join("nginx.conf"), configuration(path, &host))?;
        let mut nginx = Self {
            program,
            service: None,
            identity,
            host,
            directory,
        };
        nginx.restart().await?;
        Ok(nginx)
    }

    /// Starts it again, on the same port and with the same files.
    ///
    /// # Errors
    ///
    /// It does not come up; the error holds the end of its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        let path = self.directory.path();
        let mut command = self.program.command();
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf"));
        command.arg("-e").arg("stderr");
        let mut service = Service::spawn("nginx", command, &path.join("nginx.log"))?;
        let host = &self.host;
        service
            .wait_until(|| async move { TcpStream::connect(host).await.is_ok() })
            .await?;
        self.service = Some(service);
        Ok(())
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        self.service = None;
    }

    /// The address of its folder: `https://198.18.0.1:8443`.
    pub fn url(&self) -> String {
        format!("https://{}", self.host)
    }

    /// The PEM text of the CA to trust.
    pub fn ca(&self) -> &str {
        self.identity.ca_pem()
    }

    /// Puts files into its folder, as somebody uploads them: each whole or not at all, and what names the others last.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn upload(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        let (last, first): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| *name == LAST);
        for (name, content) in first.into_iter().chain(last) {
            let path = self.folder().join(name);
            if fs::read(&path).is_ok_and(|there| there == *content) {
                continue;
            }
            fs::create_dir_all(path.parent().context("a file in no folder")?)?;
            let unfinished = self.directory.path().join("upload");
            fs::write(&unfinished, content)?;
            fs::rename(unfinished, &path).with_context(|| format!("cannot upload {name}"))?;
        }
        Ok(())
    }

    /// The folder that it serves.
    pub fn folder(&self) -> PathBuf {
        self.directory.path().join("www")
    }

    /// What was asked of it, in order: `GET /timestamp.json 200 assayd/1.0`.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// One process that serves the folder as it is, and writes nowhere but beside it.
fn configuration(directory: &Path, host: &str) -> String {
    let path = directory.display();
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places: Vec<_> = places
        .iter()
        .map(|of| format!("{of}_temp_path {path}/temp.{of};"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {path}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
         log_format asked '$request_method $uri $status $http_user_agent';\naccess_log {path}/access.log asked;\n\
         {}\nserver {{\nlisten {host} ssl;\nssl_certificate {path}/certificate.pem;\nssl_certificate_key {path}/key.pem;\n\
         root {path}/www;\n}}\n}}\n",
        places.join("\n"),
    )
}
