//! CRLs as openssl signs them.

use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile, Serial};
use assay_integration::crl::{CrlProfile, Scope};
use assay_integration::{Crl, OpenSsl, Peers, Reason, Revoked};

use super::Lab;

/// What openssl reads in a list, and whether it finds the signature to be by `authority`.
async fn read(openssl: &OpenSsl, crl: &Crl, authority: &Authority) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
    std::fs::write(folder.path().join("list"), &crl.der).unwrap();
    let fixed = "crl -inform DER -in list -noout -text -CAfile ca.pem";
    let finished = openssl.run(folder.path(), &fixed.split(' ').collect::<Vec<_>>()).await;
    finished.map_or_else(|error| format!("{error:#}"), |said| said.stdout + &said.stderr)
}

#[tokio::test]
async fn a_list_says_what_its_profile_says() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let hold = Revoked::new(&Serial::from(0xabc), Reason::CertificateHold);
    let stolen = Revoked::new(&Serial::from(7), Reason::KeyCompromise)
        .invalid_since(SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60));
    let full = CrlProfile {
        freshest_crl: Some("http://127.0.0.1:1/delta.crl".into()),
        issuing_point: Some("http://127.0.0.1:1/users.crl".into()),
        scope: Some(Scope::UserCertificates),
        only_reasons: Some("keyCompromise".into()),
        extensions: vec!["1.2.3.4 = critical,ASN1:NULL".into()],
        ..CrlProfile::revoking([hold, stolen]).number(300)
    };
    let back = Revoked::new(&Serial::from(0xabc), Reason::RemoveFromCrl);
    let delta = CrlProfile::revoking([back]).number(301).delta_to(300);
    let cases = [
        (
            full,
            &[
                "Serial Number: 0ABC",
                "Certificate Hold",
                "Serial Number: 07",
                "Invalidity Date",
                "Key Compromise",
                "URI:http://127.0.0.1:1/delta.crl",
                "Issuing Distribution Point: critical",
                "URI:http://127.0.0.1:1/users.crl",
                "Only User Certificates",
                "1.2.3.4: critical",
            ][..],
        ),
        (
            delta,
            &[
                "Delta CRL Indicator: critical",
                "Remove From CRL",
                "Serial Number: 0ABC",
            ],
        ),
        (CrlProfile::default(), &["No Revoked Certificates."]),
    ];
    for (profile, expected) in cases {
        let crl = Crl::sign(&lab.openssl, &root, &profile).await.unwrap();
        let said = read(&lab.openssl, &crl, &root).await;
        for text in expected.iter().chain(&["verify OK"]) {
            assert!(said.contains(text), "{text}: {said}");
        }
    }
}

#[tokio::test]
async fn a_list_in_the_name_of_its_issuer_by_another_key_has_a_wrong_signature() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let sibling = root.issue(&Profile::named("sibling")).unwrap();
    let impostor = root.impersonated_by(&sibling).unwrap();
    let crl = Crl::sign(&lab.openssl, &impostor, &CrlProfile::default())
        .await
        .unwrap();
    let said = read(&lab.openssl, &crl, &root).await;
    assert!(said.contains("CN = root"), "{said}");
    assert!(!said.contains("verify OK"), "{said}");
}

#[tokio::test]
async fn openssl_comes_from_the_archive_where_the_machine_has_none() {
    let peers = Peers::fetch().unwrap();
    let openssl = tokio::task::spawn_blocking(move || OpenSsl::fetch(&peers))
        .await
        .unwrap()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let said = openssl.run(folder.path(), &["version"]).await.unwrap();
    assert!(said.stdout.starts_with("OpenSSL "), "{}", said.stdout);
}
