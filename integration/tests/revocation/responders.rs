//! OCSP: who may answer, about what, and for how long.

use assay_integration::certificates::{Authority, Profile};
use assay_integration::crl::CrlProfile;
use assay_integration::ocsp::{Responder, Signer, Validity};
use assay_integration::{OcspResponder, Reason};

use crate::lab::{AWAY, Lab, admitted, denied};

/// notation believes all four (`revocation_peers`).
#[tokio::test(flavor = "multi_thread")]
async fn only_the_issuer_and_its_delegates_are_believed() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let assayd = lab.strict(&root).await;
    for (name, signer, refused) in [
        ("issuer", Signer::Issuer, None),
        ("delegate", Signer::Delegate, None),
        ("expired", Signer::ExpiredDelegate, Some("it is not valid at")),
        ("sibling", Signer::Sibling, Some("has no OCSPSigning")),
    ] {
        let how = Responder::signed_by(signer);
        let mut responder = OcspResponder::start(&lab.openssl, &root, &how).await.unwrap();
        let release = root.issue(&Profile::named("release").ocsp(responder.url())).unwrap();
        responder.good([&release.serial]).await.unwrap();
        let question = lab.signed(name, &release);
        match refused {
            None => drop(admitted(&assayd, &question).await),
            Some(why) => {
                let reason = denied(&assayd, &question, "revocation-unknown").await;
                assert!(reason.contains(why), "{name}: {reason}");
            }
        }
        assert_eq!(responder.requests(), 1, "{name}");

        // Who may not answer cannot revoke either: anybody between could.
        let other = root.issue(&Profile::named("other").ocsp(responder.url())).unwrap();
        responder.revoke(&other.serial, Reason::KeyCompromise).await.unwrap();
        let code = refused.map_or("certificate-revoked", |_| "revocation-unknown");
        denied(&assayd, &lab.signed(&format!("{name}-other"), &other), code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_certificate_or_without_an_end_is_no_answer() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let assayd = lab.strict(&root).await;
    let mut responder = OcspResponder::start(&lab.openssl, &root, &Responder::default())
        .await
        .unwrap();
    let good = root.issue(&Profile::named("good").ocsp(lab.web.url("/good"))).unwrap();
    let other = root
        .issue(&Profile::named("other").ocsp(lab.web.url("/other")))
        .unwrap();
    responder.good([&good.serial]).await.unwrap();
    let captured = responder.answer(&good.serial).await.unwrap();
    lab.web.serve_ocsp("/good", &captured);
    lab.web.serve_ocsp("/other", &captured);
    admitted(&assayd, &lab.signed("good", &good)).await;
    let reason = denied(&assayd, &lab.signed("other", &other), "revocation-unknown").await;
    assert!(
        reason.contains("that are no OCSP response that says something"),
        "{reason}"
    );

    let how = Responder {
        validity: Validity::Unlimited,
        ..Responder::default()
    };
    let mut endless = OcspResponder::start(&lab.openssl, &root, &how).await.unwrap();
    let release = root.issue(&Profile::named("release").ocsp(endless.url())).unwrap();
    endless.good([&release.serial]).await.unwrap();
    let reason = denied(&assayd, &lab.signed("endless", &release), "revocation-unknown").await;
    assert!(reason.contains("it has no nextUpdate"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_answers_where_the_responder_does_not_and_never_against_it() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    lab.publish("/all.crl", &root, &CrlProfile::default()).await;
    let assayd = lab.strict(&root).await;
    let mut responder = OcspResponder::start(&lab.openssl, &root, &Responder::default())
        .await
        .unwrap();
    let both = |name: &str, ocsp: &str| {
        root.issue(&Profile::named(name).ocsp(ocsp).crl(lab.web.url("/all.crl")))
            .unwrap()
    };
    admitted(&assayd, &lab.signed("away", &both("away", AWAY))).await;
    assert_eq!(lab.web.requests("/all.crl"), 1);

    let revoked = both("revoked", &responder.url());
    responder.revoke(&revoked.serial, Reason::Superseded).await.unwrap();
    denied(&assayd, &lab.signed("revoked", &revoked), "certificate-revoked").await;
    assert_eq!(lab.web.requests("/all.crl"), 1, "the responder's word suffices");
}
