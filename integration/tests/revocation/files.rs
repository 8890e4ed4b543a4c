//! CRLs and OCSP answers as files beside the policy, on a node that reaches no endpoint.

use std::fs;

use assay_integration::certificates::{Authority, Profile};
use assay_integration::crl::CrlProfile;
use assay_integration::ocsp::Responder;
use assay_integration::{Crl, OcspResponder};

use crate::lab::{AWAY, Lab, Policy, admits, admitted, denied, eventually, revoking};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_admits_without_any_endpoint_and_another_revokes_as_soon_as_it_is_there() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root.issue(&Profile::named("release").crl(AWAY)).unwrap();
    let stranger = Authority::root(&Profile::named("stranger")).unwrap();
    let question = lab.signed("app", &release);
    let sign = async |authority, profile| Crl::sign(&lab.openssl, authority, &profile).await.unwrap().der;

    let daemon = lab.sheltered_daemon(&root.certificate_pem(), &Policy::default());
    let unrelated = sign(&stranger, CrlProfile::default()).await;
    let assayd = daemon.file("revocation/stranger.crl", unrelated).start().await.unwrap();
    denied(&assayd, &question, "revocation-unknown").await;

    let daemon = lab.sheltered_daemon(&root.certificate_pem(), &Policy::default());
    let good = sign(&root, CrlProfile::default()).await;
    let assayd = daemon.file("revocation/corp.crl", good).start().await.unwrap();
    admitted(&assayd, &question).await;

    let folder = assayd.config_directory().join("revocation");
    let newer = revoking(&release.serial).number(2);
    fs::write(folder.join("corp-2.crl"), sign(&root, newer).await).unwrap();
    let revoked = |answer: &assay_proto::v1::VerifyResponse| answer.code == "certificate-revoked";
    let answer = eventually(&assayd, &question, "revoked", revoked).await;
    assert!(answer.reason.contains("the file corp-2.crl"), "{}", answer.reason);

    // A file that cannot be read is no reason to forget what was in force.
    fs::write(folder.join("corp-3.crl"), "not a CRL").unwrap();
    let reload = assayd.assayctl(&["reload"]).await.unwrap();
    assert!(!reload.success && reload.stdout.contains("corp-3.crl"), "{reload:?}");
    denied(&assayd, &question, "certificate-revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_revokes_a_certificate_that_names_no_source_and_whatever_a_responder_says() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let mut responder = OcspResponder::start(&lab.openssl, &root, &Responder::default())
        .await
        .unwrap();
    let silent = root.issue(&Profile::named("silent")).unwrap();
    let vouched = root.issue(&Profile::named("vouched").ocsp(responder.url())).unwrap();
    let sound = root.issue(&Profile::named("sound")).unwrap();
    responder.good([&vouched.serial]).await.unwrap();
    let profile = CrlProfile {
        revoked: [&silent.serial, &vouched.serial]
            .iter()
            .flat_map(|serial| revoking(serial).revoked)
            .collect(),
        ..CrlProfile::default()
    };
    let list = Crl::sign(&lab.openssl, &root, &profile).await.unwrap();
    let daemon = lab.daemon(&root.certificate_pem(), &Policy::default());
    let assayd = daemon.file("revocation/corp.crl", list.der).start().await.unwrap();
    denied(&assayd, &lab.signed("silent", &silent), "certificate-revoked").await;
    denied(&assayd, &lab.signed("vouched", &vouched), "certificate-revoked").await;
    admitted(&assayd, &lab.signed("sound", &sound)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_responder_in_a_file_admits_what_it_is_about() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let mut responder = OcspResponder::start(&lab.openssl, &root, &Responder::default())
        .await
        .unwrap();
    let release = root.issue(&Profile::named("release").ocsp(AWAY)).unwrap();
    let other = root.issue(&Profile::named("other").ocsp(AWAY)).unwrap();
    responder.good([&release.serial, &other.serial]).await.unwrap();
    let answer = responder.answer(&release.serial).await.unwrap();
    let daemon = lab.sheltered_daemon(&root.certificate_pem(), &Policy::default());
    let assayd = daemon.file("revocation/release.ocsp", answer).start().await.unwrap();
    let answer = admitted(&assayd, &lab.signed("app", &release)).await;
    assert!(admits(&answer));
    denied(&assayd, &lab.signed("other", &other), "revocation-unknown").await;
}
