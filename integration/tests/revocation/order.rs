//! Nothing that an envelope names is asked before its signature, its chain and all that needs nobody's word are good; and
//! what the level and the rule's mode make of the answer.

use std::time::{Duration, SystemTime};

use assay_integration::Question;
use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::envelope::EnvelopeSigner;
use assay_integration::registry::{Fault, When};
use assay_proto::v1::Verdict;
use serde_json::{Value, json};

use crate::lab::{Lab, Policy, admitted, ask, denied, good_for, protected, revoking};

/// An image with this envelope attached to it.
fn with_envelope(
    lab: &Lab,
    repository: &str,
    signer: &SigningIdentity,
    protected: &Value,
    payload: &Value,
) -> Question {
    let image = lab.push(repository);
    let envelope = EnvelopeSigner::new(signer)
        .unwrap()
        .sign_claims(protected, payload)
        .unwrap();
    lab.attach(repository, &image.descriptor(), &envelope);
    lab.question(repository, &image)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_hears_of_no_signature_that_is_refused_without_it() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let list = lab.web.url("/leaf.crl");
    let release = root.issue(&Profile::named("release").crl(list.clone())).unwrap();
    let colleague = root.issue(&Profile::named("colleague").crl(list.clone())).unwrap();
    let ended = Profile {
        not_after: SystemTime::now() - Duration::from_secs(60),
        ..Profile::named("release").crl(list.clone())
    };
    let ended = root.issue(&ended).unwrap();
    let stranger = Authority::root(&Profile::named("root")).unwrap();
    let stranger = stranger.issue(&Profile::named("release").crl(list)).unwrap();
    // The chain of one and the key of another.
    let forger = SigningIdentity {
        key_pem: colleague.key_pem.clone(),
        ..release.clone()
    };
    lab.publish("/leaf.crl", &root, &assay_integration::crl::CrlProfile::default())
        .await;

    let everybody = Policy::default().text(&lab.registry);
    let release_only = everybody.replace("[\"*\"]", "[\"x509.subject: C=US, ST=WA, O=Corp, CN=release\"]");
    let daemon = lab
        .daemon(&root.certificate_pem(), &Policy::default())
        .policy(&release_only);
    let assayd = daemon.start().await.unwrap();

    let elsewhere = json!({ "targetArtifact": lab.push("elsewhere").descriptor() });
    let mut expired = protected();
    expired["crit"] = json!(["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]);
    expired["io.cncf.notary.signingTime"] = json!("2026-01-01T00:00:00Z");
    expired["io.cncf.notary.expiry"] = json!("2026-01-02T00:00:00Z");
    let payload = |repository: &str| json!({ "targetArtifact": lab.push(repository).descriptor() });
    for (question, code) in [
        (lab.signed("stranger", &stranger), "untrusted-signer"),
        (lab.signed("forger", &forger), "signature-invalid"),
        (lab.signed("colleague", &colleague), "identity-mismatch"),
        (lab.signed("ended", &ended), "certificate-expired"),
        (
            with_envelope(&lab, "moved", &release, &protected(), &elsewhere),
            "subject-mismatch",
        ),
        (
            with_envelope(&lab, "expired", &release, &expired, &payload("expired")),
            "signature-expired",
        ),
    ] {
        denied(&assayd, &question, code).await;
        assert_eq!(lab.web.requests("/leaf.crl"), 0, "{code}");
    }
    admitted(&assayd, &lab.signed("release", &release)).await;
    assert_eq!(lab.web.requests("/leaf.crl"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_what_is_at_hand_settles_the_matter() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    // By the order of their addresses, the leaf's is asked for first.
    let list = |path: &str| lab.web.url(path);
    let intermediate = root
        .intermediate(&Profile::named("intermediate").crl(list("/z-intermediate.crl")))
        .unwrap();
    let release = intermediate
        .issue(&Profile::named("release").crl(list("/a-leaf.crl")))
        .unwrap();
    lab.publish("/a-leaf.crl", &intermediate, &good_for(Duration::from_secs(60 * 60)))
        .await;
    lab.publish("/z-intermediate.crl", &root, &revoking(&intermediate.serial().unwrap()))
        .await;
    let assayd = lab.strict(&root).await;
    // The leaf's comes after the verdict, so that no judgement proves it and it is not kept.
    let late = Duration::from_millis(500);
    lab.web.misbehave(When::path("/a-leaf.crl"), Fault::Delay(late));
    denied(&assayd, &lab.signed("first", &release), "certificate-revoked").await;
    tokio::time::sleep(2 * late).await;
    lab.web.behave();
    let lists = || ["/a-leaf.crl", "/z-intermediate.crl"].map(|path| lab.web.requests(path));
    let before = lists();
    denied(&assayd, &lab.signed("second", &release), "certificate-revoked").await;
    // What was asked for would have been asked by now.
    tokio::time::sleep(late).await;
    assert_eq!(lists(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_logs_revocation_asks_and_admits_one_that_skips_it_does_not_ask() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    for (level, asked) in [
        ("override = { revocation = \"log\" }", 1),
        ("override = { revocation = \"skip\" }", 0),
    ] {
        let path = format!("/{asked}.crl");
        let release = root.issue(&Profile::named("release").crl(lab.web.url(&path))).unwrap();
        lab.publish(&path, &root, &revoking(&release.serial)).await;
        let policy = Policy::authority(&format!("trust_stores = [\"ca:corp\"]\n{level}"));
        let assayd = lab.daemon(&root.certificate_pem(), &policy).start().await.unwrap();
        admitted(&assayd, &lab.signed(&format!("app{asked}"), &release)).await;
        assert_eq!(lab.web.requests(&path), asked, "{level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_mode_admits_a_revoked_signer_and_says_what_it_would_have_denied() {
    let lab = Lab::start().await;
    let (root, release) = crate::lab::signer_with_list(&lab.web);
    lab.publish("/leaf.crl", &root, &revoking(&release.serial)).await;
    let policy = Policy::default().rule("mode = \"audit\"");
    let assayd = lab.daemon(&root.certificate_pem(), &policy).start().await.unwrap();
    let answer = ask(&assayd, &lab.signed("app", &release)).await;
    assert_eq!(
        (answer.verdict(), answer.audited, &*answer.code),
        (Verdict::Admit, true, "certificate-revoked")
    );
}
