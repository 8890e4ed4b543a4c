//! Signatures with a time put to them.

use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Key, Profile, SigningIdentity};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::{Format, Sign, Statement, VerifyTimestamp};
use assay_integration::timestamp::Stamping;
use assay_integration::{Notation, TimestampAuthority};
use serde_json::json;

use super::Lab;

fn time_root(name: &str) -> Authority {
    Authority::root(&Profile::named(name)).expect("a root")
}

async fn authority(lab: &Lab, root: &Authority, profile: &Profile) -> TimestampAuthority {
    let identity = root.issue(profile).expect("a certificate");
    let started = TimestampAuthority::start(&lab.openssl, &Stamping::with(&identity)).await;
    started.expect("a timestamp authority")
}

fn trust_timestamps(notation: &Notation, root_pem: &str, when: VerifyTimestamp) {
    notation.trust("tsa", "time", root_pem).expect("a store");
    let statement = Statement::strict(&["ca:corp", "tsa:time"], &["*"]).verify_timestamp(when);
    notation.write_policy(&statement.policy()).expect("a policy");
}

#[tokio::test]
async fn notation_signs_with_a_timestamp_and_accepts_it() {
    let lab = Lab::start().await;
    let release = SigningIdentity::self_signed(&Profile::named("release")).unwrap();
    let mut cases = vec![];
    for key in [Key::P256, Key::P384, Key::Rsa2048] {
        for format in [Format::Jws, Format::Cose] {
            cases.push((key, format));
        }
    }
    for (number, (key, format)) in cases.into_iter().enumerate() {
        let root = time_root("time root");
        let below = root.intermediate(&Profile::named("time authority")).unwrap();
        let time = authority(&lab, &below, &Profile::timestamping("time").key(key)).await;
        assert_eq!(time.root_pem(), root.certificate_pem());
        let how = Sign::with("release").format(format).timestamped(&time);
        let (notation, image) = lab.signed(&format!("timestamped/{number}"), &release, &how).await;
        assert_eq!(time.requests(), 1, "{key:?} {format:?}");

        trust_timestamps(&notation, time.root_pem(), VerifyTimestamp::Always);
        let verdict = notation.verify(&image).await.unwrap();
        assert!(verdict.success, "{key:?} {format:?}: {}", verdict.stderr);
    }
}

#[tokio::test]
async fn notation_refuses_a_timestamp_of_another_root_and_none_at_all() {
    let lab = Lab::start().await;
    let release = SigningIdentity::self_signed(&Profile::named("release")).unwrap();
    let time = authority(&lab, &time_root("time root"), &Profile::timestamping("time")).await;
    let stranger = time_root("another root").certificate_pem();
    let cases = [
        (Sign::with("release").timestamped(&time), stranger.as_str()),
        (Sign::with("release"), time.root_pem()),
    ];
    for (number, (how, trusted)) in cases.into_iter().enumerate() {
        let (notation, image) = lab.signed(&format!("untimely/{number}"), &release, &how).await;
        trust_timestamps(&notation, trusted, VerifyTimestamp::Always);
        let verdict = notation.verify(&image).await.unwrap();
        assert!(!verdict.success, "case {number}");
        assert!(
            verdict.stderr.contains("authenticTimestamp validation failed"),
            "case {number}: {}",
            verdict.stderr
        );
    }
}

#[tokio::test]
async fn a_timestamp_outlives_the_certificate_that_signed() {
    let lab = Lab::start().await;
    let time = authority(&lab, &time_root("time root"), &Profile::timestamping("time")).await;
    let notation = Notation::new(&lab.peers).unwrap();
    let image = lab.push("outlived");
    // Long enough for one signature and one timestamp; a machine that is too busy for that tries again.
    let mut expires = SystemTime::UNIX_EPOCH;
    for _ in 0..5 {
        let profile = Profile::named("release").expires_in(Duration::from_secs(2));
        let release = SigningIdentity::self_signed(&profile).unwrap();
        let signer = EnvelopeSigner::new(&release).unwrap();
        let protected = json!({
            "alg": "ES256",
            "crit": ["io.cncf.notary.signingScheme"],
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": jiff::Timestamp::now().round(jiff::Unit::Second).unwrap().to_string(),
        });
        let payload = json!({ "targetArtifact": image.descriptor() });
        let envelope = signer.sign_timestamped(&protected, &payload, &time).await.unwrap();
        if SystemTime::now() + Duration::from_secs(1) < profile.not_after {
            let content = lab.registry.content();
            content.attach_signature("outlived", &image.descriptor(), JWS, &envelope);
            notation.trust("ca", "corp", &release.anchor_pem).unwrap();
            expires = profile.not_after;
            break;
        }
    }
    assert_ne!(
        expires,
        SystemTime::UNIX_EPOCH,
        "no timestamp within a second, five times"
    );
    tokio::time::sleep(expires.duration_since(SystemTime::now()).unwrap_or_default()).await;

    let reference = lab.reference("outlived", &image);
    for when in [VerifyTimestamp::Always, VerifyTimestamp::AfterCertExpiry] {
        trust_timestamps(&notation, time.root_pem(), when);
        let verdict = notation.verify(&reference).await.unwrap();
        assert!(verdict.success, "{when:?}: {}", verdict.stderr);
    }
    notation.trust_everywhere("corp", &["*"]).unwrap();
    let verdict = notation.verify(&reference).await.unwrap();
    assert!(!verdict.success, "without a store for timestamps");
}
