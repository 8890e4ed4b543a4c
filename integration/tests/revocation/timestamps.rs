//! Signatures with the time of a timestamp authority, on certificates that ended long before the pull.

use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::crl::CrlProfile;
use assay_integration::envelope::{EnvelopeSigner, with_timestamp};
use assay_integration::notation::{Format, Sign, Statement, VerifyTimestamp};
use assay_integration::timestamp::Stamping;
use assay_integration::{Notation, Question, TimestampAuthority};
use serde_json::json;

use crate::lab::{Lab, Policy, SHORT, admitted, denied, good_for, past, protected, revoking};

const ALWAYS: &str = "trust_stores = [\"ca:corp\", \"tsa:time\"]";
const AFTER_EXPIRY: &str = "trust_stores = [\"ca:corp\", \"tsa:time\"]\nverify_timestamp = \"afterCertExpiry\"";
const NO_STORE: &str = "trust_stores = [\"ca:corp\"]";

async fn authority(lab: &Lab, root: &Authority, profile: &Profile) -> TimestampAuthority {
    let identity = root.issue(profile).expect("a certificate");
    let started = TimestampAuthority::start(&lab.openssl, &Stamping::with(&identity)).await;
    started.expect("a timestamp authority")
}

/// A daemon that trusts `root` to sign and `time` to put a time to it.
async fn daemon(lab: &Lab, root: &Authority, time: &str, authority: &str) -> assay_integration::Assayd {
    let daemon = lab.daemon(&root.certificate_pem(), &Policy::authority(authority));
    let daemon = daemon.file("notation/truststore/x509/tsa/time/root.pem", time);
    daemon.start().await.expect("assayd")
}

/// Images by a signer whose certificate has expired meanwhile: signed by the real notation, with a timestamp and without.
struct Outlived {
    root: Authority,
    timestamped: [Question; 2],
    plain: Question,
}

