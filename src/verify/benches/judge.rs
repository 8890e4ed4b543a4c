//! The judgement of one image with one signature, alone: no store, no policy document, no question.
//!
//! What is measured starts from evidence whose digests are checked and ends with a permit: the envelope is parsed, its
//! signature and its chain are verified, and every step is taken. The names are `judge/FORMAT/KEY/CHAIN`; the keys of
//! authorities are P-256.

#[path = "../tests/notation/support.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod support;

use std::hint::black_box;

use assay_verify::circumstances::Circumstances;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::evidence::Signature;
use assay_verify::judge::{Judgement, Requirement, Subject, judge};
use assay_verify::policy::Conditions;
use criterion::{Criterion, criterion_group, criterion_main};

use support::{COSE, ChainParts, Cose, JWS, Jws, Trust, evidence, image, key, leaf, now};

const KEYS: [(&str, EnvelopeAlgorithm); 2] = [
    ("RSA-2048", EnvelopeAlgorithm::Ps256),
    ("P-256", EnvelopeAlgorithm::Es256),
];

/// A chain of one certificate, which signs itself, or of three.
fn chain(length: usize, algorithm: EnvelopeAlgorithm) -> Vec<Vec<u8>> {
    match length {
        1 => vec![leaf().self_signed(key(algorithm)).unwrap().der().to_vec()],
        _ => ChainParts {
            algorithm,
            ..ChainParts::with_intermediate()
        }
        .build(),
    }
}

fn measure(criterion: &mut Criterion, name: &str, signature: Signature, anchor: &[u8]) {
    let (evidence, descriptor, trust) = ([signature], image(), Trust::anchored_by(anchor));
    let repository = "registry.example/app".parse().unwrap();
    let subject = Subject {
        repository: &repository,
        descriptor: &descriptor,
    };
    let authorities = [("corp", trust.authority())];
    let requirement = Requirement {
        needed: 1,
        authorities: &authorities,
        accept_unverified: false,
        conditions: &Conditions::default(),
    };
    let judged = judge(&evidence, &subject, &requirement, &Circumstances::at(now()));
    assert!(matches!(judged, Judgement::Admit(_)), "{name}: {judged:?}");
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| judge(black_box(&evidence), &subject, &requirement, &Circumstances::at(now())));
    });
}

fn judgements(criterion: &mut Criterion) {
    for (key, algorithm) in KEYS {
        for length in [1, 3] {
            let chain = chain(length, algorithm);
            let anchor = chain.last().unwrap();
            let jws = evidence(JWS, &Jws::new(algorithm, &chain).envelope(), &image());
            let cose = evidence(COSE, &Cose::new(algorithm, &chain).envelope(), &image());
            measure(criterion, &format!("judge/JWS/{key}/{length}"), jws, anchor);
            measure(criterion, &format!("judge/COSE/{key}/{length}"), cose, anchor);
        }
    }
}

criterion_group!(benches, judgements);
criterion_main!(benches);
