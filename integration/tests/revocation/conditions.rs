//! What a rule asks of signatures beside who made them.

use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile};
use assay_integration::notation::Sign;
use assay_integration::timestamp::Stamping;
use assay_integration::{Notation, TimestampAuthority};

use crate::lab::{Lab, Policy, admitted, denied};

#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_signing_time_counts_only_the_time_of_an_authority() {
    let lab = Lab::start().await;
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let identity = time_root.issue(&Profile::timestamping("time")).unwrap();
    let time = TimestampAuthority::start(&lab.openssl, &Stamping::with(&identity))
        .await
        .unwrap();
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root.issue(&Profile::named("release")).unwrap();
    let timestamped = lab.timestamped("timestamped", &release, &time).await;
    let plain = lab.signed("plain", &release);
    let hour = Duration::from_secs(60 * 60);
    let now = SystemTime::now();
    // Timestamps are asked for by the rule: the authority alone would do without one.
    let stores = "trust_stores = [\"ca:corp\", \"tsa:time\"]\nverify_timestamp = \"afterCertExpiry\"";
    for (minimum, is_young_enough) in [(now - hour, true), (now + hour, false)] {
        let minimum = jiff::Timestamp::try_from(minimum)
            .unwrap()
            .round(jiff::Unit::Second)
            .unwrap();
        let policy = Policy::authority(stores).rule(&format!("minimum_signing_time = \"{minimum}\""));
        let daemon = lab.daemon(&root.certificate_pem(), &policy);
        let daemon = daemon.file("notation/truststore/x509/tsa/time/root.pem", time.root_pem());
        let assayd = daemon.start().await.unwrap();
        if is_young_enough {
            admitted(&assayd, &timestamped).await;
        } else {
            denied(&assayd, &timestamped, "signature-too-old").await;
        }
        let reason = denied(&assayd, &plain, "signature-too-old").await;
        assert!(reason.contains("no authenticated time"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_that_the_rule_asks_for_must_be_signed() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let notation = Notation::new(&lab.peers).unwrap();
    notation
        .add_key("release", &root.issue(&Profile::named("release")).unwrap())
        .unwrap();
    let policy = Policy::default().rule("annotations = { build = \"release\" }");
    let assayd = lab.daemon(&root.certificate_pem(), &policy).start().await.unwrap();
    let with = Sign::with("release");
    for (name, how, expected) in [
        (
            "release",
            with.clone().claim("build", "release").claim("commit", "1234"),
            None,
        ),
        (
            "debug",
            with.clone().claim("build", "debug"),
            Some("annotation-mismatch"),
        ),
        ("none", with, Some("annotation-mismatch")),
    ] {
        let image = lab.push(name);
        notation.sign(&lab.reference(name, &image), &how).await.unwrap();
        let question = lab.question(name, &image);
        match expected {
            None => drop(admitted(&assayd, &question).await),
            Some(code) => drop(denied(&assayd, &question, code).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_is_recognised_by_the_fingerprint_of_its_certificate() {
    use assay_integration::registry::sha256;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root.issue(&Profile::named("release")).unwrap();
    // Same subject, same issuer, another certificate.
    let renewed = root.issue(&Profile::named("release")).unwrap();
    let der = CertificateDer::from_pem_slice(release.certificate_pem.as_bytes()).unwrap();
    let fingerprint = sha256(&der).replace("sha256:", "");
    let document = Policy::default().text(&lab.registry);
    let named = document.replace("[\"*\"]", &format!("[\"x509.sha256: {fingerprint}\"]"));
    assert_ne!(named, document);
    let assayd = lab.daemon(&root.certificate_pem(), &Policy::default()).policy(&named);
    let assayd = assayd.start().await.unwrap();
    admitted(&assayd, &lab.signed("release", &release)).await;
    denied(&assayd, &lab.signed("renewed", &renewed), "identity-mismatch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_symbolic_links_is_read_only_if_the_authority_says_so() {
    use std::os::unix::fs::symlink;

    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root.issue(&Profile::named("release")).unwrap();
    let question = lab.signed("app", &release);
    for (line, allowed) in [("follow_symlinks = true", true), ("", false)] {
        let policy = Policy::authority(&format!("trust_stores = [\"ca:secret\"]\n{line}"));
        let daemon = lab.daemon(&root.certificate_pem(), &policy);
        // As a Kubernetes Secret is mounted: the file leads through a folder that is replaced as a whole.
        let store = "notation/truststore/x509/ca/secret";
        let mut assayd = daemon
            .file(&format!("{store}/..2026_01_01/ca.crt"), root.certificate_pem())
            .prepare()
            .unwrap();
        let folder = assayd.config_directory().join(store);
        symlink("..2026_01_01", folder.join("..data")).unwrap();
        symlink("..data/ca.crt", folder.join("ca.crt")).unwrap();
        assayd.start().await.unwrap();
        if allowed {
            admitted(&assayd, &question).await;
        } else {
            denied(&assayd, &question, "policy-invalid").await;
        }
    }
}
