//! Metrics as Prometheus asks for them, and the alert rules as Prometheus reads them.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use assay_integration::{Assayd, Image, Peers, Question, Registry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// What a connection answers to one request.
async fn ask(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, request: &str) -> String {
    let request = format!("{request} HTTP/1.1\r\nHost: node\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it closes after an answer");
    answer
}

fn policy(unmatched: &str) -> String {
    format!("version = 1\nunmatched = \"{unmatched}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_what_was_decided_and_what_is_in_force() {
    let registry = Registry::start().await.expect("a registry");
    let image = Image::tiny("metrics").expect("an image");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("metrics.sock");
    let mut assayd = Assayd::builder()
        .policy(&policy("deny"))
        .setting("metrics_listen", format!("unix:{}", socket.display()))
        .start()
        .await
        .expect("assayd");
    let question = Question::new(format!("{}/app:v1", registry.host()), image.descriptor());
    let channel = assayd.channel().expect("a socket");
    let verdict = question.grpc(channel.clone()).await.expect("a verdict");
    let malformed = Question::new("NO REFERENCE", image.descriptor());
    malformed.grpc(channel).await.expect("a verdict");

    let connect = async || UnixStream::connect(&socket).await.expect("the socket");
    let answer = ask(connect().await, "GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    for line in [
        r#"assayd_verdicts_total{verdict="deny",code="no-matching-rule",hook="containerd-image-verifier"} 1"#,
        r#"assayd_verdicts_total{verdict="deny",code="request-malformed",hook="containerd-image-verifier"} 1"#,
        r#"assayd_verdict_duration_seconds_count{cache="not-needed"} 2"#,
        "assayd_questions_in_flight 0",
        "assayd_policy_in_force 1",
        "assayd_enforcing 1",
        "assayd_observing 0",
        "# EOF",
    ] {
        assert!(answer.lines().any(|one| one == line), "no {line} in\n{answer}");
    }
    for (request, status) in [
        ("HEAD /metrics", "HTTP/1.1 200 OK\r\n"),
        ("POST /metrics", "HTTP/1.1 405 Method Not Allowed\r\n"),
        ("GET /", "HTTP/1.1 404 Not Found\r\n"),
    ] {
        let answer = ask(connect().await, request).await;
        assert!(answer.starts_with(status), "{request}: {answer}");
    }

    assayd.write_policy(&policy("audit")).expect("a policy");
    assayd
        .assayctl(&["reload"])
        .await
        .expect("assayctl")
        .successful()
        .expect("a good policy");
    let answer = ask(connect().await, "GET /metrics").await;
    assert!(answer.lines().any(|line| line == "assayd_enforcing 0"), "{answer}");

    // An orderly end writes what waits.
    assayd.stop().await.expect("it stops");
    let directory = assayd.state_directory().join("decisions").display().to_string();
    let asked = ["decisions", "--directory", &directory, "--id", &verdict.decision_id];
    let shown = assayd
        .assayctl(&asked)
        .await
        .expect("assayctl")
        .successful()
        .expect("the decision");
    assert!(shown.stdout.contains(" DENY no-matching-rule "), "{shown:?}");
    let asked = ["decisions", "--directory", &directory, "--code", "request-malformed"];
    let shown = assayd
        .assayctl(&asked)
        .await
        .expect("assayctl")
        .successful()
        .expect("the decision");
    assert!(shown.stdout.contains("(malformed question)"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_one_of_loopback_and_one_in_use_keeps_the_daemon_from_starting_silently() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let builder = || {
        Assayd::builder()
            .policy(&policy("deny"))
            .setting("metrics_listen", address.clone())
    };
    let refused = builder().start().await.expect_err("the port is in use").to_string();
    assert!(
        refused.contains(&format!("assayd: metrics_listen: {address}: Address already in use")),
        "{refused}"
    );
    drop(taken);
    let _assayd = builder().start().await.expect("assayd");
    let answer = ask(TcpStream::connect(&address).await.expect("the port"), "GET /metrics").await;
    assert!(answer.contains("assayd_policy_in_force 1\n"), "{answer}");
}

#[test]
fn the_alert_rules_are_sound_and_fire_when_they_should() {
    let promtool = Peers::fetch().and_then(|peers| peers.promtool()).expect("promtool");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/alerts");
    for arguments in [["check", "rules", "assayd.yml"], ["test", "rules", "assayd_test.yml"]] {
        let run = Command::new(&promtool).args(arguments).current_dir(&rules).output();
        let run = run.expect("promtool runs");
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(
            run.status.success() && said.contains("SUCCESS"),
            "{arguments:?}: {said}"
        );
    }
}