impl Outlived {
    async fn new(lab: &Lab, time: &TimestampAuthority) -> Self {
        let root = Authority::root(&Profile::named("root")).expect("a root");
        // Long enough for three signatures; a machine that is too busy for that tries again.
        for attempt in 0..5 {
            let profile = Profile::named("release").expires_in(Duration::from_secs(3));
            let release = root.issue(&profile).expect("a signer");
            let notation = Notation::new(&lab.peers).expect("notation");
            notation.add_key("release", &release).expect("a key");
            let sign = async |name: &str, how: Sign| {
                let repository = format!("{name}{attempt}");
                let image = lab.push(&repository);
                let reference = lab.reference(&repository, &image);
                notation.sign(&reference, &how).await.expect("a signature");
                lab.question(&repository, &image)
            };
            let with = Sign::with("release");
            let timestamped = [
                sign("jws", with.clone().timestamped(time)).await,
                sign("cose", with.clone().format(Format::Cose).timestamped(time)).await,
            ];
            let plain = sign("plain", with).await;
            let second = Duration::from_secs(1);
            // The accuracy of the timestamp is a second.
            if SystemTime::now() + second < profile.not_after {
                past(profile.not_after + second).await;
                return Self {
                    root,
                    timestamped,
                    plain,
                };
            }
        }
        panic!("no three signatures within two seconds, five times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_outlives_the_certificate_that_signed() {
    let lab = Lab::start().await;
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let time = authority(&lab, &time_root, &Profile::timestamping("time")).await;
    let outlived = Outlived::new(&lab, &time).await;
    let foreign = Authority::root(&Profile::named("another time root"))
        .unwrap()
        .certificate_pem();
    for (lines, trusted, timestamped, plain) in [
        (ALWAYS, time.root_pem(), None, "timestamp-required"),
        (AFTER_EXPIRY, time.root_pem(), None, "timestamp-required"),
        (
            NO_STORE,
            time.root_pem(),
            Some("certificate-expired"),
            "certificate-expired",
        ),
        (ALWAYS, &foreign, Some("timestamp-invalid"), "timestamp-required"),
        (AFTER_EXPIRY, &foreign, Some("timestamp-invalid"), "timestamp-required"),
    ] {
        let assayd = daemon(&lab, &outlived.root, trusted, lines).await;
        for question in &outlived.timestamped {
            match timestamped {
                None => drop(admitted(&assayd, question).await),
                Some(code) => drop(denied(&assayd, question, code).await),
            }
        }
        denied(&assayd, &outlived.plain, plain).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_of_another_signature_is_invalid() {
    let lab = Lab::start().await;
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let time = authority(&lab, &time_root, &Profile::timestamping("time")).await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root.issue(&Profile::named("release")).unwrap();
    let assayd = daemon(&lab, &root, time.root_pem(), ALWAYS).await;
    admitted(&assayd, &lab.timestamped("own", &release, &time).await).await;

    let image = lab.push("stolen");
    let signer = EnvelopeSigner::new(&release).unwrap();
    let payload = json!({ "targetArtifact": image.descriptor() });
    let envelope = signer.sign_claims(&protected(), &payload).unwrap();
    let token = time.stamp(b"another signature", "sha256").await.unwrap();
    let envelope = with_timestamp(serde_json::from_slice(&envelope).unwrap(), &token);
    lab.attach("stolen", &image.descriptor(), envelope.to_string().as_bytes());
    denied(&assayd, &lab.question("stolen", &image), "timestamp-invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_timestamp_authority_ends_its_timestamps_whatever_the_level_says_of_revocation() {
    let lab = Lab::start().await;
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let profile = |name: &str| Profile::timestamping(name).crl(lab.web.url("/time.crl"));
    let revoked = time_root.issue(&profile("revoked time")).unwrap();
    let sound = time_root.issue(&profile("sound time")).unwrap();
    lab.publish("/time.crl", &time_root, &CrlProfile::default()).await;
    let start = async |identity: &SigningIdentity| {
        let started = TimestampAuthority::start(&lab.openssl, &Stamping::with(identity)).await;
        started.unwrap()
    };
    let (revoked_time, sound_time) = (start(&revoked).await, start(&sound).await);
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root.issue(&Profile::named("release")).unwrap();
    let by_revoked = lab.timestamped("revoked", &release, &revoked_time).await;
    let by_sound = lab.timestamped("sound", &release, &sound_time).await;

    let before = daemon(&lab, &root, sound_time.root_pem(), ALWAYS).await;
    admitted(&before, &by_revoked).await;
    lab.publish("/time.crl", &time_root, &revoking(&revoked.serial)).await;
    for level in [
        "",
        "\noverride = { revocation = \"skip\" }",
        "\noverride = { revocation = \"log\" }",
    ] {
        let assayd = daemon(&lab, &root, sound_time.root_pem(), &format!("{ALWAYS}{level}")).await;
        let reason = denied(&assayd, &by_revoked, "certificate-revoked").await;
        assert!(reason.contains("CN=revoked time"), "{reason}");
        admitted(&assayd, &by_sound).await;
    }
}

/// CVE-2024-56138: notation looked at none of the authority's certificates.
#[tokio::test(flavor = "multi_thread")]
async fn an_admit_ends_when_the_timestamp_authoritys_issuer_is_revoked() {
    let lab = Lab::start().await;
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let below = Profile::named("time issuer").crl(lab.web.url("/time.crl"));
    let issuer = time_root.intermediate(&below).unwrap();
    let time = authority(&lab, &issuer, &Profile::timestamping("time")).await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root.issue(&Profile::named("release")).unwrap();
    let question = lab.timestamped("app", &release, &time).await;
    let assayd = daemon(&lab, &root, time.root_pem(), ALWAYS).await;
    let short = good_for(SHORT);
    lab.publish("/time.crl", &time_root, &short).await;
    admitted(&assayd, &question).await;
    lab.publish("/time.crl", &time_root, &revoking(&issuer.serial().unwrap()))
        .await;
    past(short.next_update).await;
    let reason = denied(&assayd, &question, "certificate-revoked").await;
    assert!(reason.contains("CN=time issuer"), "{reason}");
}

/// notation's own end-to-end cases verify-15 to verify-17 (test/e2e/suite/command/verify.go), beside the real notation.
#[tokio::test(flavor = "multi_thread")]
async fn timestamps_are_asked_for_where_notation_asks_for_them() {
    let lab = Lab::start().await;
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let time = authority(&lab, &time_root, &Profile::timestamping("time")).await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let notation = Notation::new(&lab.peers).unwrap();
    notation
        .add_key("release", &root.issue(&Profile::named("release")).unwrap())
        .unwrap();
    notation.trust("ca", "corp", &root.certificate_pem()).unwrap();
    notation.trust("tsa", "time", time.root_pem()).unwrap();
    let with = Sign::with("release");
    for (case, how, stores, when, lines, accepted) in [
        ("verify-15", with.clone(), &["ca:corp"][..], None, NO_STORE, true),
        (
            "verify-16",
            with.clone().timestamped(&time),
            &["ca:corp", "tsa:time"],
            None,
            ALWAYS,
            true,
        ),
        (
            "verify-17",
            with.clone(),
            &["ca:corp", "tsa:time"],
            Some(VerifyTimestamp::AfterCertExpiry),
            AFTER_EXPIRY,
            true,
        ),
        ("without", with, &["ca:corp", "tsa:time"], None, ALWAYS, false),
    ] {
        let image = lab.push(case);
        let reference = lab.reference(case, &image);
        notation.sign(&reference, &how).await.unwrap();
        let statement = Statement {
            verify_timestamp: when,
            ..Statement::strict(stores, &["*"])
        };
        notation.write_policy(&statement.policy()).unwrap();
        let verdict = notation.verify(&reference).await.unwrap();
        assert_eq!(verdict.success, accepted, "{case}: {}", verdict.stderr);

        let assayd = daemon(&lab, &root, time.root_pem(), lines).await;
        let question = lab.question(case, &image);
        if accepted {
            admitted(&assayd, &question).await;
        } else {
            denied(&assayd, &question, "timestamp-required").await;
        }
    }
}
