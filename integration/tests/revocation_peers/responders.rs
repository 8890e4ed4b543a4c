//! Who may sign OCSP answers: openssl's client judges, and what notation makes of the same answers is recorded.

use assay_integration::certificates::{Authority, Profile};
use assay_integration::notation::Sign;
use assay_integration::ocsp::{Responder, Signer};
use assay_integration::{OcspResponder, OpenSsl, Reason, WebServer};

use super::Lab;

async fn ask(openssl: &OpenSsl, authority: &Authority, serial: &str, url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
    let fixed = "ocsp -issuer ca.pem -CAfile ca.pem -no_nonce -no_proxy * -url";
    let arguments: Vec<_> = fixed.split(' ').chain([url, "-serial", serial]).collect();
    let finished = openssl.run(folder.path(), &arguments).await;
    finished.map_or_else(|error| format!("{error:#}"), |said| said.stdout + &said.stderr)
}

#[tokio::test]
async fn only_the_issuer_and_its_delegates_may_answer() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    // Signer, what openssl says, whether notation believes that the certificate is good.
    let cases = [
        (Signer::Issuer, "Response verify OK", true),
        (Signer::Delegate, "Response verify OK", true),
        (Signer::ExpiredDelegate, "certificate has expired", true),
        (Signer::Sibling, "missing ocspsigning usage", true),
    ];
    for (number, (signer, openssl_says, notation_believes)) in cases.into_iter().enumerate() {
        let how = Responder::signed_by(signer.clone());
        let mut responder = OcspResponder::start(&lab.openssl, &root, &how).await.unwrap();
        let release = root.issue(&Profile::named("release").ocsp(responder.url())).unwrap();
        responder.good([&release.serial]).await.unwrap();
        let said = ask(&lab.openssl, &root, &format!("0x{}", release.serial), &responder.url()).await;
        assert!(said.contains(openssl_says), "{signer:?}: {said}");

        let repository = format!("responders/{number}");
        let (notation, image) = lab.signed(&repository, &release, &Sign::with("release")).await;
        let before = responder.requests();
        let verdict = notation.verify(&image).await.unwrap();
        assert_eq!(verdict.success, notation_believes, "{signer:?}: {}", verdict.stderr);
        assert_eq!(responder.requests(), before + 1, "{signer:?}");
    }
}

#[tokio::test]
async fn a_responder_answers_what_it_was_last_told() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let how = Responder::default();
    let mut responder = OcspResponder::start(&lab.openssl, &root, &how).await.unwrap();
    let release = root.issue(&Profile::named("release").serial(0xabc_u64)).unwrap();
    let url = responder.url();
    let says = async |expected: &str| {
        let said = ask(&lab.openssl, &root, "0xABC", &url).await;
        assert!(said.contains(expected), "{expected}: {said}");
    };
    says("0xABC: unknown").await;
    responder.good([&release.serial]).await.unwrap();
    says("0xABC: good").await;
    let replay = responder.answer(&release.serial).await.unwrap();
    responder
        .revoke(&release.serial, Reason::CertificateHold)
        .await
        .unwrap();
    says("Reason: certificateHold").await;

    // The good answer of before, kept by somebody.
    let web = WebServer::start().await.unwrap();
    web.serve_ocsp("/replay", &replay);
    let said = ask(&lab.openssl, &root, "0xABC", &web.url("/replay")).await;
    assert!(said.contains("0xABC: good"), "{said}");

    responder.web().stop().await;
    says("Error querying OCSP responder").await;
    responder.web().restart().await.unwrap();
    says("0xABC: revoked").await;
    responder.forget(&release.serial).await.unwrap();
    says("0xABC: unknown").await;
}
