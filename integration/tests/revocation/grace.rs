//! What counts while an endpoint is away and its last answer has lapsed.

use std::time::Duration;

use assay_integration::Crl;
use assay_proto::v1::Verdict;

use crate::lab::{
    Lab, Policy, SHORT, admits, admitted, denied, eventually, good_for, past, revoking, signer_with_list,
};

const GRACE: &str = "on_inconclusive = \"admit_if_seen\"\nrevocation_grace = \"24h\"";

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_seen_stays_admitted_on_grace_while_the_endpoint_is_away_and_no_other_is() {
    let mut lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let graceful = lab.daemon(&root.certificate_pem(), &Policy::default().rule(GRACE));
    let graceful = graceful.start().await.unwrap();
    let exact = lab.strict(&root).await;
    let (seen, never_seen) = (lab.signed("seen", &release), lab.signed("never-seen", &release));
    let short = good_for(SHORT);
    lab.publish("/leaf.crl", &root, &short).await;
    for assayd in [&graceful, &exact] {
        let answer = admitted(assayd, &seen).await;
        assert!(!answer.reason.contains("grace"), "{}", answer.reason);
    }
    lab.web.stop().await;
    past(short.next_update).await;

    let answer = admitted(&graceful, &seen).await;
    for part in ["on revocation grace: ", "/leaf.crl", "has lapsed at"] {
        assert!(answer.reason.contains(part), "{part}: {}", answer.reason);
    }
    denied(&graceful, &never_seen, "revocation-unknown").await;
    denied(&exact, &seen, "revocation-unknown").await;

    // Back with the old list: that is a replay, and on nobody's grace. Back with a revocation: that ends it.
    lab.web.restart().await.unwrap();
    let replayed = eventually(&graceful, &never_seen, "a replay", |answer| {
        answer.reason.contains("its newest answer has lapsed")
    })
    .await;
    assert_eq!(
        (replayed.verdict(), &*replayed.code),
        (Verdict::Deny, "revocation-unknown")
    );
    lab.publish("/leaf.crl", &root, &revoking(&release.serial)).await;
    eventually(&exact, &seen, "revoked", |answer| answer.code == "certificate-revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_list_is_refused_while_the_endpoint_answers_with_and_without_grace() {
    let lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let graceful = lab.daemon(&root.certificate_pem(), &Policy::default().rule(GRACE));
    let graceful = graceful.start().await.unwrap();
    let exact = lab.strict(&root).await;
    let question = lab.signed("app", &release);
    let short = good_for(SHORT);
    let captured = lab.publish("/leaf.crl", &root, &short).await;
    for assayd in [&graceful, &exact] {
        admitted(assayd, &question).await;
    }
    past(short.next_update).await;
    lab.web.serve_crl("/leaf.crl", &captured);
    for assayd in [&graceful, &exact] {
        let reason = denied(assayd, &question, "revocation-unknown").await;
        assert!(reason.contains("answers, but its newest answer has lapsed"), "{reason}");
    }

    let fresh = Crl::sign(&lab.openssl, &root, &good_for(Duration::from_secs(60)))
        .await
        .unwrap();
    lab.web.serve_crl("/leaf.crl", &fresh.der);
    for assayd in [&graceful, &exact] {
        let answer = eventually(assayd, &question, "admitted", admits).await;
        assert!(!answer.reason.contains("grace"), "{}", answer.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grace_ends() {
    let mut lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let policy = Policy::default().rule(&GRACE.replace("24h", "3s"));
    let assayd = lab.daemon(&root.certificate_pem(), &policy).start().await.unwrap();
    let question = lab.signed("app", &release);
    let short = good_for(SHORT);
    lab.publish("/leaf.crl", &root, &short).await;
    admitted(&assayd, &question).await;
    lab.web.stop().await;
    past(short.next_update).await;
    let answer = admitted(&assayd, &question).await;
    assert!(answer.reason.contains("on revocation grace"), "{}", answer.reason);
    past(short.next_update + Duration::from_secs(3)).await;
    denied(&assayd, &question, "revocation-unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admit_on_grace_ends_when_another_image_brings_the_revocation() {
    let mut lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let daemon = lab.daemon(&root.certificate_pem(), &Policy::default().rule(GRACE));
    let assayd = daemon.start().await.unwrap();
    let (seen, other) = (lab.signed("seen", &release), lab.signed("other", &release));
    let short = good_for(SHORT);
    lab.publish("/leaf.crl", &root, &short).await;
    admitted(&assayd, &seen).await;
    lab.web.stop().await;
    past(short.next_update).await;
    let answer = admitted(&assayd, &seen).await;
    assert!(answer.reason.contains("on revocation grace"), "{}", answer.reason);

    lab.web.restart().await.unwrap();
    lab.publish("/leaf.crl", &root, &revoking(&release.serial)).await;
    eventually(&assayd, &other, "revoked", |answer| {
        answer.code == "certificate-revoked"
    })
    .await;
    // Whatever is remembered of the first image; what is admitted on grace would be for minutes.
    eventually(&assayd, &seen, "revoked", |answer| answer.code == "certificate-revoked").await;
}
