//! Signatures of files: what they have to be of, and everything that they have in common with those of images.

use std::collections::BTreeMap;

use assay_verify::artifact::{ArtifactDigest, Blob, BlobHasher};
use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::crypto::{EnvelopeAlgorithm, Hash};
use assay_verify::digest::Digest;
use assay_verify::envelope::Format;
use assay_verify::notation::signature::{Asked, BlobJudgement, NotVerified, StepOutcome, verify_blob};
use assay_verify::notation::statement::Checks;
use assay_verify::notation::steps::{self, Step};
use assay_verify::policy::Conditions;
use serde_json::json;

use crate::support::*;

const FILE: &[u8] = b"the bill of materials";
const MEDIA_TYPE: &str = "application/spdx+json";

fn hashed(hash: Hash, content: &[u8], media_type: Option<&str>) -> Blob {
    let mut hasher = BlobHasher::new(hash);
    hasher.update(content);
    hasher.finish(media_type)
}

fn payload_of(media_type: &str, digest: &ArtifactDigest, size: u64) -> Vec<u8> {
    serde_json::to_vec(&json!({"targetArtifact": {
        "mediaType": media_type,
        "digest": digest.to_string(),
        "size": size,
        "annotations": {"build": "7"},
    }}))
    .unwrap()
}

/// A signature of [`FILE`] as notation makes it.
fn signed(algorithm: EnvelopeAlgorithm) -> (Jws, Trust) {
    let chain = ChainParts {
        algorithm,
        ..ChainParts::default()
    }
    .build();
    let blob = hashed(algorithm.hash(), FILE, None);
    let mut jws = Jws::new(algorithm, &chain);
    jws.payload = payload_of(MEDIA_TYPE, &blob.digest, blob.size);
    (jws, Trust::anchored_by(&chain[1]))
}

fn judge_with(envelope: &[u8], blob: &Blob, trust: &Trust, conditions: &Conditions, now: &str) -> BlobJudgement {
    let asked = Asked {
        target: blob,
        terms: trust.terms(),
        stores: &trust.stores,
        conditions,
    };
    let opened = steps::open(Format::Jws, envelope);
    verify_blob(&opened, &asked, &Circumstances::at(time(now)))
}

fn judge(envelope: &[u8], blob: &Blob, trust: &Trust) -> BlobJudgement {
    judge_with(envelope, blob, trust, &Conditions::default(), NOW)
}

fn code(judgement: &BlobJudgement) -> Option<(Step, Code)> {
    match judgement.result.as_ref().err()? {
        NotVerified::Rejected(rejected) => Some((rejected.step, rejected.code())),
        NotVerified::Needs(queries) => panic!("{queries:?}"),
    }
}

#[test]
fn accepts_a_file_signed_with_every_algorithm_by_its_own_hash() {
    for algorithm in ALGORITHMS {
        let (jws, trust) = signed(algorithm);
        let blob = hashed(algorithm.hash(), FILE, None);
        let judgement = judge(&jws.envelope(), &blob, &trust);
        assert_eq!(code(&judgement), None, "{algorithm:?}");
        let subject = judgement
            .steps
            .iter()
            .find(|report| report.step == Step::Subject)
            .unwrap();
        assert_eq!(
            subject.outcome,
            StepOutcome::Passed("the payload names this file".to_owned())
        );
    }
}

#[test]
fn denies_another_file_size_or_media_type() {
    let (jws, trust) = signed(EnvelopeAlgorithm::Es384);
    let envelope = jws.envelope();
    let good = hashed(Hash::Sha384, FILE, None);
    let changed = [&FILE[..FILE.len() - 1], b"S"].concat();
    let mismatch = Some((Step::Subject, Code::SubjectMismatch));
    for (what, blob, expected) in [
        ("the file", good.clone(), None),
        ("its type", hashed(Hash::Sha384, FILE, Some(MEDIA_TYPE)), None),
        ("another type", hashed(Hash::Sha384, FILE, Some("image/jpeg")), mismatch),
        (
            "another case",
            hashed(Hash::Sha384, FILE, Some("application/SPDX+json")),
            mismatch,
        ),
        ("no type", hashed(Hash::Sha384, FILE, Some("")), mismatch),
        ("a changed byte", hashed(Hash::Sha384, &changed, None), mismatch),
        ("a byte less", hashed(Hash::Sha384, &FILE[1..], None), mismatch),
        ("nothing", hashed(Hash::Sha384, b"", None), mismatch),
        ("another hash", hashed(Hash::Sha256, FILE, None), mismatch),
        (
            "another size",
            Blob {
                size: good.size + 1,
                ..good
            },
            mismatch,
        ),
    ] {
        assert_eq!(code(&judge(&envelope, &blob, &trust)), expected, "{what}");
    }
}

