//! What a rule asks of every signature, and what a judgement asks of the world.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::evidence::Signature;
use assay_verify::judge::{Findings, Judgement, Progress, Requirement, Subject, judge};
use assay_verify::notation::statement::{Action, Checks, RevocationAction};
use assay_verify::policy::Conditions;
use assay_verify::query::{Answered, Answers, Query, Unanswered};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, KeyIdMethod, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

use crate::support::*;

const CRL: &str = "http://crl.example/1";
const SERIAL: u64 = 4711;

/// A signature by a leaf that can be revoked, and the root that issued it.
pub(crate) fn revocable() -> (Signature, Vec<u8>) {
    let mut parts = ChainParts::default();
    parts.root.key_usages.push(KeyUsagePurpose::CrlSign);
    parts.leaf.serial_number = Some(SerialNumber::from(SERIAL));
    parts.leaf.crl_distribution_points.push(CrlDistributionPoint {
        uris: vec![CRL.to_owned()],
    });
    let chain = parts.build();
    let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
    (signature, chain[1].clone())
}

/// The root's list, from May to the end of June.
fn list(revoked: bool) -> Arc<[u8]> {
    let mut root = ca("root");
    root.key_usages.push(KeyUsagePurpose::CrlSign);
    let entry = RevokedCertParams {
        serial_number: SerialNumber::from(SERIAL),
        revocation_time: date_time_ymd(2026, 5, 2),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 5, 1),
        next_update: date_time_ymd(2026, 6, 30),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: if revoked { vec![entry] } else { Vec::new() },
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = rcgen::Issuer::from_params(&root, &*ROOT_KEY);
    let list = list.signed_by(&issuer).unwrap();
    list.der().to_vec().into()
}

fn query() -> Query {
    Query::Crl(CRL.parse().unwrap())
}

fn answers(now: Result<Arc<[u8]>, Unanswered>, kept: Option<Arc<[u8]>>) -> Answers {
    let mut answers = Answers::default();
    answers.insert(query(), Answered { now, kept });
    answers
}

fn away() -> Unanswered {
    Unanswered {
        code: Code::RevocationUnknown,
        reason: "nobody listens".into(),
    }
}

fn judge_with(
    signatures: &[Signature],
    trust: &Trust,
    conditions: &Conditions,
    answers: &Answers,
    now: &str,
) -> Judgement {
    let repository = "registry.example/app".parse().unwrap();
    let descriptor = image();
    let subject = Subject {
        repository: &repository,
        descriptor: &descriptor,
    };
    let requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &[("corp", trust.authority())],
        accept_unverified: false,
        conditions,
    };
    let circumstances = Circumstances {
        answers,
        ..Circumstances::at(time(now))
    };
    judge(signatures, &subject, &requirement, &circumstances)
}

fn code(judgement: &Judgement) -> Option<Code> {
    match judgement {
        Judgement::Admit(_) => None,
        Judgement::Reject(rejection) => Some(rejection.code),
        Judgement::Need(need) => panic!("{:?}", need.queries),
    }
}

#[test]
fn asks_for_the_list_and_is_no_admit_until_it_has_it() {
    let (signature, root) = revocable();
    let trust = Trust::anchored_by(&root);
    let signatures = [signature];
    let judge = |answers: &Answers| judge_with(&signatures, &trust, &Conditions::default(), answers, NOW);
    let Judgement::Need(need) = judge(&Answers::default()) else {
        panic!("an absent answer is never a good one");
    };
    assert_eq!(need.queries, [query()]);

    let Judgement::Admit(permit) = judge(&answers(Ok(list(false)), None)) else {
        panic!("the list does not name the signer");
    };
    assert_eq!(permit.interval().until, time("2026-06-30T00:00:00Z"));
    assert!(permit.rests_on().queries.contains(&query().id()));
    assert!(permit.on_grace().is_empty());

    assert_eq!(
        code(&judge(&answers(Ok(list(true)), None))),
        Some(Code::CertificateRevoked)
    );
    assert_eq!(code(&judge(&answers(Err(away()), None))), Some(Code::RevocationUnknown));
    assert_eq!(
        code(&judge(&answers(Ok(b"no list"[..].into()), None))),
        Some(Code::RevocationUnknown)
    );
}

