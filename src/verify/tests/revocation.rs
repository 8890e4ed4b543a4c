//! The revocation material of the Notary Project: chains with CRLs and an OCSP responder, and files with delta CRLs. Each
//! has the outcome that the vectors' MANIFEST says.

#[path = "shared/manifest.rs"]
mod manifest;

use std::collections::BTreeSet;
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::notation::trust_store::parse_file;
use assay_verify::query::{Answered, Answers, Query, Unanswered};
use assay_verify::x509::certificate::Certificate;
use assay_verify::x509::revocation::{
    ChainStatus, Context, LocalRevocation, Outcome, UnknownReason, Validity, check, validity,
};

use manifest::{manifest, read};

/// When all certificates of the vectors are valid, and all CRLs but the one that has lapsed.
const NOW: &str = "2025-06-01T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn crl_query(address: &str) -> Query {
    Query::Crl(address.parse().unwrap())
}

fn judge(chain: &[Certificate], answers: &Answers, local: &LocalRevocation) -> ChainStatus {
    let context = Context {
        answers,
        local,
        now: time(NOW),
        grace: Duration::ZERO,
        authentic_signing_time: None,
    };
    check(chain, &context)
}

fn away() -> Answered {
    Answered {
        now: Err(Unanswered {
            code: Code::RevocationUnknown,
            reason: "away".into(),
        }),
        kept: None,
    }
}

/// The word for an outcome, and the certificate that it is about.
fn word(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::NotRevoked(_) => ("not revoked", String::new()),
        Outcome::Revoked(revoked) => ("revoked", revoked.subject.to_string()),
        Outcome::Unknown(unknown) => ("unknown", unknown.subject.to_string()),
        Outcome::Needs(_) => ("needs", String::new()),
    }
}

/// The word that the MANIFEST's sentence about a CRL means.
fn expected(sentence: &str) -> &'static str {
    match sentence {
        "not revoked" => "not revoked",
        _ if sentence.starts_with("revokes serial") && sentence.ends_with("-> DENY") => "revoked",
        _ if sentence.contains("stale") => "unknown",
        other => panic!("the MANIFEST says of a CRL: {other}"),
    }
}

const CRLS: &str = "notation/config/crl/";
const LEAF_CRL: &str = "http://localhost:10086/leaf.crl";
const INTERMEDIATE_CRL: &str = "http://localhost:10086/intermediate.crl";

#[test]
fn every_crl_has_the_outcome_that_the_manifest_says() {
    let manifest = manifest();
    let chain = parse_file(&read("notation/config/crl/certchain_with_crl.pem")).unwrap();
    let files: Vec<&String> = manifest
        .keys()
        .filter(|file| file.starts_with(CRLS) && file.ends_with(".crl"))
        .collect();
    assert_eq!(files.len(), 5);
    for file in files {
        let of_leaf = file.contains("/leaf");
        let (leaf, intermediate, subject) = match of_leaf {
            true => (file.as_str(), "notation/config/crl/intermediate.crl", "CN=LeafCert"),
            false => ("notation/config/crl/leaf.crl", file.as_str(), "CN=IntermediateCA"),
        };
        let expected = expected(&manifest[file]);

        // First the responder of the intermediate and the list of the leaf; then, nobody being there, its list.
        let mut answers = Answers::default();
        for round in [1, 2] {
            let Outcome::Needs(queries) = judge(&chain, &answers, &LocalRevocation::default()).outcome else {
                // Nothing is needed of the intermediate where the leaf is revoked.
                assert_eq!((of_leaf, expected, round), (true, "revoked", 2), "{file}");
                break;
            };
            for query in queries {
                let answered = match &query {
                    Query::Ocsp { responders, .. } => {
                        assert_eq!(responders[0].as_str(), "http://localhost.test/ocsp");
                        away()
                    }
                    _ if query == crl_query(LEAF_CRL) => Answered {
                        now: Ok(read(leaf).into()),
                        kept: None,
                    },
                    _ => {
                        assert_eq!(query, crl_query(INTERMEDIATE_CRL));
                        Answered {
                            now: Ok(read(intermediate).into()),
                            kept: None,
                        }
                    }
                };
                answers.extend([(query, answered)]);
            }
        }
        let status = judge(&chain, &answers, &LocalRevocation::default());
        let (outcome, about) = word(&status.outcome);
        assert_eq!(outcome, expected, "{file}: {:?}", status.outcome);
        assert!(expected == "not revoked" || about.contains(subject), "{file}: {about}");
        let proven: BTreeSet<Query> = match expected {
            "unknown" => [crl_query(INTERMEDIATE_CRL)].into(),
            "revoked" if of_leaf => [crl_query(LEAF_CRL)].into(),
            _ => [crl_query(LEAF_CRL), crl_query(INTERMEDIATE_CRL)].into(),
        };
        assert_eq!(status.proven, proven, "{file}");

        // From files, nobody has to be asked.
        let contents = [leaf, intermediate].map(|file| (file, read(file)));
        let files = contents.iter().map(|(name, content)| (*name, content.as_slice()));
        let local = LocalRevocation::from_files(files).unwrap();
        let outcome = word(&judge(&chain, &Answers::default(), &local).outcome).0;
        let expected = if expected == "unknown" { "needs" } else { expected };
        assert_eq!(outcome, expected, "{file}");
    }
}

