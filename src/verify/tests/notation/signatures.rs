//! One signature under one statement: every step, every level.

use std::collections::BTreeSet;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::notation::identity::{IdentityKinds, TrustedIdentities};
use assay_verify::notation::signature::{Asked, NotVerified, SignatureJudgement, StepOutcome, verify};
use assay_verify::notation::statement::{Action, Checks, RevocationAction};
use assay_verify::notation::steps::{Failure, Interval, Step};
use assay_verify::policy::Conditions;
use assay_verify::query::{PluginName, Query};
use assay_verify::x509::certificate::Certificate;
use rcgen::{CrlDistributionPoint, CustomExtension};

use crate::support::*;

fn judge_at(signature: &Signature, trust: &Trust, now: Timestamp) -> SignatureJudgement {
    let asked = Asked {
        target: &image(),
        terms: trust.terms(),
        stores: &trust.stores,
        conditions: &Conditions::default(),
    };
    verify(signature, &asked, &Circumstances::at(now))
}

fn judge(signature: &Signature, trust: &Trust) -> SignatureJudgement {
    judge_at(signature, trust, now())
}

/// The step that ended it, and the code; or nothing.
fn rejected(judgement: &SignatureJudgement) -> Option<(Step, Code)> {
    match judgement.result.as_ref().err()? {
        NotVerified::Rejected(rejected) => Some((rejected.step, rejected.code())),
        NotVerified::Needs(queries) => panic!("{queries:?}"),
    }
}

fn failure_of(judgement: &SignatureJudgement) -> &Failure {
    match &judgement.result {
        Err(NotVerified::Rejected(rejected)) => &rejected.failure,
        other => panic!("{other:?}"),
    }
}

fn outcome(judgement: &SignatureJudgement, step: Step) -> &StepOutcome {
    &judgement
        .steps
        .iter()
        .find(|report| report.step == step)
        .unwrap()
        .outcome
}

fn trust() -> Trust {
    Trust::anchored_by(root())
}

/// Everything enforced but one check, which is logged.
fn logging(step: Step) -> Checks {
    let mut checks = Checks::STRICT;
    match step {
        Step::Authenticity | Step::Identity => checks.authenticity = Action::Log,
        Step::Expiry => checks.expiry = Action::Log,
        Step::AuthenticTimestamp => checks.authentic_timestamp = Action::Log,
        Step::Revocation => checks.revocation = RevocationAction::Log,
        _ => panic!("{step} cannot be logged"),
    }
    checks
}

#[test]
fn verifies_a_good_signature_and_reports_every_step() {
    let judgement = judge(&good(), &trust());
    let verified = judgement.result.as_ref().unwrap();
    assert!(verified.unauthenticated().is_none());
    assert_eq!(verified.integrity().envelope().target(), &image());
    let anchor = verified.authenticity().outcome().passed().unwrap();
    assert_eq!(anchor.store.to_string(), "ca:corp");
    assert_eq!(anchor.certificate, Certificate::from_der(root()).unwrap().fingerprint());
    assert!(verified.revocation().outcome().passed().is_some());
    assert_eq!(
        judgement.steps.iter().map(|report| report.step).collect::<Vec<_>>(),
        Step::ALL
    );
    for report in &judgement.steps {
        assert!(matches!(report.outcome, StepOutcome::Passed(_)), "{report:?}");
    }
}

#[test]
fn holds_from_the_last_certificate_to_the_expiry_or_the_first_end() {
    let verified = judge(&good(), &trust()).result.unwrap();
    assert_eq!(
        verified.interval(),
        Interval {
            not_before: time(NOT_BEFORE),
            until: time(EXPIRY),
        }
    );
    // What is only logged ends nothing.
    let logged = judge(&good(), &trust().checks(logging(Step::Expiry))).result.unwrap();
    assert_eq!(logged.interval().until, time(EXPIRY));
    let late = judge_at(&good(), &trust().checks(logging(Step::Expiry)), time(EXPIRY));
    assert_eq!(late.result.unwrap().interval().until, time(NOT_AFTER));
}