#[test]
fn a_level_that_only_logs_revocation_asks_all_the_same() {
    let (signature, root) = revocable();
    let signatures = [signature];
    for (revocation, needs) in [(RevocationAction::Log, true), (RevocationAction::Skip, false)] {
        let trust = Trust::anchored_by(&root).checks(Checks {
            revocation,
            ..Checks::STRICT
        });
        let judged = |answers: &Answers| judge_with(&signatures, &trust, &Conditions::default(), answers, NOW);
        let nothing = judged(&Answers::default());
        assert_eq!(matches!(nothing, Judgement::Need(_)), needs);
        for answer in [Ok(list(true)), Err(away())] {
            assert_eq!(code(&judged(&answers(answer, None))), None);
        }
    }
}

/// Nothing that a stranger's envelope names is touched, whatever the level.
#[test]
fn asks_nothing_about_a_signature_that_is_refused_or_of_nobody() {
    let (signature, root) = revocable();
    let stranger = ca("stranger").self_signed(&*INTERMEDIATE_KEY).unwrap();
    let mut logged = Checks::STRICT;
    logged.authenticity = Action::Log;
    for (trust, now, expected) in [
        (Trust::anchored_by(stranger.der()), NOW, Code::UntrustedSigner),
        (
            Trust::anchored_by(stranger.der()).checks(logged),
            NOW,
            Code::RevocationUnknown,
        ),
        (
            Trust::anchored_by(&root),
            "2026-07-02T00:00:00Z",
            Code::SignatureExpired,
        ),
    ] {
        let judged = judge_with(
            std::slice::from_ref(&signature),
            &trust,
            &Conditions::default(),
            &Answers::default(),
            now,
        );
        assert_eq!(code(&judged), Some(expected));
    }
}

#[test]
fn grace_stretches_what_was_kept_while_the_endpoint_is_away_and_says_so() {
    let (signature, root) = revocable();
    let (signatures, trust) = ([signature], Trust::anchored_by(&root));
    let mut checks = Checks::STRICT;
    checks.expiry = Action::Log;
    let trust = trust.checks(checks);
    let grace = Conditions {
        revocation_grace: Duration::from_secs(24 * 3600),
        ..Conditions::default()
    };
    let none = Conditions::default();
    let kept = answers(Err(away()), Some(list(false)));
    let live = answers(Ok(list(false)), None);
    for (conditions, answers, now, expected) in [
        (&none, &kept, "2026-06-29T23:00:00Z", None),
        (&none, &kept, "2026-06-30T01:00:00Z", Some(Code::RevocationUnknown)),
        (&grace, &kept, "2026-06-30T01:00:00Z", None),
        (&grace, &kept, "2026-07-01T01:00:00Z", Some(Code::RevocationUnknown)),
        // The endpoint is there and gives out an old list: somebody replays it.
        (&grace, &live, "2026-06-30T01:00:00Z", Some(Code::RevocationUnknown)),
    ] {
        let judged = judge_with(&signatures, &trust, conditions, answers, now);
        assert_eq!(code(&judged), expected, "{now}");
        if let Judgement::Admit(permit) = judged {
            assert_eq!(permit.on_grace().len(), usize::from(now > "2026-06-30"));
        }
    }
    let revoked = answers(Err(away()), Some(list(true)));
    let judged = judge_with(&signatures, &trust, &grace, &revoked, "2026-09-01T00:00:00Z");
    assert_eq!(code(&judged), Some(Code::CertificateRevoked));
}