#[test]
fn a_certificate_with_a_responder_is_unknown_where_nobody_answers() {
    let chain = parse_file(&read("notation/config/ocsp/certchain_with_ocsp.pem")).unwrap();
    let Outcome::Needs(queries) = judge(&chain, &Answers::default(), &LocalRevocation::default()).outcome else {
        panic!("nothing is asked");
    };
    let queries: Vec<Query> = queries.into_iter().collect();
    let [Query::Ocsp { responders, .. }] = &queries[..] else {
        panic!("{queries:?}");
    };
    assert_eq!(responders, &["http://localhost:10087".parse().unwrap()]);
    let mut answers = Answers::default();
    answers.insert(queries[0].clone(), away());
    let outcome = judge(&chain, &answers, &LocalRevocation::default()).outcome;
    let Outcome::Unknown(unknown) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(matches!(unknown.why, UnknownReason::Unanswered { .. }));
}

/// There is no certificate of their issuer: what they name is all that can be seen.
#[test]
fn certificates_with_freshest_crls_name_what_the_manifest_says() {
    let manifest = manifest();
    for (name, sentence, crls, deltas) in [
        ("certificateWithDeltaCRL", "cert with CDP + FreshestCRL (1 URL)", 1, 1),
        ("certificateWith2DeltaCRL", "cert with FreshestCRL 2 URLs", 1, 2),
        (
            "certificateWithIncompleteFreshestCRL2",
            "FreshestCRL without fullName -> parses, zero URLs",
            0,
            0,
        ),
        ("certificateWithNonURIDeltaCRL", "FreshestCRL non-URI name", 0, 0),
        ("certificateWithZeroDeltaCRLURL", "FreshestCRL without URL", 1, 0),
    ] {
        let file = format!("notation-core-go/revocation/crl/testdata/{name}.cer");
        assert_eq!(manifest[&file], sentence);
        let certificate = parse_file(&read(&file)).unwrap().remove(0);
        let sources = &certificate.extensions().revocation_sources;
        let addresses = |points: &[assay_verify::x509::revocation_sources::DistributionPoint]| -> usize {
            points.iter().map(|point| point.addresses().len()).sum()
        };
        assert!(!sources.is_empty(), "{name}");
        assert_eq!(addresses(sources.freshest_crl()), deltas, "{name}");
        assert_eq!(addresses(sources.crl()), crls, "{name}");
    }
}

#[test]
fn lists_with_and_of_deltas_are_read() {
    let expected = Validity {
        this_update: time("2024-11-25T07:31:41Z"),
        next_update: Some(time("2024-11-25T07:36:40Z")),
    };
    for name in ["crlWithMultipleFreshestCRLs", "delta"] {
        let content = read(&format!("notation-core-go/revocation/crl/testdata/{name}.crl"));
        assert_eq!(
            validity(&crl_query("http://crl.example"), &content),
            Some(expected),
            "{name}"
        );
        assert!(LocalRevocation::from_files([(name, &content[..])]).is_ok(), "{name}");
    }
}