#[test]
fn any_certificate_of_the_chain_may_be_the_anchor() {
    let chain = ChainParts::with_intermediate().build();
    let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
    for anchor in &chain[1..] {
        assert_eq!(rejected(&judge(&signature, &Trust::anchored_by(anchor))), None);
    }
    let alone = leaf()
        .self_signed(key(EnvelopeAlgorithm::Es256))
        .unwrap()
        .der()
        .to_vec();
    let signature = evidence(
        COSE,
        &Cose::new(EnvelopeAlgorithm::Es256, std::slice::from_ref(&alone)).envelope(),
        &image(),
    );
    assert_eq!(rejected(&judge(&signature, &Trust::anchored_by(&alone))), None);
}

#[test]
fn denies_a_chain_that_no_store_anchors() {
    let stranger = ca("root").self_signed(&*ROOT_KEY).unwrap();
    let trust = Trust::anchored_by(stranger.der());
    let judgement = judge(&good(), &trust);
    assert_eq!(rejected(&judgement), Some((Step::Authenticity, Code::UntrustedSigner)));
    assert!(matches!(outcome(&judgement, Step::Integrity), StepOutcome::Passed(_)));
    assert!(matches!(
        outcome(&judgement, Step::Authenticity),
        StepOutcome::Failed(_)
    ));
    assert_eq!(outcome(&judgement, Step::Subject), &StepOutcome::NotReached);
    // Where it is only logged it goes on, and says so.
    let logged = judge(&good(), &trust.checks(logging(Step::Authenticity)));
    assert!(matches!(outcome(&logged, Step::Authenticity), StepOutcome::Logged(_)));
    let verified = logged.result.unwrap();
    assert!(matches!(verified.unauthenticated(), Some(Failure::Untrusted { .. })));
}

#[test]
fn the_scheme_chooses_the_kind_of_store() {
    let by_authority = evidence(JWS, &jws().by_signing_authority().envelope(), &image());
    let failure = |signature: &Signature, trust: &Trust| failure_of(&judge(signature, trust)).clone();
    assert!(matches!(
        failure(&by_authority, &trust()),
        Failure::NoTrustStoreForScheme { .. }
    ));
    let mut other = trust().with_store("signingAuthority:corp", root());
    other.names = vec!["signingAuthority:corp".parse().unwrap()];
    assert_eq!(rejected(&judge(&by_authority, &other)), None);
    assert!(matches!(
        failure(&good(), &other),
        Failure::NoTrustStoreForScheme { .. }
    ));
}

#[test]
fn every_named_store_must_exist() {
    let mut trust = trust();
    trust.names.push("ca:absent".parse().unwrap());
    let judgement = judge(&good(), &trust);
    assert_eq!(rejected(&judgement), Some((Step::Authenticity, Code::UntrustedSigner)));
    let failure = failure_of(&judgement);
    assert_eq!(failure.to_string(), "the trust store ca:absent does not exist");
    // A store that no statement names anchors nothing.
    let stranger = ca("other").self_signed(&*ROOT_KEY).unwrap();
    let unnamed = Trust::anchored_by(stranger.der()).with_store("ca:other", root());
    assert_eq!(
        rejected(&judge(&good(), &unnamed)),
        Some((Step::Authenticity, Code::UntrustedSigner))
    );
}

#[test]
fn a_signature_counts_before_its_expiry_and_not_at_it() {
    let just_before = Timestamp::new(time(EXPIRY).as_second() - 1, 999_999_999).unwrap();
    assert_eq!(rejected(&judge_at(&good(), &trust(), just_before)), None);
    let at = judge_at(&good(), &trust(), time(EXPIRY));
    assert_eq!(rejected(&at), Some((Step::Expiry, Code::SignatureExpired)));
    let logged = judge_at(&good(), &trust().checks(logging(Step::Expiry)), time(EXPIRY));
    assert_eq!(rejected(&logged), None);
    assert!(matches!(outcome(&logged, Step::Expiry), StepOutcome::Logged(_)));
}

