//! What an operator reads of revocation and timestamps.

use std::time::Duration;

use assay_integration::certificates::{Authority, Profile};
use assay_integration::crl::CrlProfile;
use assay_integration::registry::When;
use assay_integration::timestamp::Stamping;
use assay_integration::{Assayd, Question, TimestampAuthority};
use serde_json::Value;

use crate::lab::{Lab, Policy, admitted, ask, denied, revoking};

async fn explain(assayd: &Assayd, question: &Question) -> (Option<i32>, String) {
    let digest = question.descriptor["digest"].as_str().expect("a digest");
    let name = question.name.trim_end_matches(":v1");
    let reference = format!("{name}@{digest}");
    let finished = assayd.assayctl(&["explain", &reference]).await.expect("assayctl");
    (finished.code, finished.stdout)
}

/// The line of a step.
#[track_caller]
fn line<'a>(text: &'a str, step: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| line.split_whitespace().next() == Some(step))
        .unwrap_or_else(|| panic!("no line {step} in:\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_who_vouches_and_who_revoked() {
    let lab = Lab::start().await;
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let profile = Profile::timestamping("time").crl(lab.web.url("/time.crl"));
    let identity = time_root.issue(&profile).unwrap();
    let time = TimestampAuthority::start(&lab.openssl, &Stamping::with(&identity))
        .await
        .unwrap();
    lab.publish("/time.crl", &time_root, &CrlProfile::default()).await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let profile = |name: &str| Profile::named(name).crl(lab.web.url("/leaf.crl"));
    let (release, former) = (
        root.issue(&profile("release")).unwrap(),
        root.issue(&profile("former")).unwrap(),
    );
    lab.publish("/leaf.crl", &root, &revoking(&former.serial)).await;
    let daemon = lab.daemon(
        &root.certificate_pem(),
        &Policy::authority("trust_stores = [\"ca:corp\", \"tsa:time\"]"),
    );
    let daemon = daemon.file("notation/truststore/x509/tsa/time/root.pem", time.root_pem());
    let assayd = daemon.start().await.unwrap();

    let good = lab.timestamped("good", &release, &time).await;
    admitted(&assayd, &good).await;
    let (code, text) = explain(&assayd, &good).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("ADMIT: "), "{text}");
    for (step, parts) in [
        ("authenticTimestamp", &["passed", "CN=time"][..]),
        ("timestampRevocation", &["passed", "not revoked", "/time.crl"]),
        ("revocation", &["passed", "CN=release", "not revoked", "/leaf.crl"]),
    ] {
        for part in parts {
            assert!(line(&text, step).contains(part), "{step}: {part} is missing:\n{text}");
        }
    }

    let revoked = lab.timestamped("revoked", &former, &time).await;
    denied(&assayd, &revoked, "certificate-revoked").await;
    let (code, text) = explain(&assayd, &revoked).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("DENY certificate-revoked: "), "{text}");
    assert!(line(&text, "authenticTimestamp").contains("passed"), "{text}");
    for part in ["failed", "CN=former", "revoked at", "keyCompromise", "/leaf.crl"] {
        assert!(line(&text, "revocation").contains(part), "{part} is missing:\n{text}");
    }
    assert!(text.contains("to mend"), "{text}");

    let plain = lab.signed("plain", &release);
    let (code, text) = explain(&assayd, &plain).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("DENY timestamp-required: "), "{text}");
    assert!(line(&text, "revocation").contains("not reached"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_is_kept_and_which_endpoint_fails() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let profile = |path: &str| Profile::named("release").crl(lab.web.url(path));
    let good = root.issue(&profile("/good.crl")).unwrap();
    let slow = root.issue(&profile("/broken.crl")).unwrap();
    lab.publish("/good.crl", &root, &CrlProfile::default()).await;
    lab.web.misbehave(
        When::path("/broken.crl"),
        assay_integration::registry::Fault::Status(http::StatusCode::BAD_GATEWAY),
    );
    let assayd = lab.strict(&root).await;
    let status = async || {
        let human = assayd.assayctl(&["status"]).await.unwrap().successful().unwrap().stdout;
        let machine = assayd.assayctl(&["status", "--output", "json"]).await.unwrap();
        let machine: Value = serde_json::from_str(&machine.stdout).unwrap();
        (human, machine["revocation"].clone())
    };
    let (human, machine) = status().await;
    assert!(!human.contains("revocation"), "{human}");
    assert_eq!(
        (machine["kept"].as_u64(), machine["failing"].as_array().map(Vec::len)),
        (Some(0), Some(0))
    );

    admitted(&assayd, &lab.signed("good", &good)).await;
    ask(&assayd, &lab.signed("broken", &slow)).await;
    // Answers are written to disk after the verdict.
    let mut last = status().await;
    for _ in 0..20 {
        if last.1["bytes_on_disk"].as_u64() > Some(0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = status().await;
    }
    let (human, machine) = last;
    for part in [
        "revocation 1 answers kept",
        "the first lapses at",
        "no answer from",
        "/broken.crl",
        "502",
    ] {
        assert!(human.contains(part), "{part} is missing:\n{human}");
    }
    assert_eq!(machine["kept"], 1, "{machine}");
    assert!(machine["bytes_on_disk"].as_u64() > Some(0), "{machine}");
    let failing = machine["failing"].as_array().unwrap();
    assert!(
        matches!(failing.as_slice(), [one] if one.as_str().is_some_and(|one| one.contains("/broken.crl"))),
        "{machine}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_tells_a_revoked_signer_from_one_of_whom_it_is_not_known() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let issue = |name: &str| {
        root.issue(&Profile::named(name).crl(lab.web.url(&format!("/{name}.crl"))))
            .unwrap()
    };
    let (good, revoked, unknown) = (issue("good"), issue("revoked"), issue("unknown"));
    lab.publish("/good.crl", &root, &CrlProfile::default()).await;
    lab.publish("/revoked.crl", &root, &revoking(&revoked.serial)).await;
    let assayd = lab.strict(&root).await;
    for (name, signer, code, start) in [
        ("good", &good, 0, "ADMIT: "),
        ("revoked", &revoked, 1, "DENY certificate-revoked: "),
        ("unknown", &unknown, 3, "DENY revocation-unknown: "),
    ] {
        let question = lab.signed(name, signer);
        let digest = question.descriptor["digest"].as_str().expect("a digest");
        let reference = format!("{}@{digest}", lab.registry.repository(name));
        let finished = assayd.assayctl(&["verify", &reference]).await.unwrap();
        assert_eq!(finished.code, Some(code), "{name}: {finished:?}");
        assert!(finished.stdout.starts_with(start), "{name}: {finished:?}");
    }
}