/// The findings go on where they stopped: what was judged stays, what lacked an answer is judged again.
#[test]
fn an_answer_goes_on_with_what_lacked_it() {
    let (signature, root) = revocable();
    let trust = Trust::anchored_by(&root);
    let repository = "registry.example/app".parse().unwrap();
    let descriptor = image();
    let subject = Subject {
        repository: &repository,
        descriptor: &descriptor,
    };
    let conditions = Conditions::default();
    let requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &[("corp", trust.authority())],
        accept_unverified: false,
        conditions: &conditions,
    };
    let mut circumstances = Circumstances::at(now());
    let mut findings = Findings::new(&requirement);
    let progress = findings.add(&[good(), signature.clone()], &subject, &requirement, &circumstances);
    assert_eq!(progress, Progress::Needs(vec![query()]));
    assert!(findings.rests_on(&signature.id()), "it is kept until it is judged");
    assert!(findings.proven().is_empty());

    let list = list(false);
    let answered = answers(Ok(list.clone()), None);
    circumstances.answers = &answered;
    assert_eq!(
        findings.answer(&subject, &requirement, &circumstances),
        Progress::Enough
    );
    assert_eq!(findings.proven(), BTreeMap::from([(query(), list)]));
    let Judgement::Admit(permit) = findings.conclude(&subject, &requirement) else {
        panic!("not admitted");
    };
    assert!(permit.rests_on().digests.contains(signature.manifest().digest()));
}

/// CVE-2024-23332 and the replay of old signed images: a time that nobody vouches for is no time.
#[test]
fn a_minimum_signing_time_counts_authenticated_time_only() {
    let minimum = |text: &str| Conditions {
        minimum_signing_time: Some(time(text)),
        ..Conditions::default()
    };
    let mut by_authority = Trust::anchored_by(root()).with_store("signingAuthority:corp", root());
    by_authority.names = vec!["signingAuthority:corp".parse().unwrap()];
    let vouched = evidence(JWS, &jws().by_signing_authority().envelope(), &image());
    let (corp, claimed) = (Trust::anchored_by(root()), good());
    let before = "2026-04-30T23:59:59Z";
    let after = "2026-05-01T00:00:01Z";
    for (signature, trust, minimum, expected) in [
        (&vouched, &by_authority, minimum(before), None),
        (&vouched, &by_authority, minimum(SIGNED_AT), None),
        (&vouched, &by_authority, minimum(after), Some(Code::SignatureTooOld)),
        (&claimed, &corp, minimum(before), Some(Code::SignatureTooOld)),
        (&claimed, &corp, Conditions::default(), None),
    ] {
        let judged = judge_with(
            std::slice::from_ref(signature),
            trust,
            &minimum,
            &Answers::default(),
            NOW,
        );
        assert_eq!(code(&judged), expected, "{minimum:?}");
    }
}

#[test]
fn every_annotation_of_the_rule_must_be_signed() {
    let mut with = jws();
    let mut payload: serde_json::Value = serde_json::from_slice(&payload(&image())).unwrap();
    payload["targetArtifact"]["annotations"] = serde_json::json!({ "build": "release", "team": "a" });
    with.payload = serde_json::to_vec(&payload).unwrap();
    let signatures = [evidence(JWS, &with.envelope(), &image())];
    let mut invalid = jws();
    payload["targetArtifact"]["annotations"] = serde_json::json!({ "build": 1 });
    invalid.payload = serde_json::to_vec(&payload).unwrap();
    let trust = Trust::anchored_by(root());
    for (wanted, expected) in [
        (&[("build", "release")][..], None),
        (&[("build", "release"), ("team", "a")], None),
        (&[("build", "Release")], Some(Code::AnnotationMismatch)),
        (&[("build", "release"), ("owner", "a")], Some(Code::AnnotationMismatch)),
    ] {
        let conditions = Conditions {
            annotations: wanted
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
            ..Conditions::default()
        };
        let judged = judge_with(&signatures, &trust, &conditions, &Answers::default(), NOW);
        assert_eq!(code(&judged), expected, "{wanted:?}");
        let without = judge_with(&[good()], &trust, &conditions, &Answers::default(), NOW);
        assert_eq!(code(&without), Some(Code::AnnotationMismatch));
    }
    let malformed = [evidence(JWS, &invalid.envelope(), &image())];
    let judged = judge_with(&malformed, &trust, &Conditions::default(), &Answers::default(), NOW);
    assert_eq!(code(&judged), Some(Code::SignatureInvalid));
}