#[test]
fn certificates_have_to_be_valid_now_under_notary_x509() {
    let trust = trust().checks(logging(Step::Expiry));
    let second = |text: &str, shift: i64| Timestamp::from_second(time(text).as_second() + shift).unwrap();
    for (now, expected) in [
        (
            second(NOT_BEFORE, -1),
            Some((Step::AuthenticTimestamp, Code::CertificateExpired)),
        ),
        (second(NOT_BEFORE, 0), None),
        (second(NOT_AFTER, 0), None),
        (
            second(NOT_AFTER, 1),
            Some((Step::AuthenticTimestamp, Code::CertificateExpired)),
        ),
    ] {
        assert_eq!(rejected(&judge_at(&good(), &trust, now)), expected, "{now}");
    }
    let mut checks = logging(Step::Expiry);
    checks.authentic_timestamp = Action::Log;
    let late = judge_at(&good(), &trust.checks(checks), second(NOT_AFTER, 1));
    assert_eq!(late.result.unwrap().interval(), Interval::ALWAYS);
}

#[test]
fn an_expired_root_is_an_expired_certificate() {
    let mut parts = ChainParts::default();
    parts.root.not_after = rcgen::date_time_ymd(2026, 5, 31);
    let chain = parts.build();
    let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
    assert_eq!(
        rejected(&judge(&signature, &Trust::anchored_by(&chain[1]))),
        Some((Step::AuthenticTimestamp, Code::CertificateExpired))
    );
}

#[test]
fn certificates_had_to_be_valid_at_the_authentic_signing_time() {
    let mut trust = trust()
        .with_store("signingAuthority:corp", root())
        .checks(logging(Step::Expiry));
    trust.names = vec!["signingAuthority:corp".parse().unwrap()];
    let signed = |at: &str| {
        let mut jws = jws().by_signing_authority();
        jws.protected["io.cncf.notary.authenticSigningTime"] = at.into();
        evidence(JWS, &jws.envelope(), &image())
    };
    // Long after the certificates ended.
    let late = time("2030-01-01T00:00:00Z");
    let judgement = judge_at(&signed(SIGNED_AT), &trust, late);
    assert_eq!(judgement.result.unwrap().interval(), Interval::ALWAYS);
    assert_eq!(
        rejected(&judge_at(&signed("2025-12-31T23:59:59Z"), &trust, late)),
        Some((Step::AuthenticTimestamp, Code::CertificateExpired))
    );
}

/// notation accepts them where no plugin is asked for.
#[test]
fn denies_a_critical_attribute_that_nobody_understands() {
    let mut jws = jws();
    jws.protected["com.example.attribute"] = "value".into();
    let ignored = judge(&evidence(JWS, &jws.envelope(), &image()), &trust());
    assert_eq!(rejected(&ignored), None);
    jws.mark_critical("com.example.attribute");
    let mut cose = cose();
    cose.set("com.example.attribute", "value".into());
    cose.mark_critical("com.example.attribute");
    for (format, envelope) in [(JWS, jws.envelope()), (COSE, cose.envelope())] {
        for checks in [Checks::STRICT, Checks::AUDIT] {
            let judgement = judge(&evidence(format, &envelope, &image()), &trust().checks(checks));
            assert_eq!(
                rejected(&judgement),
                Some((Step::Attributes, Code::SignatureUnsupported))
            );
        }
    }
}