#[test]
fn denies_a_file_that_is_named_by_another_hash_than_the_algorithms() {
    let (mut jws, trust) = signed(EnvelopeAlgorithm::Es512);
    let weaker = hashed(Hash::Sha256, FILE, None);
    jws.payload = payload_of(MEDIA_TYPE, &weaker.digest, weaker.size);
    let judgement = judge(&jws.envelope(), &weaker, &trust);
    assert_eq!(code(&judgement), Some((Step::Subject, Code::SubjectMismatch)));
    let Err(NotVerified::Rejected(rejected)) = &judgement.result else {
        panic!("{judgement:?}")
    };
    let message = rejected.failure.to_string();
    assert!(message.ends_with("its algorithm's hash is sha512"), "{message}");
}

#[test]
fn a_media_type_may_have_parameters_and_is_compared_whole() {
    const TYPE: &str = "text/plain; charset=utf-8";
    let (mut jws, trust) = signed(EnvelopeAlgorithm::Es256);
    let blob = |media_type| hashed(Hash::Sha256, FILE, Some(media_type));
    jws.payload = payload_of(TYPE, &blob(TYPE).digest, FILE.len() as u64);
    assert_eq!(code(&judge(&jws.envelope(), &blob(TYPE), &trust)), None);
    assert!(code(&judge(&jws.envelope(), &blob("text/plain"), &trust)).is_some());
}

#[test]
fn denies_what_the_steps_of_images_deny() {
    let (jws, trust) = signed(EnvelopeAlgorithm::Es256);
    let envelope = jws.envelope();
    let blob = hashed(Hash::Sha256, FILE, None);
    let wanting = |key: &str, value: &str| Conditions {
        annotations: BTreeMap::from([(key.into(), value.into())]),
        ..Conditions::default()
    };
    let any = Conditions::default();
    let stranger = ca("stranger").self_signed(&*INTERMEDIATE_KEY).unwrap();
    for (what, trust, conditions, now, expected) in [
        ("a good one", &trust, &any, NOW, None),
        (
            "expired",
            &trust,
            &any,
            EXPIRY,
            Some((Step::Expiry, Code::SignatureExpired)),
        ),
        ("the metadata", &trust, &wanting("build", "7"), NOW, None),
        (
            "other metadata",
            &trust,
            &wanting("build", "8"),
            NOW,
            Some((Step::Annotations, Code::AnnotationMismatch)),
        ),
        (
            "no such metadata",
            &trust,
            &wanting("Build", "7"),
            NOW,
            Some((Step::Annotations, Code::AnnotationMismatch)),
        ),
        (
            "a stranger",
            &Trust::anchored_by(stranger.der()),
            &any,
            NOW,
            Some((Step::Authenticity, Code::UntrustedSigner)),
        ),
    ] {
        let judgement = judge_with(&envelope, &blob, trust, conditions, now);
        assert_eq!(code(&judgement), expected, "{what}");
    }
    let unauthenticated = Trust::anchored_by(stranger.der()).checks(Checks::AUDIT);
    let judgement = judge_with(&envelope, &blob, &unauthenticated, &any, NOW);
    assert!(judgement.result.unwrap().unauthenticated().is_some());
    let broken = judge(b"{}", &blob, &trust);
    assert_eq!(code(&broken), Some((Step::Integrity, Code::SignatureInvalid)));
    assert_eq!(broken.steps.len(), Step::ALL.len());
}

#[test]
fn a_signature_of_a_file_is_none_of_an_image_of_the_same_bytes() {
    let (jws, trust) = signed(EnvelopeAlgorithm::Es384);
    let signature = evidence(JWS, &jws.envelope(), &image());
    let asked = Asked {
        target: &image(),
        terms: trust.terms(),
        stores: &trust.stores,
        conditions: &Conditions::default(),
    };
    let judgement = assay_verify::notation::signature::verify(&signature, &asked, &Circumstances::at(now()));
    let Err(NotVerified::Rejected(rejected)) = judgement.result else {
        panic!("{judgement:?}")
    };
    assert_eq!((rejected.step, rejected.code()), (Step::Subject, Code::SubjectMismatch));
}

#[test]
fn a_digest_of_content_is_none_by_sha384() {
    let blob = hashed(Hash::Sha384, FILE, None);
    assert!(blob.digest.to_string().parse::<Digest>().is_err());
}
