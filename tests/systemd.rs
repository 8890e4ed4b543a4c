//! The built daemon as systemd starts it: with sockets that are bound already, and somebody who wants to be told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assay_proto::v1 as proto;
use assay_proto::v1::image_verifier_client::ImageVerifierClient;
use hyper_util::rt::TokioIo;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// How long something that has to come is waited for. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

const POLICY: &str = "version = 1\nunmatched = \"admit\"\n";

/// systemd's side: it listens before the daemon runs and goes on afterwards.
struct Manager {
    folder: TempDir,
    notifications: UnixDatagram,
    listeners: Vec<UnixListener>,
    /// The first of the copies that the daemon inherits; the originals are closed when it is executed.
    first: RawFd,
}

impl Manager {
    fn listening_on(sockets: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notifications = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        let bind = |name: &&str| UnixListener::bind(folder.path().join(name)).unwrap();
        let listeners: Vec<_> = sockets.iter().map(bind).collect();
        // Others take descriptors meanwhile, so it is tried until they lie one after the other.
        let mut first = 100;
        while !listeners.is_empty() {
            let copy = |(nth, listener): (RawFd, &UnixListener)| {
                fcntl(listener, FcntlArg::F_DUPFD(first + nth)).unwrap() == first + nth
            };
            if (0..).zip(&listeners).all(copy) {
                break;
            }
            first += 100;
        }
        let manager = Self {
            folder,
            notifications,
            listeners,
            first,
        };
        manager.configure(&manager.path("verifier.sock"));
        manager.write_policy(POLICY);
        manager
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, verifier_socket: &Path) {
        let me = nix::unistd::getuid();
        let text = format!(
            "verifier_socket = {verifier_socket:?}\ncontrol_socket = \"control.sock\"\nstate_directory = \"state\"\n\
             policy = \"policy.toml\"\nallowed_users = [{me}]\n"
        );
        fs::write(self.path("config.toml"), text).unwrap();
    }

    fn write_policy(&self, policy: &str) {
        fs::write(self.path("policy.toml"), policy).unwrap();
    }

    fn start(&self, watchdog: Option<Duration>) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assayd"));
        command
            .arg("--config")
            .arg(self.path("config.toml"))
            .env("NOTIFY_SOCKET", self.path("notify"))
            .stderr(Stdio::piped());
        if !self.listeners.is_empty() {
            // systemd's first is 3; the crate that takes them lets a test choose.
            command
                .env("LISTEN_FDS", self.listeners.len().to_string())
                .env("LISTEN_FDS_FIRST_FD", self.first.to_string());
        }
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Daemon(command.spawn().unwrap())
    }

    /// Waits for a notification that has this line, and returns it whole.
    #[track_caller]
    fn wait_for(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notifications.recv(&mut buffer).expect("the notification comes");
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if text.lines().any(|one| one == line) {
                return text;
            }
        }
    }
}

struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end, and returns whether it was a good one, and what it said.
    fn end(mut self) -> (bool, String) {
        let success = self.0.wait().unwrap().success();
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (success, said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn connect(socket: PathBuf) -> ImageVerifierClient<Channel> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://assayd").timeout(PATIENCE);
    ImageVerifierClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

fn question() -> proto::VerifyRequest {
    let digest = format!("sha256:{}", "a1".repeat(32));
    proto::VerifyRequest {
        name: "registry.example/app:v1".to_owned(),
        digest: digest.clone(),
        descriptor: Some(proto::Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest,
            size: 5,
        }),
        hook: proto::Hook::ContainerdImageVerifier.into(),
        ..proto::VerifyRequest::default()
    }
}

#[tokio::test]
async fn answers_on_the_sockets_that_systemd_listens_on_and_leaves_them_there() {
    let manager = Manager::listening_on(&["verifier.sock", "control.sock"]);
    // It is asked before it runs, and between one daemon and the next.
    for _ in 0..2 {
        let asking = tokio::spawn(connect(manager.path("verifier.sock")));
        let daemon = manager.start(None);
        let answer = asking.await.unwrap().verify(question()).await.unwrap().into_inner();
        assert_eq!(answer.verdict(), proto::Verdict::Admit);
        manager.wait_for("READY=1");
        daemon.signal(Signal::SIGTERM);
        manager.wait_for("STOPPING=1");
        let (success, said) = daemon.end();
        assert!(success, "{said}");
    }
}

#[test]
fn without_systemd_it_makes_its_sockets_itself() {
    let manager = Manager::listening_on(&[]);
    let daemon = manager.start(None);
    manager.wait_for("READY=1");
    UnixStream::connect(manager.path("verifier.sock")).unwrap();
    UnixStream::connect(manager.path("control.sock")).unwrap();
    drop(daemon);
}

#[test]
fn refuses_to_leave_a_socket_of_systemds_unanswered() {
    let manager = Manager::listening_on(&["verifier.sock", "control.sock"]);
    manager.configure(&manager.path("elsewhere.sock"));
    let (success, said) = manager.start(None).end();
    assert!(!success, "{said}");
    assert!(
        said.contains("verifier.sock, which is neither verifier_socket nor control_socket"),
        "{said}"
    );
}

#[test]
fn says_when_it_reloads_and_what_is_in_force() {
    let manager = Manager::listening_on(&["verifier.sock", "control.sock"]);
    let daemon = manager.start(None);
    let ready = manager.wait_for("READY=1");
    assert!(
        ready.contains("STATUS=policy ") && ready.contains(" is in force"),
        "{ready}"
    );
    daemon.signal(Signal::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1");
    // systemd 253 and later ends a service that does not say when.
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
}

#[tokio::test]
async fn a_broken_policy_does_not_keep_it_from_being_ready() {
    let manager = Manager::listening_on(&["verifier.sock", "control.sock"]);
    manager.write_policy("version = 1\n");
    let _daemon = manager.start(Some(Duration::from_secs(1)));
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("every image is denied with policy-invalid"), "{ready}");
    let mut client = connect(manager.path("verifier.sock")).await;
    let answer = client.verify(question()).await.unwrap().into_inner();
    assert_eq!(
        (answer.verdict(), answer.code.as_str()),
        (proto::Verdict::Deny, "policy-invalid")
    );
    manager.wait_for("WATCHDOG=1");
}

#[test]
fn feeds_the_watchdog_for_as_long_as_questions_are_answered() {
    let manager = Manager::listening_on(&["verifier.sock", "control.sock"]);
    let daemon = manager.start(Some(Duration::from_millis(300)));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    drop(daemon);
}

#[test]
fn what_is_no_socket_is_refused() {
    let manager = Manager::listening_on(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_assayd"));
    command.arg("--config").arg(manager.path("config.toml"));
    let file = fs::File::create(manager.path("file")).unwrap();
    (&file).write_all(b"no socket").unwrap();
    let copy = fcntl(&file, FcntlArg::F_DUPFD(90)).unwrap();
    command
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", copy.to_string());
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no listening unix socket"), "{said}");
    assert!(file.as_raw_fd() != copy);
}
