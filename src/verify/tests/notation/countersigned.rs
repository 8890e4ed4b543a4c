//! Countersignatures of timestamp authorities, as part of a judgement.

use std::sync::Arc;

use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::deny_list::DenyList;
use assay_verify::evidence::Signature;
use assay_verify::notation::signature::{Asked, NotVerified, SignatureJudgement, Terms, verify};
use assay_verify::notation::statement::{Action, Checks, RevocationAction, TrustStoreKind};
use assay_verify::notation::steps::{Interval, Step};
use assay_verify::notation::trust_policy::VerifyTimestamp;
use assay_verify::notation::trust_store::TrustStore;
use assay_verify::policy::Conditions;
use assay_verify::query::{Answered, Answers, Query};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, Issuer, KeyIdMethod, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use serde_json::Value;

use crate::support::*;
use crate::token::{SHA_256, Token, authority, digest, integer, sequence};

/// After every certificate has ended.
const LATE: &str = "2028-01-01T00:00:00Z";
const TSA_CRL: &str = "http://tsa.example/crl";
const TSA_SERIAL: u64 = 99;

/// A signer's chain, and a timestamp authority's that can be revoked.
pub(crate) struct Chains {
    pub(crate) signer: Vec<Vec<u8>>,
    pub(crate) time: Vec<Vec<u8>>,
}

fn time_authority() -> ChainParts {
    let mut leaf = authority("timestamp authority");
    leaf.serial_number = Some(SerialNumber::from(TSA_SERIAL));
    leaf.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec![TSA_CRL.to_owned()],
    }];
    let mut intermediate = ca("time intermediate");
    intermediate.key_usages.push(KeyUsagePurpose::CrlSign);
    ChainParts {
        root: ca("time root"),
        intermediate: Some(intermediate),
        leaf,
        algorithm: EnvelopeAlgorithm::Es256,
    }
}

impl Chains {
    pub(crate) fn new(signer: ChainParts) -> Self {
        Self {
            signer: signer.build(),
            time: time_authority().build(),
        }
    }

    /// A signature with the token that `token` makes of a good one.
    pub(crate) fn sign(&self, change: impl FnOnce(&mut Token)) -> Signature {
        let envelope = Jws::new(EnvelopeAlgorithm::Es256, &self.signer).envelope();
        let mut envelope: Value = serde_json::from_slice(&envelope).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(envelope["signature"].as_str().unwrap()).unwrap();
        let mut token = Token::new(&self.time);
        token.info.imprint = digest(SHA_256, &signature);
        change(&mut token);
        envelope["header"]["io.cncf.notary.timestampSignature"] = STANDARD.encode(token.build()).into();
        evidence(JWS, &serde_json::to_vec(&envelope).unwrap(), &image())
    }

    pub(crate) fn unstamped(&self) -> Signature {
        evidence(
            JWS,
            &Jws::new(EnvelopeAlgorithm::Es256, &self.signer).envelope(),
            &image(),
        )
    }

    /// Trusts both roots; the signature's own expiry is only logged, because these tests look far into the future.
    pub(crate) fn trust(&self, checks: Checks) -> Trust {
        let mut trust = Trust::anchored_by(self.signer.last().unwrap()).checks(Checks {
            expiry: Action::Log,
            ..checks
        });
        trust.names.push("tsa:time".parse().unwrap());
        let root = self.time.last().unwrap().as_slice();
        let store = TrustStore::from_files(TrustStoreKind::TimestampAuthority, [("root", root)]).unwrap();
        trust.stores.0.insert("tsa:time".parse().unwrap(), Arc::new(store));
        trust
    }
}

