//! Debian's nginx, which serves a folder on loopback: the static server that a policy repository needs, and nothing more.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::certificates::ServerIdentity;
use crate::peers::{NGINX, Peers, Program};
use crate::process::{Service, output};

/// How many addresses of loopback it listens on. One alone has 28,000 ports for those who connect to it, and each stays in use
/// for a minute after its connection was closed.
pub const ADDRESSES: u8 = 8;

/// Connections beside those that are asked for: the listening ones, and those that come before others have gone.
const SPARE_CONNECTIONS: usize = 1024;

/// One line of the access log.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// When the answer was sent, since the Unix epoch; to the millisecond.
    pub at: Duration,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the request with its head, before they were encrypted.
    pub received: u64,
    /// Bytes of the answer with its head, before they were encrypted.
    pub sent: u64,
    /// Which request it was on its connection; 1 is the first.
    pub on_connection: u64,
    /// The path that was asked for.
    pub path: String,
}

/// nginx with one worker, until it is dropped.
#[derive(Debug)]
pub struct Nginx {
    program: Program,
    version: String,
    folder: TempDir,
    port: u16,
    scheme: &'static str,
    running: Option<Service>,
    /// The processor time of workers that have ended.
    spent: Duration,
    /// How much of the access log was read.
    read: u64,
}

