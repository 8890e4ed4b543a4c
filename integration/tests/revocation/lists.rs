//! CRLs: whose count, for what, and what their deltas add.

use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile, Serial};
use assay_integration::crl::{CrlProfile, Scope};
use assay_integration::envelope::EnvelopeSigner;
use assay_integration::{Reason, Revoked};
use serde_json::json;

use crate::lab::{Lab, Policy, admitted, denied, revoking, signer_with_list};

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_denied_and_who_says_so_is_told() {
    let lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let other = root
        .issue(&Profile::named("other").crl(lab.web.url("/leaf.crl")))
        .unwrap();
    lab.publish("/leaf.crl", &root, &revoking(&release.serial)).await;
    let assayd = lab.strict(&root).await;
    let reason = denied(&assayd, &lab.signed("app", &release), "certificate-revoked").await;
    for part in ["CN=release", "revoked at", "keyCompromise", "/leaf.crl"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    admitted(&assayd, &lab.signed("other", &other)).await;
    assert_eq!(lab.web.requests("/leaf.crl"), 1, "one list for both");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_intermediate_is_denied_whatever_its_own_list_says() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let below = |name: &str| Profile::named(name).crl(lab.web.url("/root.crl"));
    let revoked = root.intermediate(&below("revoked")).unwrap();
    let sound = root.intermediate(&below("sound")).unwrap();
    lab.publish("/root.crl", &root, &revoking(&revoked.serial().unwrap()))
        .await;
    let assayd = lab.strict(&root).await;
    for (intermediate, list) in [(&revoked, "/revoked.crl"), (&sound, "/sound.crl")] {
        lab.publish(list, intermediate, &CrlProfile::default()).await;
        let release = intermediate
            .issue(&Profile::named("release").crl(lab.web.url(list)))
            .unwrap();
        let question = lab.signed(list.trim_matches('/').trim_end_matches(".crl"), &release);
        if list == "/sound.crl" {
            admitted(&assayd, &question).await;
        } else {
            let reason = denied(&assayd, &question, "certificate-revoked").await;
            assert!(reason.contains("CN=revoked"), "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_a_siblings_key_in_the_issuers_name_counts_for_nothing() {
    let lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let sibling = root.issue(&Profile::named("sibling")).unwrap();
    let impostor = root.impersonated_by(&sibling).unwrap();
    let assayd = lab.strict(&root).await;
    lab.publish("/leaf.crl", &impostor, &CrlProfile::default()).await;
    let reason = denied(&assayd, &lab.signed("app", &release), "revocation-unknown").await;
    assert!(reason.contains("/leaf.crl is not usable"), "{reason}");

    // What was not proved is not kept: the next image asks again, and finds the true list.
    lab.publish("/leaf.crl", &root, &CrlProfile::default()).await;
    admitted(&assayd, &lab.signed("next", &release)).await;
    assert_eq!(lab.web.requests("/leaf.crl"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_another_scope_says_nothing_about_the_certificate() {
    let lab = Lab::start().await;
    let url = |name: &str| lab.web.url(&format!("/{name}.crl"));
    let of = |scope| CrlProfile {
        scope: Some(scope),
        ..CrlProfile::default()
    };
    let at = |url| CrlProfile {
        issuing_point: Some(url),
        ..CrlProfile::default()
    };
    let indirect = CrlProfile {
        indirect: true,
        ..CrlProfile::default()
    };
    let some_reasons = CrlProfile {
        only_reasons: Some("keyCompromise".into()),
        ..CrlProfile::default()
    };
    let cases = [
        ("users", of(Scope::UserCertificates), None),
        ("point", at(url("point")), None),
        (
            "authorities",
            of(Scope::AuthorityCertificates),
            Some("only certificates of CAs"),
        ),
        (
            "attributes",
            of(Scope::AttributeCertificates),
            Some("only attribute certificates"),
        ),
        ("elsewhere", at(url("other")), Some("another distribution point")),
        ("indirect", indirect, Some("it is indirect")),
        ("reasons", some_reasons, Some("it covers only some reasons")),
    ];
    let root = Authority::root(&Profile::named("root")).unwrap();
    let assayd = lab.strict(&root).await;
    for (name, profile, refused) in cases {
        let release = root.issue(&Profile::named("release").crl(url(name))).unwrap();
        lab.publish(&format!("/{name}.crl"), &root, &profile).await;
        let question = lab.signed(name, &release);
        match refused {
            None => drop(admitted(&assayd, &question).await),
            Some(why) => {
                let reason = denied(&assayd, &question, "revocation-unknown").await;
                assert!(reason.contains(why), "{name}: {reason}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_list_revokes_and_releases_what_the_complete_one_holds() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let assayd = lab.strict(&root).await;
    let hold = |serial: &Serial| Revoked::new(serial, Reason::CertificateHold);
    for (name, held, delta, expected) in [
        ("empty", false, None, None),
        ("adds", false, Some(Reason::KeyCompromise), Some("certificate-revoked")),
        ("holds", true, None, Some("certificate-revoked")),
        ("releases", true, Some(Reason::RemoveFromCrl), None),
    ] {
        let (complete, added) = (format!("/{name}.crl"), format!("/{name}.delta"));
        let profile = Profile {
            freshest_crl: Some(lab.web.url(&added)),
            ..Profile::named("release").crl(lab.web.url(&complete))
        };
        let release = root.issue(&profile).unwrap();
        let base = CrlProfile::revoking(held.then_some(hold(&release.serial))).number(7);
        lab.publish(&complete, &root, &base).await;
        let change = delta.map(|reason| Revoked::new(&release.serial, reason));
        lab.publish(&added, &root, &CrlProfile::revoking(change).number(8).delta_to(7))
            .await;
        let question = lab.signed(name, &release);
        match expected {
            None => drop(admitted(&assayd, &question).await),
            Some(code) => drop(denied(&assayd, &question, code).await),
        }
        assert_eq!(lab.web.requests(&added), 1, "{name}");
    }

    // Without its delta the complete list is not complete.
    let profile = Profile {
        freshest_crl: Some(lab.web.url("/absent.delta")),
        ..Profile::named("release").crl(lab.web.url("/whole.crl"))
    };
    let release = root.issue(&profile).unwrap();
    lab.publish("/whole.crl", &root, &CrlProfile::default()).await;
    denied(&assayd, &lab.signed("absent", &release), "revocation-unknown").await;
}

/// notation spec: trust-store-trust-policy.md#certificate-revocation-evaluation. What a signing authority signed before its
/// key was lost stays good. A signer's own word about the time is not enough for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_of_invalidity_spares_what_a_signing_authority_signed_before() {
    let lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let now = SystemTime::now();
    let hours = |number: u64| Duration::from_secs(number * 60 * 60);
    let stolen = Revoked::new(&release.serial, Reason::KeyCompromise).invalid_since(now - hours(2));
    lab.publish("/leaf.crl", &root, &CrlProfile::revoking([stolen])).await;
    let policy = Policy::authority("trust_stores = [\"ca:corp\", \"signingAuthority:corp\"]");
    let daemon = lab.daemon(&root.certificate_pem(), &policy);
    let store = "notation/truststore/x509/signingAuthority/corp/root.pem";
    let assayd = daemon.file(store, root.certificate_pem()).start().await.unwrap();

    let signer = EnvelopeSigner::new(&release).unwrap();
    for (name, signed, expected) in [
        ("before", now - hours(3), None),
        ("after", now - hours(1), Some("certificate-revoked")),
    ] {
        let signed = jiff::Timestamp::try_from(signed)
            .unwrap()
            .round(jiff::Unit::Second)
            .unwrap();
        let scheme = "io.cncf.notary.signingScheme";
        let time = "io.cncf.notary.authenticSigningTime";
        let protected = json!({
            "alg": "ES256",
            "crit": [scheme, time],
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            scheme: "notary.x509.signingAuthority",
            time: signed.to_string(),
        });
        let image = lab.push(name);
        let payload = json!({ "targetArtifact": image.descriptor() });
        let envelope = signer.sign_claims(&protected, &payload).unwrap();
        lab.attach(name, &image.descriptor(), &envelope);
        let question = lab.question(name, &image);
        match expected {
            None => drop(admitted(&assayd, &question).await),
            Some(code) => drop(denied(&assayd, &question, code).await),
        }
    }
    let image = lab.push("own-word");
    let envelope = signer.sign(&image.descriptor(), now - hours(3)).unwrap();
    lab.attach("own-word", &image.descriptor(), &envelope);
    denied(&assayd, &lab.question("own-word", &image), "certificate-revoked").await;
}
