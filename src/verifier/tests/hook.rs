//! The hook as containerd sees it: the real program, its arguments, standard input, standard output and exit code,
//! against a daemon that does what the test says.
//!
//! Only files of root's are obeyed by the hook, so these tests run as root, as containerd does.

use std::{
    fs,
    future::pending,
    io::{Read, Write},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        net::UnixListener as StdUnixListener,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use assay_proto::v1::{
    Hook, Verdict, VerifyRequest, VerifyResponse,
    image_verifier_server::{ImageVerifier, ImageVerifierServer},
};
use nix::{
    sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
    unistd::Uid,
};
use std::os::fd::AsRawFd;
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime::Runtime};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

const NAME: &str = "docker.io/library/alpine:3.20";
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
const INPUT: &str = "application/vnd.containerd.image-verifier.input.v1+json";

fn digest() -> String {
    format!("sha256:{}", "a1".repeat(32))
}

fn descriptor(digest: &str) -> String {
    let media_type = "application/vnd.oci.image.index.v1+json";
    format!(
        "{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":1638,\"platform\":{{\"os\":\"linux\"}}}}\n"
    )
}

/// What the daemon of a test does with the question.
#[derive(Clone)]
enum Behaviour {
    Answer(VerifyResponse),
    AnswerAfter(Duration, VerifyResponse),
    Error(tonic::Code, &'static str),
    Hang,
    Panic,
}

fn verdict(verdict: Verdict) -> VerifyResponse {
    VerifyResponse {
        verdict: verdict.into(),
        ..VerifyResponse::default()
    }
}

fn admit() -> Behaviour {
    Behaviour::Answer(verdict(Verdict::Admit))
}

fn deny(code: &str, reason: &str) -> Behaviour {
    Behaviour::Answer(VerifyResponse {
        code: code.into(),
        reason: reason.into(),
        ..verdict(Verdict::Deny)
    })
}

struct Daemon {
    behaviour: Behaviour,
    asked: Arc<Mutex<Vec<VerifyRequest>>>,
}

#[tonic::async_trait]
impl ImageVerifier for Daemon {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        match self.behaviour.clone() {
            Behaviour::Answer(answer) => Ok(Response::new(answer)),
            Behaviour::AnswerAfter(time, answer) => {
                tokio::time::sleep(time).await;
                Ok(Response::new(answer))
            }
            Behaviour::Error(code, message) => Err(Status::new(code, message)),
            Behaviour::Hang => pending().await,
            Behaviour::Panic => panic!("this daemon is told to panic"),
        }
    }
}

