//! An image, its evidence and a requirement of one or more authorities.

use std::sync::LazyLock;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::deny_list::DenyList;
use assay_verify::descriptor::Descriptor;
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::judge::{
    AuthorityTerms, Finding, GrantedBy, Judgement, Permit, Rejection, Requirement, Subject, judge,
};
use assay_verify::limits::{MAX_REASON_LENGTH, MAX_SIGNATURES};
use assay_verify::notation::statement::Checks;
use assay_verify::policy::Conditions;
use proptest::prelude::*;

use crate::deny_list::deny;
use crate::support::*;

fn judge_image(
    evidence: &[Signature],
    needed: usize,
    authorities: &[(&str, AuthorityTerms<'_>)],
    accept_unverified: bool,
    now: Timestamp,
) -> Judgement {
    let repository = "registry.example/app".parse().unwrap();
    let descriptor = image();
    let subject = Subject {
        repository: &repository,
        descriptor: &descriptor,
    };
    let requirement = Requirement {
        attestations: &[],
        needed,
        authorities,
        accept_unverified,
        conditions: &Conditions::default(),
    };
    let circumstances = Circumstances {
        denied: &DENIED,
        ..Circumstances::at(now)
    };
    judge(evidence, &subject, &requirement, &circumstances)
}

#[track_caller]
fn admitted(judgement: Judgement) -> Permit {
    match judgement {
        Judgement::Admit(permit) => *permit,
        Judgement::Reject(rejection) => panic!("{}: {}", rejection.code, rejection.reason),
        Judgement::Need(need) => panic!("{:?}", need.queries),
    }
}

#[track_caller]
fn denied(judgement: Judgement) -> Rejection {
    match judgement {
        Judgement::Reject(rejection) => {
            assert!(rejection.reason.len() <= MAX_REASON_LENGTH);
            assert!(rejection.reason.chars().all(|character| matches!(character, ' '..='~')));
            rejection
        }
        Judgement::Admit(permit) => panic!("{permit:?}"),
        Judgement::Need(need) => panic!("{:?}", need.queries),
    }
}

static CORP: LazyLock<Trust> = LazyLock::new(|| Trust::anchored_by(root()));
static STRANGER: LazyLock<Trust> =
    LazyLock::new(|| Trust::anchored_by(ca("stranger").self_signed(&*ROOT_KEY).unwrap().der()));
static STRANGER_IN_AUDIT: LazyLock<Trust> =
    LazyLock::new(|| Trust::anchored_by(ca("stranger").self_signed(&*ROOT_KEY).unwrap().der()).checks(Checks::AUDIT));

/// Signatures that satisfy nobody, each in its own way.
static JUNK: LazyLock<Vec<Signature>> = LazyLock::new(|| {
    let mut expired = jws();
    expired.protected["io.cncf.notary.expiry"] = "2026-05-15T00:00:00Z".into();
    let mut critical = jws();
    critical.protected["x"] = 1.into();
    critical.mark_critical("x");
    let mut tampered = jws().envelope();
    let last = tampered.len() - 4;
    tampered[last] ^= 1;
    let mut other = jws();
    other.payload = payload(&Descriptor { size: 6, ..image() });
    let stranger = ChainParts::default().build();
    vec![
        evidence(JWS, &expired.envelope(), &image()),
        evidence(JWS, &critical.envelope(), &image()),
        evidence(JWS, &tampered, &image()),
        evidence(JWS, &other.envelope(), &image()),
        evidence(JWS, b"", &image()),
        evidence(COSE, b"\xd2\x84", &image()),
        evidence("application/octet-stream", b"junk", &image()),
        evidence(
            JWS,
            &Jws::new(assay_verify::crypto::EnvelopeAlgorithm::Es256, &stranger).envelope(),
            &image(),
        ),
        WITHDRAWN.clone(),
    ]
});
/// A signature like the good one, but for the deny-list.
static WITHDRAWN: LazyLock<Signature> = LazyLock::new(|| evidence(COSE, &cose().envelope(), &image()));
static DENIED: LazyLock<DenyList> =
    LazyLock::new(|| deny(&[&format!(r#""signature": "{}""#, WITHDRAWN.manifest().digest())]));
static GOOD: LazyLock<Signature> = LazyLock::new(good);

#[test]
fn admits_and_says_what_the_permit_rests_on() {
    let mut permit = admitted(judge_image(
        std::slice::from_ref(&*GOOD),
        1,
        &[("corp", CORP.authority())],
        false,
        now(),
    ));
    let [grant] = permit.grants() else { panic!() };
    assert_eq!(grant.authority, "corp");
    let (manifest, envelope) = (GOOD.manifest(), &GOOD.layer().descriptor.digest);
    assert!(matches!(&grant.by, GrantedBy::Signature { manifest: digest, .. } if digest == manifest.digest()));
    let rests_on = permit.rests_on();
    for digest in [&image().digest, manifest.digest(), envelope] {
        assert!(rests_on.digests.contains(digest));
    }
    assert_eq!(rests_on.digests.len(), 3);
    assert_eq!(rests_on.signers().len(), 1);
    assert_eq!(permit.interval().not_before, time(NOT_BEFORE));
    assert_eq!(permit.interval().until, time(EXPIRY));
    assert!(permit.reports()[0].satisfied);
    let (grants, rests_on) = (permit.grants().to_vec(), permit.rests_on().clone());
    assert!(permit.take_reports()[0].satisfied);
    assert!(permit.reports().is_empty());
    assert_eq!((permit.grants(), permit.rests_on()), (&grants[..], &rests_on));
}

#[test]
fn the_answer_changes_exactly_at_the_ends_of_the_interval() {
    let authorities = [("corp", CORP.authority())];
    let at = |now| {
        matches!(
            judge_image(std::slice::from_ref(&*GOOD), 1, &authorities, false, now),
            Judgement::Admit(_)
        )
    };
    let shifted = |text: &str, seconds: i64| Timestamp::from_second(time(text).as_second() + seconds).unwrap();
    assert!(!at(shifted(NOT_BEFORE, -1)));
    assert!(at(time(NOT_BEFORE)));
    assert!(at(shifted(EXPIRY, -1)));
    assert!(!at(time(EXPIRY)));
}

#[test]
fn an_unsigned_image_is_unsigned() {
    let rejection = denied(judge_image(
        &[],
        2,
        &[("corp", CORP.authority()), ("other", STRANGER.authority())],
        true,
        now(),
    ));
    assert_eq!(rejection.code, Code::Unsigned);
    assert_eq!(rejection.reason, "no signature by corp and other was found");
}

#[test]
fn a_requirement_of_nothing_is_never_satisfied() {
    let evidence = [GOOD.clone()];
    for (needed, authorities) in [(0, &[][..]), (0, &[("corp", CORP.authority())][..]), (1, &[][..])] {
        let rejection = denied(judge_image(&evidence, needed, authorities, true, now()));
        assert_eq!(rejection.code, Code::PolicyInvalid, "{needed}");
    }
}

#[test]
fn counts_authorities_and_each_once() {
    let evidence = [GOOD.clone()];
    let (corp, stranger) = (CORP.authority(), STRANGER.authority());
    let second = CORP.authority();
    for (needed, authorities, expected) in [
        (1, &[("corp", corp), ("stranger", stranger)][..], true),
        (1, &[("stranger", stranger), ("corp", corp)][..], true),
        (2, &[("stranger", stranger), ("corp", corp)][..], false),
        (2, &[("a", corp), ("stranger", stranger), ("b", second)][..], true),
        (2, &[("corp", corp), ("corp", second)][..], false),
        (2, &[("corp", corp)][..], false),
        (usize::MAX, &[("corp", corp)][..], false),
    ] {
        let judgement = judge_image(&evidence, needed, authorities, false, now());
        assert_eq!(matches!(judgement, Judgement::Admit(_)), expected, "{needed}");
    }
    let rejection = denied(judge_image(
        &evidence,
        2,
        &[("corp", corp), ("stranger", stranger)],
        false,
        now(),
    ));
    assert_eq!(rejection.code, Code::UntrustedSigner);
    assert!(
        rejection.reason.starts_with("1 of 2 authorities satisfied; stranger: "),
        "{}",
        rejection.reason
    );
}

#[test]
fn a_logged_authenticity_failure_satisfies_nothing_unless_accepted() {
    let evidence = [GOOD.clone()];
    let authorities = [("stranger", STRANGER_IN_AUDIT.authority())];
    let rejection = denied(judge_image(&evidence, 1, &authorities, false, now()));
    assert_eq!(rejection.code, Code::UntrustedSigner);
    let permit = admitted(judge_image(&evidence, 1, &authorities, true, now()));
    assert!(matches!(
        permit.grants()[0].by,
        GrantedBy::UnauthenticatedSignature { .. }
    ));
    assert_eq!(permit.rests_on().signers().len(), 1);
    // Acceptance is of signatures, not of their absence.
    assert_eq!(
        denied(judge_image(&[], 1, &authorities, true, now())).code,
        Code::Unsigned
    );
    assert_eq!(
        denied(judge_image(&JUNK[2..3], 1, &authorities, true, now())).code,
        Code::SignatureInvalid
    );
}

#[test]
fn a_skipped_level_satisfies_nothing_unless_accepted() {
    let authorities = [("corp", AuthorityTerms::Skip)];
    let rejection = denied(judge_image(std::slice::from_ref(&*GOOD), 1, &authorities, false, now()));
    assert_eq!(rejection.code, Code::Unsigned);
    assert!(matches!(rejection.reports[0].finding, Finding::Skipped));
    let permit = admitted(judge_image(&[], 1, &authorities, true, now()));
    assert_eq!(permit.grants()[0].by, GrantedBy::Nothing);
    assert_eq!(permit.rests_on().digests.len(), 1);
}

#[test]
fn an_authority_without_a_statement_for_the_repository_is_never_satisfied() {
    let reason = "no statement applies to registry.example/app";
    let authorities = [("corp", AuthorityTerms::NotApplicable { reason })];
    let rejection = denied(judge_image(std::slice::from_ref(&*GOOD), 1, &authorities, true, now()));
    assert_eq!(rejection.code, Code::NoMatchingRule);
    assert_eq!(rejection.reason, format!("corp: {reason}"));
}

#[test]
fn the_failure_that_came_closest_is_the_reason() {
    let authorities = [("corp", CORP.authority())];
    let code = |evidence: &[Signature]| denied(judge_image(evidence, 1, &authorities, false, now())).code;
    assert_eq!(code(&JUNK[0..1]), Code::SignatureExpired);
    assert_eq!(code(&JUNK[1..2]), Code::SignatureUnsupported);
    assert_eq!(code(&JUNK[2..3]), Code::SignatureInvalid);
    assert_eq!(code(&JUNK[3..4]), Code::SubjectMismatch);
    assert_eq!(code(&JUNK[7..8]), Code::UntrustedSigner);
    assert_eq!(code(&JUNK[8..9]), Code::DeniedByList);
    assert_eq!(code(&JUNK), Code::DeniedByList);
    // Whatever the order.
    let mut evidence = vec![JUNK[0].clone(), JUNK[2].clone(), JUNK[7].clone()];
    assert_eq!(code(&evidence), Code::SignatureExpired);
    evidence.reverse();
    assert_eq!(code(&evidence), Code::SignatureExpired);
    let rejection = denied(judge_image(&evidence, 1, &authorities, false, now()));
    assert_eq!(
        rejection.reason,
        "corp: the signature expired at 2026-05-15T00:00:00Z (the closest of 3 signatures)"
    );
}

#[test]
fn more_signatures_than_the_limit_are_not_judged() {
    let authorities = [("corp", CORP.authority())];
    let mut evidence = vec![JUNK[4].clone(); MAX_SIGNATURES];
    evidence.push(GOOD.clone());
    let rejection = denied(judge_image(&evidence, 1, &authorities, false, now()));
    assert_eq!(rejection.code, Code::LimitExceeded);
    let Finding::Signatures(judged) = &rejection.reports[0].finding else {
        panic!()
    };
    assert_eq!(judged.len(), MAX_SIGNATURES);
    // One less, and the good one is the last that counts.
    evidence.remove(0);
    admitted(judge_image(&evidence, 1, &authorities, false, now()));
}

#[test]
fn the_reason_is_one_bounded_line_whatever_the_names_are() {
    let name = "n\n\u{202e}".repeat(400);
    let rejection = denied(judge_image(&JUNK, 1, &[(&name, CORP.authority())], false, now()));
    assert!(rejection.reason.ends_with("..."));
}

/// One image under another media type is another question.
#[test]
fn one_digest_with_two_media_types_is_judged_apart() {
    let repository = "registry.example/app".parse().unwrap();
    let index = Descriptor {
        media_type: assay_verify::descriptor::MediaType::parse("application/vnd.oci.image.index.v1+json").unwrap(),
        ..image()
    };
    let subject = Subject {
        repository: &repository,
        descriptor: &index,
    };
    let requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &[("corp", CORP.authority())],
        accept_unverified: false,
        conditions: &Conditions::default(),
    };
    let judgement = judge(
        std::slice::from_ref(&*GOOD),
        &subject,
        &requirement,
        &Circumstances::at(now()),
    );
    assert_eq!(denied(judgement).code, Code::SubjectMismatch);
}

/// The twin of the admit: any byte of the envelope changed, with a manifest that describes the changed one, admits only
/// where nothing that is signed was changed.
#[test]
fn a_changed_byte_admits_nothing_that_was_not_signed() {
    let envelope = jws().envelope();
    let authorities = [("corp", CORP.authority())];
    let mut denials = 0;
    for position in (0..envelope.len()).step_by(3) {
        let mut changed = envelope.clone();
        changed[position] ^= 1;
        let evidence = [evidence(JWS, &changed, &image())];
        match judge_image(&evidence, 1, &authorities, false, now()) {
            Judgement::Reject(_) => denials += 1,
            Judgement::Need(need) => panic!("{:?}", need.queries),
            Judgement::Admit(permit) => {
                assert!(permit.rests_on().digests.contains(&Digest::sha256(&changed)));
                assert_eq!(permit.interval().until, time(EXPIRY));
            }
        }
    }
    assert!(denials > envelope.len() / 3 - 25, "{denials}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Junk around the evidence, in any order, never turns an admit into a denial.
    #[test]
    fn more_signatures_never_turn_an_admit_into_a_denial(
        junk in proptest::collection::vec(0..JUNK.len(), 0..20),
        position in any::<proptest::sample::Index>(),
        strict in any::<bool>(),
        accept_unverified in any::<bool>(),
    ) {
        let other = if strict { STRANGER.authority() } else { STRANGER_IN_AUDIT.authority() };
        let authorities = [("stranger", other), ("corp", CORP.authority())];
        let mut evidence: Vec<_> = junk.iter().map(|kind| JUNK[*kind].clone()).collect();
        let position = position.index(evidence.len() + 1);
        evidence.insert(position, GOOD.clone());
        for needed in [1, 2] {
            let alone = judge_image(std::slice::from_ref(&*GOOD), needed, &authorities, accept_unverified, now());
            let among = judge_image(&evidence, needed, &authorities, accept_unverified, now());
            if matches!(alone, Judgement::Admit(_)) {
                prop_assert!(matches!(among, Judgement::Admit(_)));
            }
        }
    }

    /// And junk alone never admits.
    #[test]
    fn junk_is_never_admitted(junk in proptest::collection::vec(0..JUNK.len(), 0..20)) {
        let evidence: Vec<_> = junk.iter().map(|kind| JUNK[*kind].clone()).collect();
        let judgement = judge_image(&evidence, 1, &[("corp", CORP.authority())], true, now());
        prop_assert!(matches!(judgement, Judgement::Reject(_)));
    }
}