#[test]
fn a_plugin_is_asked_only_about_a_signature_that_is_anchored() {
    let mut jws = jws();
    jws.protected["io.cncf.notary.verificationPlugin"] = "com.example.plugin".into();
    jws.mark_critical("io.cncf.notary.verificationPlugin");
    let signature = evidence(JWS, &jws.envelope(), &image());
    let plugin: PluginName = "com.example.plugin".parse().unwrap();
    let metadata = Query::PluginMetadata(plugin.clone());
    let anchored = judge(&signature, &trust());
    assert_eq!(
        anchored.result.unwrap_err(),
        NotVerified::Needs(BTreeSet::from([metadata]))
    );
    let stranger = ca("other").self_signed(&*ROOT_KEY).unwrap();
    let unanchored = judge(&signature, &Trust::anchored_by(stranger.der()).checks(Checks::AUDIT));
    assert_eq!(rejected(&unanchored), Some((Step::Plugin, Code::SignatureUnsupported)));
    assert_eq!(failure_of(&unanchored), &Failure::PluginNotAsked(plugin));
}

#[test]
fn a_certificate_that_names_a_revocation_source_is_asked_for() {
    // authorityInfoAccess with one OCSP responder, and with an issuer's certificate only.
    let access = |method: u8| {
        let uri = b"http://ocsp.example";
        let location = [&[0x86, 19][..], uri].concat();
        let description = [&[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, method][..], &location].concat();
        let description = [&[0x30, 31][..], &description].concat();
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], [&[0x30, 33][..], &description].concat())
    };
    let crl = || CrlDistributionPoint {
        uris: vec!["http://crl.example/1".to_owned()],
    };
    let mut with_crl = ChainParts::with_intermediate();
    with_crl.leaf.crl_distribution_points.push(crl());
    let mut with_crl_above = ChainParts::with_intermediate();
    let intermediate = with_crl_above.intermediate.as_mut().unwrap();
    intermediate.crl_distribution_points.push(crl());
    let mut with_ocsp = ChainParts::with_intermediate();
    with_ocsp.leaf.custom_extensions.push(access(1));
    let mut with_ca_issuers = ChainParts::with_intermediate();
    with_ca_issuers.leaf.custom_extensions.push(access(2));
    let mut with_crl_of_the_root = ChainParts::with_intermediate();
    with_crl_of_the_root.root.crl_distribution_points.push(crl());

    for (parts, asked) in [
        (with_crl, true),
        (with_crl_above, true),
        (with_ocsp, true),
        (with_ca_issuers, false),
        // Nobody but itself could revoke a root.
        (with_crl_of_the_root, false),
    ] {
        let chain = parts.build();
        let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
        for checks in [Checks::STRICT, logging(Step::Revocation)] {
            let judgement = judge(&signature, &Trust::anchored_by(chain.last().unwrap()).checks(checks));
            let needs = matches!(judgement.result, Err(NotVerified::Needs(_)));
            assert_eq!((needs, judgement.result.is_ok()), (asked, !asked));
            assert_eq!(
                matches!(outcome(&judgement, Step::Revocation), StepOutcome::Needs(_)),
                asked
            );
        }
        let skipping = Checks {
            revocation: RevocationAction::Skip,
            ..Checks::STRICT
        };
        let skipped = judge(&signature, &Trust::anchored_by(chain.last().unwrap()).checks(skipping));
        assert_eq!(rejected(&skipped), None);
        assert_eq!(outcome(&skipped, Step::Revocation), &StepOutcome::Skipped);
    }
}

#[test]
fn denies_when_the_payload_names_another_artifact() {
    let mismatch = Some((Step::Subject, Code::SubjectMismatch));
    let good = image();
    for other in [
        Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            ..good.clone()
        },
        Descriptor {
            digest: Digest::sha256(b"other"),
            ..good.clone()
        },
        Descriptor {
            size: 6,
            ..good.clone()
        },
    ] {
        let mut jws = jws();
        jws.payload = payload(&other);
        for checks in [Checks::STRICT, Checks::AUDIT] {
            let judgement = judge(&evidence(JWS, &jws.envelope(), &good), &trust().checks(checks));
            assert_eq!(rejected(&judgement), mismatch, "{other:?}");
        }
    }
}