/// A node: a directory for the socket, the bootstrap list and the observe flag.
struct Node {
    directory: TempDir,
    asked: Arc<Mutex<Vec<VerifyRequest>>>,
    runtime: Option<Runtime>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Node {
    fn without_daemon() -> Self {
        assert!(
            Uid::effective().is_root(),
            "the hook obeys only files of root's: run these tests as root"
        );
        Self {
            directory: tempfile::tempdir().unwrap(),
            asked: Arc::default(),
            runtime: None,
        }
    }

    fn with_daemon(behaviour: Behaviour) -> Self {
        let node = Self::without_daemon();
        let listener = StdUnixListener::bind(node.socket()).unwrap();
        node.serves(listener, behaviour)
    }

    fn serves(mut self, listener: StdUnixListener, behaviour: Behaviour) -> Self {
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _entered = runtime.enter();
            UnixListener::from_std(listener).unwrap()
        };
        let daemon = ImageVerifierServer::new(Daemon {
            behaviour,
            asked: Arc::clone(&self.asked),
        });
        runtime.spawn(
            Server::builder()
                .add_service(daemon)
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        self.runtime = Some(runtime);
        self
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("verifier.sock")
    }

    fn bootstrap_list(&self) -> PathBuf {
        self.directory.path().join("bootstrap.list")
    }

    fn observe_flag(&self) -> PathBuf {
        self.directory.path().join("observe")
    }

    fn lists(self, lines: &str) -> Self {
        write(&self.bootstrap_list(), lines, 0o644);
        self
    }

    fn observes(self) -> Self {
        write(&self.observe_flag(), "", 0o644);
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay-verifier"));
        command
            .args(arguments)
            .env_clear()
            .env("ASSAYD_VERIFIER_SOCKET", self.socket())
            .env("ASSAYD_BOOTSTRAP_LIST", self.bootstrap_list())
            .env("ASSAYD_OBSERVE_FLAG", self.observe_flag())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the hook as containerd does.
    fn verify(&self) -> Judgement {
        Judgement::of(self.ask())
    }

    fn ask(&self) -> Child {
        self.spawn(
            &["-name", NAME, "-digest", &digest(), "-stdin-media-type", DESCRIPTOR],
            &descriptor(&digest()),
        )
    }

    fn run(&self, arguments: &[&str], stdin: &str) -> Judgement {
        Judgement::of(self.spawn(arguments, stdin))
    }

    fn spawn(&self, arguments: &[&str], stdin: &str) -> Child {
        let mut hook = self.command(arguments).spawn().unwrap();
        // The hook may leave without having read everything.
        let _ = hook.stdin.take().unwrap().write_all(stdin.as_bytes());
        hook
    }

    fn asked(&self) -> Vec<VerifyRequest> {
        self.asked.lock().unwrap().clone()
    }
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[derive(Debug)]
struct Judgement {
    code: Option<i32>,
    line: String,
}

impl Judgement {
    /// Waits for the end, and checks what holds for every line.
    fn of(hook: Child) -> Self {
        let output = hook.wait_with_output().unwrap();
        let said = output.stdout;
        assert!(said.len() <= 512, "{} bytes", said.len());
        assert_eq!(said.iter().filter(|byte| **byte == b'\n').count(), 1, "{said:?}");
        let line = String::from_utf8(said).unwrap();
        let line = line.strip_suffix('\n').unwrap().to_owned();
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        assert!(
            !line.contains("alpine") && !line.contains(&digest()),
            "containerd prints these itself: {line}"
        );
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Self {
            code: output.status.code(),
            line,
        }
    }

    #[track_caller]
    fn admits(&self, line: &str) {
        assert!(
            self.code == Some(0) && self.line.contains(line) && self.line.starts_with("ADMIT"),
            "{self:?}"
        );
    }

    #[track_caller]
    fn denies(&self, code: &str, reason: &str) {
        let head = format!("DENY {code}: ");
        assert!(
            self.code == Some(1) && self.line.starts_with(&head) && self.line.contains(reason),
            "{self:?}"
        );
    }
}

#[test]
fn admits_when_the_daemon_admits_and_asks_what_containerd_asked() {
    let node = Node::with_daemon(admit());
    node.verify().admits("");
    let asked = node.asked();
    let [question] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(
        (question.name.as_str(), question.digest.as_str()),
        (NAME, digest().as_str())
    );
    assert_eq!(question.hook(), Hook::ContainerdImageVerifier);
    assert!(question.context.is_empty());
    let described = question.descriptor.clone().unwrap();
    assert_eq!(described.media_type, "application/vnd.oci.image.index.v1+json");
    assert_eq!((described.digest, described.size), (digest(), 1638));
}

#[test]
fn denies_when_the_daemon_denies_and_says_why() {
    let answer = VerifyResponse {
        code: "unsigned".into(),
        reason: "no signature by corp was found".into(),
        rule: "production".into(),
        policy_revision: "42".into(),
        decision_id: "8f3c".into(),
        ..verdict(Verdict::Deny)
    };
    let judgement = Node::with_daemon(Behaviour::Answer(answer)).verify();
    let line = "DENY unsigned: no signature by corp was found (rule \"production\", policy 42, decision 8f3c)";
    assert_eq!((judgement.code, judgement.line.as_str()), (Some(1), line));
}

#[test]
fn denies_everything_that_is_no_verdict() {
    for value in [0, 3, -1, i32::MAX] {
        let answer = VerifyResponse {
            verdict: value,
            reason: "fine".into(),
            audited: true,
            ..VerifyResponse::default()
        };
        Node::with_daemon(Behaviour::Answer(answer))
            .verify()
            .denies("answer-invalid", "assayd answered with");
    }
}

#[test]
fn denies_when_the_daemon_refuses_the_question_whatever_the_bootstrap_list_says() {
    for (code, shown) in [
        (tonic::Code::Internal, "daemon-unavailable"),
        (tonic::Code::Unavailable, "daemon-unavailable"),
        (tonic::Code::Unimplemented, "daemon-unavailable"),
        (tonic::Code::PermissionDenied, "daemon-unavailable"),
        (tonic::Code::Ok, "daemon-unavailable"),
        (tonic::Code::DeadlineExceeded, "deadline"),
    ] {
        let node =
            Node::with_daemon(Behaviour::Error(code, "not\u{1b}[2J now")).lists(&format!("alpine@{}\n", digest()));
        node.verify().denies(shown, "");
    }
}

#[test]
fn denies_when_the_answer_is_too_large() {
    Node::with_daemon(deny("unsigned", &"x".repeat(20_000)))
        .verify()
        .denies("daemon-unavailable", "OutOfRange");
}

#[test]
fn denies_when_the_daemon_panics() {
    Node::with_daemon(Behaviour::Panic)
        .verify()
        .denies("daemon-unavailable", "the connection to assayd broke");
}

/// One of the two tests that take the whole deadline: it is a constant, and no test can shorten it.
#[test]
fn denies_at_the_deadline_when_the_daemon_hangs_whatever_the_bootstrap_list_says() {
    let node = Node::with_daemon(Behaviour::Hang).lists(&format!("alpine@{}\n", digest()));
    node.verify().denies("deadline", "assayd did not answer in time");
}

#[test]
fn denies_when_the_connection_breaks_before_the_answer() {
    for greeting in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0"] {
        let node = Node::without_daemon();
        let listener = StdUnixListener::bind(node.socket()).unwrap();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(greeting);
            let _ = stream.read(&mut [0; 24]);
        });
        node.verify()
            .denies("daemon-unavailable", "the connection to assayd broke");
        daemon.join().unwrap();
    }
}