impl Nginx {
    /// Serves `served`, over HTTPS where there is an identity. It keeps connections open as long as nginx does by default
    /// (75 s), for `connections` clients at once.
    ///
    /// # Errors
    ///
    /// nginx cannot be fetched, or does not start.
    pub async fn start(
        peers: &Peers,
        served: &Path,
        identity: Option<&ServerIdentity>,
        connections: usize,
    ) -> Result<Self> {
        let program = peers.linked(&NGINX)?;
        let mut version = program.command();
        version.arg("-v");
        let version = output(version).await?.successful()?.stderr;
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("temporary"))?;
        // It may be taken before nginx takes it; then nginx says so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if let Some(identity) = identity {
            fs::write(folder.path().join("certificate.pem"), identity.certificate_pem())?;
            fs::write(folder.path().join("key.pem"), identity.key_pem())?;
        }
        let configuration = configuration(served, port, identity.is_some(), connections);
        fs::write(folder.path().join("nginx.conf"), configuration)?;
        let mut nginx = Self {
            program,

            version: version.trim().to_owned(),
            folder,
            port,
            scheme: if identity.is_some() { "https" } else { "http" },
            running: None,
            spent: Duration::ZERO,
            read: 0,
        };
        nginx.serve().await?;
        Ok(nginx)
    }

    /// Starts again after [`Nginx::stop`], on the same port.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn serve(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let mut command = self.program.command();
        command
            .args([OsStr::new("-p"), folder.as_os_str(), OsStr::new("-c")])
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg(folder.join("error.log"));
        let service = Service::spawn("nginx", command, &folder.join("error.log"))?;
        let address = self.address(0);
        self.running
            .insert(service)
            .wait_until(|| async move { TcpStream::connect(address).await.is_ok() })
            .await
    }

    /// Ends it, and every connection. Who connects is refused until [`Nginx::serve`].
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn stop(&mut self) -> Result<()> {
        self.spent = self.processor_time()?;
        match self.running.take() {
            Some(mut service) => service.terminate().await.map(drop),
            None => Ok(()),
        }
    }

    /// What it says of its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// One of its [`ADDRESSES`]; those beyond are the first ones again.
    pub fn address(&self, number: usize) -> SocketAddr {
        let host = 1 + number % usize::from(ADDRESSES);
        let host = u8::try_from(host).unwrap_or(1);
        (Ipv4Addr::new(127, 0, 0, host), self.port).into()
    }

    /// Every host that it answers as.
    pub fn hosts() -> Vec<String> {
        (1..=ADDRESSES).map(|host| format!("127.0.0.{host}")).collect()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.scheme
    }

    /// The processor time of all its workers so far.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn processor_time(&self) -> Result<Duration> {
        let Some(service) = &self.running else {
            return Ok(self.spent);
        };
        // proc(5): the threads of a process, each with its children. The one here has one thread, and so have they.
        let id = service.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let mut sum = self.spent;
        for worker in children.split_whitespace() {
            // Nanoseconds on a processor come first (Documentation/scheduler/sched-stats.rst).
            let text = fs::read_to_string(format!("/proc/{worker}/schedstat"))?;
            let nanoseconds = text.split_whitespace().next().context("an empty schedstat")?;
            sum += Duration::from_nanos(nanoseconds.parse()?);
        }
        Ok(sum)
    }

    /// What was asked since the last call. A request that is under way is in no call before its end.
    ///
    /// # Errors
    ///
    /// The access log cannot be read.
    pub fn asked(&mut self) -> Result<Vec<Access>> {
        let mut log = File::open(self.folder.path().join("access.log")).context("nginx has no access log")?;
        log.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let whole = text.get(..whole).unwrap_or_default();
        self.read += whole.len() as u64;
        whole
            .lines()
            .map(|line| parse(line).with_context(|| format!("in nginx's access log: {line}")))
            .collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = self
            .running
            .as_ref()
            .and_then(|service| i32::try_from(service.id()).ok());
        if let Some(id) = id {
            // Workers outlive a master that is killed, and are in the process group that it leads. They may be gone already.
            let _: nix::Result<()> = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

fn configuration(served: &Path, port: u16, tls: bool, connections: usize) -> String {
    let connections = connections + SPARE_CONNECTIONS;
    let how = if tls { " ssl" } else { "" };
    let listen: Vec<_> = Nginx::hosts()
        .iter()
        .map(|host| format!("    listen {host}:{port}{how} backlog=4096;\n"))
        .collect();
    let certificate = match tls {
        true => "    ssl_certificate certificate.pem;\n    ssl_certificate_key key.pem;\n    ssl_protocols TLSv1.3;\n",
        false => "",
    };
    // Relative paths are relative to this file's folder, or to the prefix, which is the same.
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid nginx.pid;\nworker_rlimit_nofile {connections};\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n\
         \x20 log_format lab '$msec $status $request_length $bytes_sent $connection_requests $request_uri';\n\
         \x20 access_log access.log lab;\n\
         \x20 client_body_temp_path temporary/a;\n  proxy_temp_path temporary/b;\n  fastcgi_temp_path temporary/c;\n\
         \x20 uwsgi_temp_path temporary/d;\n  scgi_temp_path temporary/e;\n\
         \x20 default_type application/octet-stream;\n  gzip off;\n  etag on;\n  tcp_nodelay on;\n\
         \x20 server {{\n{}{certificate}    root \"{}\";\n  }}\n}}\n",
        listen.concat(),
        served.display()
    )
}

fn parse(line: &str) -> Option<Access> {
    let mut fields = line.splitn(6, ' ');
    let mut next = || fields.next();
    // Seconds and three digits of milliseconds: a floating-point number would be near them.
    let (seconds, milliseconds) = next()?.split_once('.')?;
    let at = Duration::from_secs(seconds.parse().ok()?) + Duration::from_millis(milliseconds.parse().ok()?);
    Some(Access {
        at,
        status: next()?.parse().ok()?,
        received: next()?.parse().ok()?,
        sent: next()?.parse().ok()?,
        on_connection: next()?.parse().ok()?,
        path: next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_a_request() {
        let expected = Access {
            at: Duration::from_millis(1_700_000_000_123),
            status: 304,
            received: 180,
            sent: 179,
            on_connection: 2,
            path: "/timestamp.json".to_owned(),
        };
        assert_eq!(parse("1700000000.123 304 180 179 2 /timestamp.json"), Some(expected));
        assert_eq!(parse("1700000000.123 304"), None);
    }
}