/// What the timestamp authority's issuer says.
pub(crate) fn answers(revoked: bool) -> Answers {
    let mut params = ca("time intermediate");
    params.key_usages.push(KeyUsagePurpose::CrlSign);
    let entry = RevokedCertParams {
        serial_number: SerialNumber::from(TSA_SERIAL),
        revocation_time: date_time_ymd(2026, 5, 20),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 5, 21),
        next_update: date_time_ymd(2029, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: if revoked { vec![entry] } else { Vec::new() },
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list
        .signed_by(&Issuer::from_params(&params, &*INTERMEDIATE_KEY))
        .unwrap();
    let mut answers = Answers::default();
    let answered = Answered {
        now: Ok(list.der().to_vec().into()),
        kept: None,
    };
    answers.insert(Query::Crl(TSA_CRL.parse().unwrap()), answered);
    answers
}

pub(crate) struct Judge<'a> {
    pub(crate) trust: &'a Trust,
    pub(crate) when: VerifyTimestamp,
    pub(crate) conditions: Conditions,
    pub(crate) answers: Answers,
    pub(crate) denied: DenyList,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(trust: &'a Trust) -> Self {
        Self {
            trust,
            when: VerifyTimestamp::Always,
            conditions: Conditions::default(),
            answers: answers(false),
            denied: DenyList::default(),
        }
    }

    pub(crate) fn judge(&self, signature: &Signature, now: &str) -> SignatureJudgement {
        let asked = Asked {
            target: &image(),
            terms: Terms {
                verify_timestamp: self.when,
                ..self.trust.terms()
            },
            stores: &self.trust.stores,
            conditions: &self.conditions,
        };
        let circumstances = Circumstances {
            answers: &self.answers,
            denied: &self.denied,
            ..Circumstances::at(time(now))
        };
        verify(signature, &asked, &circumstances)
    }

    /// The step and the code that ended it; nothing where it is verified.
    pub(crate) fn ended(&self, signature: &Signature, now: &str) -> Option<(Step, Code)> {
        match self.judge(signature, now).result {
            Ok(_) => None,
            Err(NotVerified::Rejected(rejected)) => Some((rejected.step, rejected.code())),
            Err(NotVerified::Needs(queries)) => panic!("{queries:?}"),
        }
    }
}

const INVALID: Option<(Step, Code)> = Some((Step::AuthenticTimestamp, Code::TimestampInvalid));
const REQUIRED: Option<(Step, Code)> = Some((Step::AuthenticTimestamp, Code::TimestampRequired));
const EXPIRED: Option<(Step, Code)> = Some((Step::AuthenticTimestamp, Code::CertificateExpired));

#[test]
fn a_countersigned_signature_outlives_its_certificates() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let trust = chains.trust(Checks::STRICT);
    let signature = chains.sign(|_| {});
    for when in [VerifyTimestamp::Always, VerifyTimestamp::AfterCertificateExpiry] {
        let judge = Judge {
            when,
            ..Judge::new(&trust)
        };
        let judgement = judge.judge(&signature, LATE);
        let verified = judgement.result.unwrap();
        // What counts is past; only the authority's list has to be had again.
        assert_eq!(verified.authentic_timestamp().interval(), Interval::ALWAYS);
        assert_eq!(verified.interval().until, time("2029-01-01T00:00:00Z"));
        assert_eq!(verified.certificates().count(), 6);
    }
}

#[test]
fn a_countersignature_is_asked_for_where_the_statement_says_so() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let trust = chains.trust(Checks::STRICT);
    let mut without_store = chains.trust(Checks::STRICT);
    without_store.names.pop();
    let (always, after) = (VerifyTimestamp::Always, VerifyTimestamp::AfterCertificateExpiry);
    let junk = chains.sign(|token| token.version = 1);
    for (trust, when, signature, now, expected) in [
        (&trust, always, &chains.unstamped(), NOW, REQUIRED),
        (&trust, after, &chains.unstamped(), NOW, None),
        (&trust, after, &chains.unstamped(), LATE, REQUIRED),
        (&trust, always, &junk, NOW, INVALID),
        // Nobody looks at it before a certificate has expired, nor without a store.
        (&trust, after, &junk, NOW, None),
        (&trust, after, &junk, LATE, INVALID),
        (&without_store, always, &junk, NOW, None),
        (&without_store, always, &chains.sign(|_| {}), LATE, EXPIRED),
    ] {
        let judge = Judge {
            when,
            ..Judge::new(trust)
        };
        assert_eq!(judge.ended(signature, now), expected, "{when:?} at {now}");
    }
}

/// CVE-2026-24122: an intermediate that had ended before the time of the signature.
#[test]
fn every_certificate_was_valid_at_the_time_of_the_countersignature() {
    let mut ended = ChainParts::with_intermediate();
    ended.intermediate.as_mut().unwrap().not_after = date_time_ymd(2026, 4, 1);
    let mut later = ChainParts::with_intermediate();
    later.leaf.not_before = date_time_ymd(2026, 5, 2);
    for parts in [ended, later] {
        let chains = Chains::new(parts);
        let trust = chains.trust(Checks::STRICT);
        assert_eq!(Judge::new(&trust).ended(&chains.sign(|_| {}), LATE), INVALID);
    }
}