/// systemd goes on listening while the daemon is replaced, so the next one finds the question in the queue.
#[test]
fn asks_the_next_daemon_when_one_ends_before_the_answer() {
    for greeting in [&b""[..], b"\0\0\0\x04\0\0\0\0\0"] {
        let node = Node::without_daemon();
        let listener = StdUnixListener::bind(node.socket()).unwrap();
        let queue = listener.try_clone().unwrap();
        let hook = node.ask();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(greeting).unwrap();
        drop(stream);
        let node = node.serves(queue, admit());
        Judgement::of(hook).admits("ADMIT");
        assert_eq!(node.asked().len(), 1);
    }
}

#[test]
fn gives_up_on_daemons_that_end_before_the_answer_again_and_again() {
    let node = Node::without_daemon();
    let listener = StdUnixListener::bind(node.socket()).unwrap();
    let hook = node.ask();
    for _ in 0..3 {
        listener.accept().unwrap();
    }
    Judgement::of(hook).denies("daemon-unavailable", "the connection to assayd broke");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it asked a fourth time");
}

#[test]
fn denies_when_nobody_listens() {
    let node = Node::without_daemon();
    node.verify().denies("daemon-unavailable", "No such file");
    drop(StdUnixListener::bind(node.socket()).unwrap());
    node.verify().denies("daemon-unavailable", "Connection refused");
}

#[test]
fn waits_for_a_place_in_the_queue_of_a_busy_daemon() {
    let node = Node::without_daemon();
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(&node.socket()).unwrap()).unwrap();
    listen(&socket, Backlog::new(0).unwrap()).unwrap();
    let fills_the_queue = std::os::unix::net::UnixStream::connect(node.socket()).unwrap();
    let mut hook = node.command(&["-name", NAME, "-digest", &digest()]).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(hook.try_wait().unwrap().is_none(), "it gave up at once");
    drop((socket, fills_the_queue));
    Judgement::of(hook).denies("daemon-unavailable", "Connection refused");
}

#[test]
fn admits_what_the_bootstrap_list_names_while_the_daemon_is_away() {
    for line in [
        "alpine@",
        "docker.io/library/alpine@",
        "index.docker.io/library/alpine:3.20@",
        "  DOCKER.IO/alpine@",
    ] {
        let node = Node::without_daemon().lists(&format!("# node essentials\n\n{line}{} # comment\n", digest()));
        let judgement = node.verify();
        assert_eq!(judgement.code, Some(0), "{judgement:?}");
        assert!(
            judgement.line.starts_with("ADMIT bootstrap: ")
                && judgement.line.ends_with("bootstrap.list:3 names this digest")
        );
    }
}

#[test]
fn denies_what_the_bootstrap_list_does_not_name() {
    let other = format!("sha256:{}", "b2".repeat(32));
    for line in [
        String::new(),
        format!("alpine@{other}"),
        format!("busybox@{}", digest()),
        format!("registry.example/library/alpine@{}", digest()),
        format!("# alpine@{}", digest()),
    ] {
        let judgement = Node::without_daemon().lists(&line).verify();
        judgement.denies("daemon-unavailable", "No such file");
        assert!(!judgement.line.contains("list"), "{judgement:?}");
    }
}

#[test]
fn reads_no_bootstrap_list_while_the_daemon_answers() {
    let node = Node::with_daemon(deny("unsigned", "no signature")).lists(&format!("alpine@{}\n", digest()));
    node.verify().denies("unsigned", "no signature");
}