/// notation does not look at it again; the payload saves it.
#[test]
fn denies_when_the_manifest_refers_to_another_image() {
    let other = Descriptor {
        digest: Digest::sha256(b"other"),
        ..image()
    };
    let judgement = judge(&evidence(JWS, &jws().envelope(), &other), &trust());
    assert_eq!(rejected(&judgement), Some((Step::Subject, Code::SubjectMismatch)));
    assert!(matches!(failure_of(&judgement), Failure::ManifestSubject { .. }));
}

#[test]
fn denies_an_envelope_of_an_unknown_or_another_format() {
    for media_type in ["application/vnd.oci.image.layer.v1.tar", COSE] {
        let judgement = judge(
            &evidence(media_type, &jws().envelope(), &image()),
            &trust().checks(Checks::AUDIT),
        );
        assert_eq!(rejected(&judgement), Some((Step::Integrity, Code::SignatureInvalid)));
    }
}

#[test]
fn names_from_certificates_are_shown_escaped() {
    let mut parts = ChainParts::default();
    let name = "a\u{1b}[31m\n\u{202e}b";
    parts
        .root
        .distinguished_name
        .push(rcgen::DnType::OrganizationalUnitName, name);
    parts
        .leaf
        .distinguished_name
        .push(rcgen::DnType::OrganizationalUnitName, name);
    let chain = parts.build();
    let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
    for trust in [Trust::anchored_by(&chain[1]), trust()] {
        let judgement = judge_at(&signature, &trust, time("2028-01-01T00:00:00Z"));
        let mut shown = failure_of(&judgement).to_string();
        for report in &judgement.steps {
            if let StepOutcome::Passed(detail) = &report.outcome {
                shown.push_str(detail);
            }
        }
        assert!(shown.chars().all(|character| matches!(character, ' '..='~')), "{shown}");
        assert!(shown.contains("u{202e}"), "{shown}");
    }
}

/// For certificates that no distinguished name of the specification can name.
#[test]
fn recognises_a_signer_by_its_certificate_its_key_or_an_alternative_name() {
    let mut parts = ChainParts::default();
    parts.leaf.distinguished_name = rcgen::DistinguishedName::new();
    parts.leaf.subject_alt_names = vec![
        rcgen::SanType::DnsName("Build.corp.example".try_into().unwrap()),
        rcgen::SanType::URI("spiffe://corp/build".try_into().unwrap()),
        rcgen::SanType::Rfc822Name("build@corp.example".try_into().unwrap()),
        rcgen::SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    let chain = parts.build();
    let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
    let certificate = Certificate::from_der(&chain[0]).unwrap();
    let key = Digest::sha256(certificate.subject_public_key_info_der());
    let other = Digest::sha256(b"other");
    for (identity, recognised) in [
        (format!("x509.sha256: {}", certificate.fingerprint()), true),
        (format!("x509.spki: {}", key.hex()), true),
        ("x509.san.dns: build.CORP.example".to_owned(), true),
        ("x509.san.uri: spiffe://corp/build".to_owned(), true),
        ("x509.san.email: build@corp.example".to_owned(), true),
        (format!("x509.sha256: {}", other.hex()), false),
        (format!("x509.spki: {}", certificate.fingerprint()), false),
        ("x509.san.dns: corp.example".to_owned(), false),
        ("x509.san.dns: *.corp.example".to_owned(), false),
        ("x509.san.uri: build.corp.example".to_owned(), false),
        ("x509.san.email: build.corp.example".to_owned(), false),
        ("x509.subject: C=US, ST=WA, O=Corp".to_owned(), false),
    ] {
        let mut trust = Trust::anchored_by(&chain[1]);
        trust.identities = TrustedIdentities::parse(&[&identity], IdentityKinds::Extended).unwrap();
        let expected = (!recognised).then_some((Step::Identity, Code::IdentityMismatch));
        assert_eq!(rejected(&judge(&signature, &trust)), expected, "{identity}");
        // Elsewhere these kinds belong to plugins.
        trust.identities = TrustedIdentities::parse(&[&identity], IdentityKinds::Standard).unwrap();
        assert!(rejected(&judge(&signature, &trust)).is_some(), "{identity}");
    }
}
