//! The judgement of one image with one signature, alone: no store, no policy document, no question.
//!
//! What is measured starts from evidence whose digests are checked and ends with a permit: the envelope is parsed, its
//! signature and its chain are verified, and every step is taken. The names are `judge/FORMAT/KEY/CHAIN`; the keys of
//! authorities are P-256.
//!
//! After a `+` stands what a judgement looks at beyond that, from answers in hand:
//!
//! - `CRL`: leaf and intermediate name a list each; both are proved and searched. `CRL-100000`: the leaf's has as many
//!   entries.
//! - `timestamp`: the signature is countersigned by an authority with a chain of three. Together with `CRL` that chain
//!   names lists too.

#[path = "../tests/notation/support.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod support;
#[path = "../tests/timestamps/token.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod token;

use std::hint::black_box;
use std::sync::Arc;

use assay_verify::circumstances::Circumstances;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::evidence::Signature;
use assay_verify::judge::{Finding, Judgement, Requirement, Subject, judge};
use assay_verify::notation::statement::TrustStoreKind;
use assay_verify::notation::trust_store::TrustStore;
use assay_verify::policy::Conditions;
use assay_verify::query::{Answered, Answers, Query};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use criterion::{Criterion, criterion_group, criterion_main};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::Value;

use support::{
    COSE, ChainParts, Cose, INTERMEDIATE_KEY, JWS, Jws, ROOT_KEY, Trust, ca, evidence, image, key, leaf, now,
};
use token::{SHA_256, Token, authority, digest};

const KEYS: [(&str, EnvelopeAlgorithm); 2] = [
    ("RSA-2048", EnvelopeAlgorithm::Ps256),
    ("P-256", EnvelopeAlgorithm::Es256),
];

/// Entries of a list, as a corporate authority has them, and one of the largest.
const FEW: usize = 3;
const MANY: usize = 100_000;

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

/// Measures a judgement, after it was seen to admit, to rest on so many certificates, and to need all of the answers.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    signature: Signature,
    trust: &Trust,
    answers: &Answers,
    certificates: usize,
) {
    let (evidence, descriptor) = ([signature], image());
    let repository = "registry.example/app".parse().unwrap();
    let subject = Subject {
        repository: &repository,
        descriptor: &descriptor,
    };
    let authorities = [("corp", trust.authority())];
    let requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &authorities,
        accept_unverified: false,
        conditions: &Conditions::default(),
    };
    let circumstances = Circumstances {
        answers,
        ..Circumstances::at(now())
    };
    let Judgement::Admit(permit) = judge(&evidence, &subject, &requirement, &circumstances) else {
        panic!("{name} is not admitted");
    };
    let Finding::Signatures(judged) = &permit.reports()[0].finding else {
        panic!("{name} is a signature of notation");
    };
    let verified = judged[0].result.as_ref().unwrap();
    assert_eq!(verified.certificates().count(), certificates, "{name}");
    for (lacking, _) in answers.iter() {
        let mut others = Answers::default();
        let kept = answers.iter().filter(|(query, _)| *query != lacking);
        others.extend(kept.map(|(query, answered)| (query.clone(), answered.clone())));
        let circumstances = Circumstances {
            answers: &others,
            ..circumstances
        };
        let judged = judge(&evidence, &subject, &requirement, &circumstances);
        assert!(matches!(judged, Judgement::Need(_)), "{name} without {lacking}");
    }
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| judge(black_box(&evidence), &subject, &requirement, &circumstances));
    });
}

fn judgements(criterion: &mut Criterion) {
    let nobody_asked = Answers::default();
    for (key, algorithm) in KEYS {
        for length in [1, 3] {
            let chain = chain(length, algorithm);
            let trust = Trust::anchored_by(chain.last().unwrap());
            let jws = evidence(JWS, &Jws::new(algorithm, &chain).envelope(), &image());
            let cose = evidence(COSE, &Cose::new(algorithm, &chain).envelope(), &image());
            for (format, signature) in [("JWS", jws), ("COSE", cose)] {
                let name = format!("judge/{format}/{key}/{length}");
                measure(criterion, &name, signature, &trust, &nobody_asked, length);
            }
        }
    }
}

/// What an authority says of the certificates of its chain.
#[derive(Clone, Copy)]
enum Lists {
    /// They name no list.
    None,
    /// Leaf and intermediate name a list each. That of the leaf has so many entries.
    Entries(usize),
}

/// A chain of three, and the lists that its certificates name.
struct Listed {
    chain: Vec<Vec<u8>>,
    answers: Vec<(Query, Answered)>,
}

