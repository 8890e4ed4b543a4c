//! What the kubelet sees: pulls over CRI through a real containerd.

use assay_integration::certificates::Profile;
use assay_integration::ocsp::Responder;
use assay_integration::{Containerd, OcspResponder, Reason};

use crate::lab::{Lab, signer_with_list};

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_of_a_revoked_signers_image_fails_with_the_reason_in_its_event_and_moves_no_layer() {
    let lab = Lab::start().await;
    let (root, _) = signer_with_list(&lab.web);
    let mut responder = OcspResponder::start(&lab.openssl, &root, &Responder::default())
        .await
        .unwrap();
    let issue = |name: &str| root.issue(&Profile::named(name).ocsp(responder.url())).unwrap();
    let (release, former) = (issue("release"), issue("former"));
    responder.good([&release.serial]).await.unwrap();
    responder.revoke(&former.serial, Reason::KeyCompromise).await.unwrap();
    lab.signed("good", &release);
    lab.signed("also-good", &release);
    lab.signed("revoked", &former);
    let assayd = lab.strict(&root).await;
    let containerd = Containerd::builder(&lab.peers).hook(&assayd).unwrap();
    let containerd = containerd.plain_http(&lab.registry.host()).start().await.unwrap();
    let reference = |repository: &str| format!("{}:v1", lab.registry.repository(repository));

    for repository in ["good", "also-good"] {
        let pulled = containerd.pull_cri(&reference(repository)).await;
        pulled.unwrap_or_else(|refusal| panic!("{refusal}\n{}", assayd.log()));
        assert_eq!(responder.requests(), 1, "{repository}");
    }
    let layers = lab.registry.log().layer_requests().len();
    let refusal = containerd.pull_cri(&reference("revoked")).await.expect_err("a denial");
    assert!(refusal.is_denial(), "{refusal}");
    for part in [
        "DENY certificate-revoked: ",
        "CN=former",
        "keyCompromise",
        "/ocsp",
        "decision ",
    ] {
        assert!(refusal.message.contains(part), "{part} is missing: {refusal}");
    }
    assert_eq!(lab.registry.log().layer_requests().len(), layers);
    assert!(!containerd.has(&reference("revoked")).await.unwrap());
}
