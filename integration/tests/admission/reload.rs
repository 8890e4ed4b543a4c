//! A new policy takes over without a restart; a broken one never replaces a good one, and everybody is told.

use std::time::{Duration, Instant};

use assay_integration::Assayd;
use assay_integration::notation::Sign;
use serde_json::Value;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::lab::{Lab, PRODUCTION, admits, policy};

const BROKEN: &str = "version = 1\nunmatched = \"deny\"\nunmatchd = \"admit\"\n";

/// Waits until `done` says so: a signal and a change of a file are noticed a moment later.
async fn until(what: &str, assayd: &Assayd, mut done: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !done().await {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "not seen: {what}\n{}",
            assayd.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn serving(assayd: &Assayd) -> ServingStatus {
    let request = HealthCheckRequest {
        service: "assayd.v1.ImageVerifier".into(),
    };
    let answer = HealthClient::new(assayd.channel().unwrap())
        .check(request)
        .await
        .unwrap();
    answer.into_inner().status()
}

/// The daemon's status for machines, and the exit code.
async fn status(assayd: &Assayd) -> (Value, Option<i32>) {
    let said = assayd.assayctl(&["status", "--output", "json"]).await.unwrap();
    (serde_json::from_str(&said.stdout).unwrap(), said.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_a_changed_file_and_assayctl_each_bring_a_new_policy_into_force() {
    let lab = Lab::start(PRODUCTION).await;
    let image = lab.push_signed("prod/app", &Sign::with("release")).await;
    let name = lab.reference("prod/app");
    let host = lab.registry.host();
    let denying = |reason: &str| {
        let rule = format!("\n[[rule]]\nname = \"stop\"\nimages = [\"HOST/**\"]\ndeny = \"{reason}\"\n");
        policy(&host, &(rule + PRODUCTION))
    };
    assert!(admits(&lab.verify(&name, &image.descriptor()).await));

    lab.assayd.write_policy(&denying("changed on disk")).unwrap();
    until("the changed file", &lab.assayd, async || {
        lab.verify(&name, &image.descriptor())
            .await
            .reason
            .contains("changed on disk")
    })
    .await;
    assert!(lab.assayd.log().contains("(files changed)"));

    lab.assayd.write_policy(&policy(&host, PRODUCTION)).unwrap();
    let reloaded = lab.assayd.assayctl(&["reload"]).await.unwrap();
    assert_eq!(reloaded.code, Some(0));
    assert!(reloaded.stdout.starts_with("reloaded\n"), "{}", reloaded.stdout);
    assert!(admits(&lab.verify(&name, &image.descriptor()).await));

    lab.assayd.write_policy(&denying("by signal")).unwrap();
    lab.assayd.reload().unwrap();
    until("the signal", &lab.assayd, async || {
        lab.assayd.log().contains("(SIGHUP)")
    })
    .await;
    let answer = lab.verify(&name, &image.descriptor()).await;
    assert!(!admits(&answer) && answer.reason.contains("by signal"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_keeps_the_last_good_one_and_says_so_until_it_is_mended() {
    let lab = Lab::start(PRODUCTION).await;
    let image = lab.push_signed("prod/app", &Sign::with("release")).await;
    let name = lab.reference("prod/app");
    let (before, code) = status(&lab.assayd).await;
    assert_eq!(code, Some(0));

    lab.assayd.write_policy(BROKEN).unwrap();
    let refused = lab.assayd.assayctl(&["reload"]).await.unwrap();
    assert_eq!(refused.code, Some(1));
    let place = "policy.toml:3:1";
    assert!(
        refused.stdout.starts_with("refused\n") && refused.stdout.contains(place),
        "{}",
        refused.stdout
    );
    let (now, code) = status(&lab.assayd).await;
    assert_eq!(code, Some(1));
    assert_eq!(now["policy"]["revision"], before["policy"]["revision"]);
    let errors = now["policy"]["rejected_errors"].to_string();
    assert!(errors.contains(place) && errors.contains("unmatchd"), "{errors}");
    let said = lab.assayd.assayctl(&["status"]).await.unwrap();
    assert_eq!(said.code, Some(1));
    assert!(
        said.stdout.contains("broken") && said.stdout.contains(place),
        "{}",
        said.stdout
    );
    let log = lab.assayd.log();
    assert!(
        log.lines()
            .any(|line| line.starts_with("error: ") && line.contains(place)),
        "{log}"
    );
    assert!(log.contains("stays in force"), "{log}");
    let answer = lab.verify(&name, &image.descriptor()).await;
    assert!(admits(&answer), "{answer:?}");
    assert_eq!(answer.policy_revision, before["policy"]["revision"].as_str().unwrap());
    assert_eq!(serving(&lab.assayd).await, ServingStatus::Serving);
    let check = lab.assayd.config_directory().join("policy.toml");
    let checked = lab
        .assayd
        .assayctl(&["policy", "check", check.to_str().unwrap()])
        .await
        .unwrap();
    assert!(
        checked.code == Some(1) && checked.stdout.contains(place),
        "{}",
        checked.stdout
    );

    // A trust store that is gone breaks a policy just as well.
    lab.assayd
        .write_policy(&policy(&lab.registry.host(), PRODUCTION).replace("ca:corp", "ca:gone"))
        .unwrap();
    let refused = lab.assayd.assayctl(&["reload"]).await.unwrap();
    assert!(
        refused.code == Some(1) && refused.stdout.contains("gone"),
        "{}",
        refused.stdout
    );
    assert!(admits(&lab.verify(&name, &image.descriptor()).await));

    lab.assayd
        .write_policy(&policy(&lab.registry.host(), PRODUCTION))
        .unwrap();
    until("the mended policy", &lab.assayd, async || {
        status(&lab.assayd).await.1 == Some(0)
    })
    .await;
    lab.admitted("prod/app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_broken_at_the_start_denies_everything_until_it_is_mended() {
    let lab = Lab::start_with(|_, daemon| daemon.policy(BROKEN)).await;
    lab.push_signed("prod/app", &Sign::with("release")).await;
    assert_eq!(serving(&lab.assayd).await, ServingStatus::NotServing);
    let event = lab.denied("prod/app", "policy-invalid").await;
    assert!(
        event.contains("policy.toml:3:1") && event.contains("; help: "),
        "{event}"
    );
    assert!(!event.contains('\\'), "something was escaped twice: {event}");
    let (now, code) = status(&lab.assayd).await;
    assert_eq!((now["policy"]["revision"].as_str(), code), (Some(""), Some(1)));
    assert!(lab.assayd.log().contains("every image is denied with policy-invalid"));

    // Mending the file is enough.
    lab.assayd
        .write_policy(&policy(&lab.registry.host(), PRODUCTION))
        .unwrap();
    until("the mended policy", &lab.assayd, async || {
        status(&lab.assayd).await.1 == Some(0)
    })
    .await;
    until("health", &lab.assayd, async || {
        serving(&lab.assayd).await == ServingStatus::Serving
    })
    .await;
    lab.admitted("prod/app").await;
}