impl Listed {
    /// The chain of a leaf below an intermediate and a root with these names; the lists are at `host`.
    fn new(leaf: CertificateParams, algorithm: EnvelopeAlgorithm, name: &str, host: &str, lists: Lists) -> Self {
        let named = |what: &str| {
            let mut params = ca(&format!("{name} {what}"));
            params.key_usages.push(KeyUsagePurpose::CrlSign);
            params
        };
        let root = named("root");
        let (mut intermediate, mut leaf) = (named("intermediate"), leaf);
        let mut answers = vec![];
        if let Lists::Entries(entries) = lists {
            let url = |file: &str| format!("http://{host}/{file}.crl");
            let below_root = list(&root, &ROOT_KEY, FEW);
            let below_intermediate = list(&intermediate, &INTERMEDIATE_KEY, entries);
            for (params, file, list) in [
                (&mut intermediate, "intermediate", below_root),
                (&mut leaf, "leaf", below_intermediate),
            ] {
                params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url(file)] }];
                let answered = Answered {
                    now: Ok(list),
                    kept: None,
                };
                answers.push((Query::Crl(url(file).parse().unwrap()), answered));
            }
        }
        let parts = ChainParts {
            root,
            intermediate: Some(intermediate),
            leaf,
            algorithm,
        };
        Self {
            chain: parts.build(),
            answers,
        }
    }

    fn anchor(&self) -> &[u8] {
        self.chain.last().unwrap()
    }
}

/// A list of other certificates, with serial numbers of 16 bytes and a reason each.
fn list(params: &CertificateParams, key: &KeyPair, entries: usize) -> Arc<[u8]> {
    let entry = |number: usize| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&((1_u128 << 126) + number as u128).to_be_bytes()),
        revocation_time: date_time_ymd(2026, 4, 1),
        reason_code: Some(RevocationReason::Superseded),
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 5, 31),
        next_update: date_time_ymd(2026, 6, 7),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: (0..entries).map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signed = list.signed_by(&Issuer::from_params(params, key)).unwrap();
    signed.der().to_vec().into()
}

/// Has the signature of a JWS countersigned (notation spec: signature-envelope-jws.md#unprotected-headers).
fn countersigned(envelope: &[u8], authority: &[Vec<u8>]) -> Vec<u8> {
    let mut envelope: Value = serde_json::from_slice(envelope).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(envelope["signature"].as_str().unwrap()).unwrap();
    let mut token = Token::new(authority);
    token.info.imprint = digest(SHA_256, &signature);
    envelope["header"]["io.cncf.notary.timestampSignature"] = STANDARD.encode(token.build()).into();
    serde_json::to_vec(&envelope).unwrap()
}

fn judgements_with_more(criterion: &mut Criterion) {
    let cases = [
        ("CRL", Lists::Entries(FEW), false),
        ("CRL-100000", Lists::Entries(MANY), false),
        ("timestamp", Lists::None, true),
        ("timestamp+CRL", Lists::Entries(FEW), true),
    ];
    for (key, algorithm) in KEYS {
        for (more, lists, timestamp) in cases {
            let signer = Listed::new(leaf(), algorithm, "corp", "crl.example", lists);
            let mut trust = Trust::anchored_by(signer.anchor());
            let mut envelope = Jws::new(algorithm, &signer.chain).envelope();
            let mut answers = Answers::default();
            if timestamp {
                let leaf = authority("timestamp authority");
                let stamper = Listed::new(leaf, EnvelopeAlgorithm::Es256, "timestamp", "tsa.example", lists);
                envelope = countersigned(&envelope, &stamper.chain);
                trust = with_timestamp_store(trust, stamper.anchor());
                answers.extend(stamper.answers);
            }
            answers.extend(signer.answers);
            let jws = evidence(JWS, &envelope, &image());
            let name = format!("judge/JWS/{key}/3+{more}");
            measure(criterion, &name, jws, &trust, &answers, if timestamp { 6 } else { 3 });
        }
    }
}

/// Demands a countersignature below this root.
fn with_timestamp_store(mut trust: Trust, root: &[u8]) -> Trust {
    let store = TrustStore::from_files(TrustStoreKind::TimestampAuthority, [("file", root)]).unwrap();
    trust.names.push("tsa:public".parse().unwrap());
    trust.stores.0.insert("tsa:public".parse().unwrap(), Arc::new(store));
    trust
}

criterion_group!(benches, judgements, judgements_with_more);
criterion_main!(benches);