#[test]
fn names_the_malformed_lines_and_goes_on() {
    let node = Node::without_daemon().lists(&format!("pause\nalpine@sha256:00\nalpine@{}\n", digest()));
    node.verify()
        .admits("bootstrap.list:1 is not repository@digest, nor are 1 more lines)");
    let node = Node::without_daemon().lists("\nalpine@sha256:\u{1b}\n");
    node.verify()
        .denies("daemon-unavailable", "bootstrap.list:2 is not repository@digest)");
}

#[test]
fn obeys_no_file_that_others_than_root_could_have_written() {
    type Spoil = fn(&Node, &Path);
    let spoils: [(&str, Spoil); 8] = [
        ("belongs to user 1000, not to root", |_, path| {
            chown(path, Some(1000), None).unwrap()
        }),
        ("can be written by others (mode 0664)", |_, path| {
            write(path, &fs::read_to_string(path).unwrap(), 0o664)
        }),
        ("can be written by others (mode 0646)", |_, path| {
            write(path, &fs::read_to_string(path).unwrap(), 0o646)
        }),
        ("is a symbolic link", |node, path| {
            let target = node.directory.path().join("target");
            fs::rename(path, &target).unwrap();
            symlink(target, path).unwrap();
        }),
        ("is not a regular file", |_, path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("is longer than", |_, path| {
            let longer = fs::read_to_string(path).unwrap() + &"#".repeat(256 << 10);
            write(path, &longer, 0o644);
        }),
        ("its directory belongs to user 1000", |node, _| {
            chown(node.directory.path(), Some(1000), None).unwrap()
        }),
        ("its directory can be written by others", |node, _| {
            fs::set_permissions(node.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        }),
    ];
    for (fault, spoil) in spoils {
        let node = Node::without_daemon().lists(&format!("alpine@{}\n", digest()));
        node.verify().admits("bootstrap");
        spoil(&node, &node.bootstrap_list());
        node.verify().denies("daemon-unavailable", fault);

        let node = Node::without_daemon().observes();
        assert_eq!(node.verify().code, Some(0));
        spoil(&node, &node.observe_flag());
        node.verify().denies("daemon-unavailable", fault);
    }
}

#[test]
fn observe_mode_admits_everything_and_says_what_it_would_have_said() {
    let observed = |node: Node| {
        let judgement = node.observes().verify();
        assert_eq!(judgement.code, Some(0), "{judgement:?}");
        judgement.line
    };
    assert_eq!(observed(Node::with_daemon(admit())), "OBSERVE would ADMIT");
    assert_eq!(
        observed(Node::with_daemon(deny("unsigned", "none"))),
        "OBSERVE would DENY unsigned: none"
    );
    assert!(observed(Node::without_daemon()).starts_with("OBSERVE would DENY daemon-unavailable: "));
    // After 2 s: were it 8, the daemon's answer would have come first.
    let slow = Behaviour::AnswerAfter(Duration::from_secs(5), verdict(Verdict::Admit));
    assert!(observed(Node::with_daemon(slow)).starts_with("OBSERVE would DENY deadline: "));

    let node = Node::with_daemon(admit()).observes();
    let judgement = node.run(&["-digest", &digest()], "");
    assert_eq!(judgement.code, Some(0));
    assert!(
        judgement.line.starts_with("OBSERVE would DENY request-malformed: "),
        "{judgement:?}"
    );
}

#[test]
fn tolerates_flags_of_a_later_containerd() {
    let node = Node::with_daemon(admit());
    let digest = digest();
    let arguments = [
        "--operation=run",
        "-name",
        NAME,
        "-quiet",
        "-digest",
        &digest,
        "-platform",
        "linux/amd64",
    ];
    node.run(&arguments, "").admits("");
    node.run(
        &[
            "--name",
            NAME,
            &format!("--digest={digest}"),
            "-stdin-media-type=text/plain",
        ],
        "no JSON",
    )
    .admits("");
}

#[test]
fn reads_the_wider_input_document() {
    let node = Node::with_daemon(admit());
    let input = format!(
        "{{\"descriptor\":{},\"operation\":\"pull\",\"annotations\":{{\"a\":\"b\"}}}}",
        descriptor(&digest())
    );
    node.run(&["-name", NAME, "-stdin-media-type", INPUT], &input)
        .admits("");
    let asked = node.asked();
    let [question] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(question.digest, digest());
    assert_eq!(question.context.get("operation").map(String::as_str), Some("pull"));
}

#[test]
fn denies_a_malformed_question_without_asking() {
    let node = Node::with_daemon(admit());
    let digest = digest();
    let full = ["-name", NAME, "-digest", &digest, "-stdin-media-type", DESCRIPTOR];
    let other = descriptor(&format!("sha256:{}", "b2".repeat(32)));
    let good = descriptor(&digest);
    let long = format!("{{\"mediaType\":\"{}\"", "x".repeat(1 << 20));
    for (arguments, stdin, reason) in [
        (
            &full[..],
            other.as_str(),
            "the descriptor's digest is not the one of -digest",
        ),
        (&full, "", "standard input is not a descriptor: EOF"),
        (&full, "null\n", "standard input is not a descriptor"),
        (&full, "{}", "missing field"),
        (&full, "{\"mediaType\":\"\u{1b}", "standard input is not a descriptor"),
        (&full, &good.repeat(2), "trailing characters"),
        (&full, &long, "standard input is longer than 65536 bytes"),
        (&full[..2], "", "neither -digest nor standard input"),
        (
            &["-name", NAME, "-stdin-media-type", "text/plain"],
            &good,
            "neither -digest nor standard input",
        ),
        (&full[2..], &good, "-name is missing"),
        (&[], "", "-name is missing"),
    ] {
        node.run(arguments, stdin).denies("request-malformed", reason);
    }
    assert!(node.asked().is_empty());
}

#[test]
fn does_not_wait_for_the_end_of_standard_input() {
    let node = Node::with_daemon(admit());
    let digest = digest();
    let mut hook = node
        .command(&["-name", NAME, "-digest", &digest, "-stdin-media-type", DESCRIPTOR])
        .spawn()
        .unwrap();
    let mut stdin = hook.stdin.take().unwrap();
    let described = descriptor(&digest);
    // In two pieces, the first of which ends with a brace.
    let (first, second) = described.split_at(described.len() - 2);
    stdin.write_all(first.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(50));
    stdin.write_all(second.as_bytes()).unwrap();
    Judgement::of(hook).admits("");
    drop(stdin);
}

/// The other test that takes the whole deadline.
#[test]
fn denies_at_the_deadline_when_standard_input_stays_silent() {
    let node = Node::with_daemon(admit());
    let digest = digest();
    let mut hook = node
        .command(&["-name", NAME, "-digest", &digest, "-stdin-media-type", DESCRIPTOR])
        .spawn()
        .unwrap();
    let stdin = hook.stdin.take();
    Judgement::of(hook).denies("deadline", "standard input");
    drop(stdin);
    assert!(node.asked().is_empty());
}

#[test]
fn escapes_and_bounds_whatever_the_daemon_says() {
    for text in ["\u{1b}[2Jx\n\r\0", "\u{202e}\u{2066}", "line\nADMIT", "\u{e9}", "x"] {
        let text = text.repeat(300);
        let answer = VerifyResponse {
            code: text.clone(),
            reason: text.clone(),
            rule: text.clone(),
            policy_revision: text.clone(),
            decision_id: text,
            ..verdict(Verdict::Deny)
        };
        // Judgement::of checks the line.
        let judgement = Node::with_daemon(Behaviour::Answer(answer)).verify();
        assert!(
            judgement.code == Some(1) && judgement.line.starts_with("DENY "),
            "{judgement:?}"
        );
    }
}

#[test]
fn says_when_audit_mode_admitted() {
    let answer = VerifyResponse {
        code: "unsigned".into(),
        reason: "no signature".into(),
        audited: true,
        ..verdict(Verdict::Admit)
    };
    let judgement = Node::with_daemon(Behaviour::Answer(answer)).verify();
    judgement.admits("ADMIT by audit mode, would DENY unsigned: no signature");
}

#[test]
fn the_verdict_does_not_depend_on_a_reader_of_standard_output() {
    for (behaviour, code) in [(admit(), 0), (deny("unsigned", "none"), 1)] {
        let node = Node::with_daemon(behaviour);
        let mut hook = node.command(&["-name", NAME, "-digest", &digest()]).spawn().unwrap();
        drop(hook.stdout.take());
        assert_eq!(hook.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn a_person_gets_help_and_never_exit_code_0() {
    let node = Node::with_daemon(admit()).observes();
    for (argument, shown) in [
        ("--help", "-stdin-media-type"),
        ("-h", "bootstrap.list"),
        ("--version", "assay-verifier "),
    ] {
        let output = node.command(&[argument]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{argument}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(shown), "{argument}");
    }
}