/// The whole time in which the token may have been made counts, not its middle.
#[test]
fn the_accuracy_of_the_countersignature_lies_inside_every_validity() {
    let mut parts = ChainParts::with_intermediate();
    parts.leaf.not_before = date_time_ymd(2026, 5, 1);
    let chains = Chains::new(parts);
    let trust = chains.trust(Checks::STRICT);
    let exact = chains.sign(|_| {});
    assert_eq!(Judge::new(&trust).ended(&exact, LATE), None);
    let a_second = chains.sign(|token| token.info.rest = sequence([&integer(1)]));
    assert_eq!(Judge::new(&trust).ended(&a_second, LATE), INVALID);
}

#[test]
fn a_countersignature_of_another_signature_or_of_a_stranger_is_none() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let trust = chains.trust(Checks::STRICT);
    let borrowed = chains.sign(|token| token.info.imprint = digest(SHA_256, b"another signature"));
    assert_eq!(Judge::new(&trust).ended(&borrowed, NOW), INVALID);
    let mut of_another = chains.trust(Checks::STRICT);
    let stranger = ca("time root").self_signed(key(EnvelopeAlgorithm::Es256)).unwrap();
    let store = TrustStore::from_files(TrustStoreKind::TimestampAuthority, [("root", &stranger.der()[..])]).unwrap();
    of_another.stores.0.insert("tsa:time".parse().unwrap(), Arc::new(store));
    assert_eq!(Judge::new(&of_another).ended(&chains.sign(|_| {}), NOW), INVALID);
}

/// CVE-2024-56138. The authority's revocation is no part of what a level says of the signer's.
#[test]
fn a_revoked_timestamp_authority_ends_its_timestamps_whatever_the_level() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let signature = chains.sign(|_| {});
    for revocation in [RevocationAction::Enforce, RevocationAction::Skip] {
        let trust = chains.trust(Checks {
            revocation,
            ..Checks::STRICT
        });
        let revoked = Judge {
            answers: answers(true),
            ..Judge::new(&trust)
        };
        let expected = Some((Step::TimestampRevocation, Code::CertificateRevoked));
        assert_eq!(revoked.ended(&signature, LATE), expected);
        let unasked = Judge {
            answers: Answers::default(),
            ..Judge::new(&trust)
        };
        let judgement = unasked.judge(&signature, LATE);
        assert!(matches!(judgement.result, Err(NotVerified::Needs(_))));
    }
}

/// A stolen key of a timestamp authority would make old signatures young, also where a level only logs timestamps.
#[test]
fn a_minimum_signing_time_never_rests_on_a_revoked_timestamp_authority() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let signature = chains.sign(|_| {});
    let trust = chains.trust(Checks {
        authentic_timestamp: Action::Log,
        ..Checks::STRICT
    });
    let minimum = |text: &str| Conditions {
        minimum_signing_time: Some(time(text)),
        ..Conditions::default()
    };
    let revoked = Some((Step::TimestampRevocation, Code::CertificateRevoked));
    let too_old = Some((Step::SigningTime, Code::SignatureTooOld));
    for (conditions, answers, expected) in [
        (Conditions::default(), answers(true), None),
        (minimum("2026-04-30T00:00:00Z"), answers(false), None),
        (minimum("2026-04-30T00:00:00Z"), answers(true), revoked),
        (minimum("2026-05-01T00:00:01Z"), answers(false), too_old),
    ] {
        let judge = Judge {
            conditions,
            answers,
            ..Judge::new(&trust)
        };
        assert_eq!(judge.ended(&signature, LATE), expected);
    }
}

/// The minimum asks for authenticated time, so a token is looked at although the statement would not need it yet.
#[test]
fn a_minimum_signing_time_looks_at_a_countersignature_before_certificates_expire() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let trust = chains.trust(Checks::STRICT);
    let judge = Judge {
        when: VerifyTimestamp::AfterCertificateExpiry,
        conditions: Conditions {
            minimum_signing_time: Some(time("2026-04-30T00:00:00Z")),
            ..Conditions::default()
        },
        ..Judge::new(&trust)
    };
    assert_eq!(judge.ended(&chains.sign(|_| {}), NOW), None);
    let too_old = Some((Step::SigningTime, Code::SignatureTooOld));
    assert_eq!(judge.ended(&chains.unstamped(), NOW), too_old);
    assert_eq!(judge.ended(&chains.sign(|token| token.version = 1), NOW), INVALID);
}
