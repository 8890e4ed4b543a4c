//! Real material of the Notary Project and its neighbours: every certificate file and envelope has the outcome that the
//! vectors' MANIFEST says, or is in `divergences.tsv` with the reason.
//!
//! `vectors.tsv` says what each file is read as and which outcome is expected. A file of the MANIFEST that is in neither
//! table fails, and so does a divergence that is none any more.

#[path = "shared/manifest.rs"]
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::descriptor::Descriptor;
use assay_verify::envelope::{Envelope, Format};
use assay_verify::evidence::{Signature, SignatureManifest};
use assay_verify::judge::{AuthorityTerms, Judgement, Requirement, Subject, judge};
use assay_verify::manifest::Index;
use assay_verify::notation::identity::TrustedIdentities;
use assay_verify::notation::signature::Terms;
use assay_verify::notation::statement::{Checks, TrustStoreKind, TrustStoreName};
use assay_verify::notation::trust_policy::VerifyTimestamp;
use assay_verify::notation::trust_store::{TrustStore, TrustStores, parse_file};
use assay_verify::policy::Conditions;
use assay_verify::reference::Repository;
use assay_verify::x509::certificate::Certificate;
use assay_verify::x509::chain::{Chain, ChainError};

use manifest::{manifest, read, rows};

const CASES: &str = include_str!("vectors.tsv");
const DIVERGENCES: &str = include_str!("divergences.tsv");

/// What becomes of a file when it is read as something: `accepted`, or the reason why not.
fn outcome(file: &str, read_as: &str) -> String {
    let content = read(file);
    let result = match read_as {
        "JWS" => envelope(Format::Jws, &content),
        "COSE" => envelope(Format::Cose, &content),
        "ca store" => store(TrustStoreKind::CertificateAuthority, &content),
        "tsa store" => store(TrustStoreKind::TimestampAuthority, &content),
        _ => parse_file(&content)
            .map_err(|error| error.to_string())
            .and_then(|certificates| check(certificates, read_as)),
    };
    match result {
        Ok(()) => "accepted".to_owned(),
        Err(reason) => format!("refused: {reason}"),
    }
}

fn check(certificates: Vec<Certificate>, read_as: &str) -> Result<(), String> {
    let embedded = |name: &str| parse_file(&read(&format!("notation-core-go/x509/embedded/{name}.pem"))).unwrap();
    match read_as {
        "certificates" if certificates.is_empty() => Err("no certificate".to_owned()),
        "certificates" => Ok(()),
        "RSA-2048" | "RSA-3072" | "RSA-4096" | "ECDSA P-256" | "ECDSA P-384" | "ECDSA P-521" => {
            assert_eq!(certificates[0].key_kind().to_string(), read_as);
            EnvelopeAlgorithm::for_key(certificates[0].key_kind())
                .map(drop)
                .ok_or_else(|| "no algorithm".to_owned())
        }
        "key" => match EnvelopeAlgorithm::for_key(certificates[0].key_kind()) {
            Some(algorithm) => panic!("{} for a key that has none", algorithm.as_str()),
            None => Err(certificates[0].key_kind().to_string()),
        },
        "chain" => Chain::check(certificates).map(drop).map_err(|error| error.to_string()),
        // The rules of the leaf or of an issuer alone: what else the chain breaks does not count.
        "leaf" => match Chain::check(certificates) {
            Err(error @ ChainError::Leaf(_)) => Err(error.to_string()),
            _ => Ok(()),
        },
        "issuer" => issuer([embedded("codeSigningLeaf"), certificates].concat()),
        "issuer of a CA" => issuer([embedded("codeSigningLeaf"), embedded("intermediateCert1"), certificates].concat()),
        other => panic!("vectors.tsv: a file cannot be read as {other}"),
    }
}

fn issuer(chain: Vec<Certificate>) -> Result<(), String> {
    match Chain::check(chain) {
        Err(error @ ChainError::Issuer { .. }) => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn store(kind: TrustStoreKind, content: &[u8]) -> Result<(), String> {
    TrustStore::from_files(kind, [("file", content)])
        .map(drop)
        .map_err(|error| error.to_string())
}

fn envelope(format: Format, content: &[u8]) -> Result<(), String> {
    Envelope::parse(format, content)
        .and_then(Envelope::verify)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Whether the MANIFEST's sentence speaks of acceptance and of refusal. Some speak of both, for different uses.
fn says(sentence: &str) -> (bool, bool) {
    let any = |words: &[&str]| words.iter().any(|word| sentence.contains(word));
    let refused = any(&["DENY", "INVALID", "ERROR", "parse error", ": expired"]);
    (!refused || any(&[" VALID;", "loadable"]), refused)
}

#[test]
fn every_file_has_its_expected_outcome() {
    let mut wrong = Vec::new();
    for row in rows(CASES) {
        let [file, read_as, expected] = row[..] else {
            panic!("vectors.tsv: {row:?}")
        };
        let outcome = outcome(file, read_as);
        if outcome != expected {
            wrong.push(format!("{file} as {read_as}: {outcome}; expected: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_outcome_is_what_the_manifest_says_or_a_divergence_with_a_reason() {
    let manifest = manifest();
    let divergences: BTreeMap<_, _> = rows(DIVERGENCES)
        .into_iter()
        .map(|row| {
            let [file, read_as, reason] = row[..] else {
                panic!("divergences.tsv: {row:?}")
            };
            assert!(!reason.is_empty());
            ((file, read_as), reason)
        })
        .collect();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for row in rows(CASES) {
        let (file, read_as, expected) = (row[0], row[1], row[2]);
        let sentence = manifest
            .get(file)
            .unwrap_or_else(|| panic!("{file} is not in the MANIFEST"));
        let (accepted, refused) = says(sentence);
        let agrees = if expected.starts_with("refused") {
            refused
        } else {
            accepted
        };
        let diverges = divergences.contains_key(&(file, read_as));
        if diverges {
            used.insert((file, read_as));
        }
        match (agrees, diverges) {
            (true, true) if accepted != refused => wrong.push(format!("{file} as {read_as} diverges no more")),
            (false, false) => wrong.push(format!("{file} as {read_as}: {expected}; the MANIFEST: {sentence}")),
            _ => {}
        }
    }
    wrong.extend(
        divergences
            .keys()
            .filter(|key| !used.contains(*key))
            .map(|key| format!("{key:?} is a divergence of no case")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is judged elsewhere: tokens in `timestamps`, lists in `revocation`.
fn is_other(file: &str) -> bool {
    let other = [
        ".crl", ".p7s", ".tsq", ".tsr", ".json", ".LICENSE", ".txt", ".md", ".change",
    ];
    file.starts_with("notary/")
        || file.contains("/oci_layout/")
        || (other.iter().any(|end| file.ends_with(end)) && file != "notation/config/timestamp/Empty.txt")
}

#[test]
fn no_certificate_file_or_envelope_is_forgotten() {
    let cases: BTreeSet<_> = rows(CASES).into_iter().map(|row| row[0].to_owned()).collect();
    let forgotten: Vec<_> = manifest()
        .into_keys()
        .filter(|file| !is_other(file) && !cases.contains(file))
        .collect();
    assert!(forgotten.is_empty(), "not in vectors.tsv: {forgotten:#?}");
    assert!(cases.len() > 60, "{}", cases.len());
}

/// An OCI layout: the image, and the signatures that can be opened.
struct Layout {
    image: Descriptor,
    signatures: Vec<Signature>,
    unreadable: usize,
}

fn layout(name: &str) -> Layout {
    let folder = format!("notation/registry/oci_layout/{name}");
    let blob = |digest: &str| read(&format!("{folder}/blobs/{}", digest.replace(':', "/")));
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index: serde_json::Value = serde_json::from_slice(&read(&format!("{folder}/index.json"))).unwrap();
    let parsed = Index::parse(
        &assay_verify::descriptor::MediaType::parse(media_type).unwrap(),
        &read(&format!("{folder}/index.json")),
    )
    .unwrap();
    let mut image = None;
    let mut signatures = Vec::new();
    let mut unreadable = 0;
    for (entry, wire) in parsed.entries.iter().zip(index["manifests"].as_array().unwrap()) {
        if wire["annotations"]["org.opencontainers.image.ref.name"] == "v1" {
            image = Some(entry.descriptor.clone());
        } else if entry.descriptor.media_type != media_type {
            let json: Arc<[u8]> = blob(&entry.descriptor.digest.to_string()).into();
            let opened = SignatureManifest::open(&entry.descriptor, json).and_then(|manifest| {
                let envelope = blob(&manifest.layers()[0].descriptor.digest.to_string());
                Signature::new(manifest.into(), 0, envelope.into())
            });
            match opened {
                Ok(signature) => signatures.push(signature),
                Err(_) => unreadable += 1,
            }
        }
    }
    // The layouts for inspection have no tag: the image is what their signature refers to.
    let image = image.unwrap_or_else(|| signatures[0].manifest().subject().unwrap().clone());
    Layout {
        image,
        signatures,
        unreadable,
    }
}

/// Judges a layout with one certificate in the store; `admitted`, or the code.
fn judged(layout: &Layout, anchor: &str, checks: &Checks, accept_unverified: bool, now: &str) -> Result<(), Code> {
    let store = TrustStore::from_files(
        TrustStoreKind::CertificateAuthority,
        [(anchor, &read(&format!("notation/config/localkeys/{anchor}.crt"))[..])],
    )
    .unwrap();
    let names: [TrustStoreName; 1] = ["ca:e2e".parse().unwrap()];
    let stores = TrustStores(BTreeMap::from([(names[0].clone(), Arc::new(store))]));
    let identities = TrustedIdentities::Any;
    let repository: Repository = "localhost:5000/e2e".parse().unwrap();
    let subject = Subject {
        repository: &repository,
        descriptor: &layout.image,
    };
    let terms = Terms {
        checks,
        verify_timestamp: VerifyTimestamp::Always,
        trust_stores: &names,
        identities: &identities,
    };
    let authority = AuthorityTerms::Notation { terms, stores: &stores };
    let now: Timestamp = now.parse().unwrap();
    let requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &[("e2e", authority)],
        accept_unverified,
        conditions: &Conditions::default(),
    };
    match judge(&layout.signatures, &subject, &requirement, &Circumstances::at(now)) {
        Judgement::Admit(_) => Ok(()),
        Judgement::Reject(rejection) => Err(rejection.code),
        Judgement::Need(need) => panic!("{:?}", need.queries),
    }
}

#[test]
fn the_layouts_of_notation_are_judged_as_notation_judges_them() {
    const STRICT: Checks = Checks::STRICT;
    const PERMISSIVE: Checks = Checks::PERMISSIVE;
    const AUDIT: Checks = Checks::AUDIT;
    let now = "2026-01-01T00:00:00Z";
    for (name, anchor, checks, accept_unverified, now, expected) in [
        ("e2e", "e2e", STRICT, false, now, Err(Code::Unsigned)),
        ("e2e-valid-signature", "e2e", STRICT, false, now, Ok(())),
        (
            "e2e-valid-signature",
            "new_e2e",
            STRICT,
            false,
            now,
            Err(Code::UntrustedSigner),
        ),
        (
            "e2e-valid-signature",
            "new_e2e",
            PERMISSIVE,
            true,
            now,
            Err(Code::UntrustedSigner),
        ),
        ("e2e-valid-signature", "new_e2e", AUDIT, true, now, Ok(())),
        (
            "e2e-valid-signature",
            "new_e2e",
            AUDIT,
            false,
            now,
            Err(Code::UntrustedSigner),
        ),
        ("e2e-valid-signature", "e2e", AUDIT, false, now, Ok(())),
        ("e2e-valid-multiple-signatures", "e2e", STRICT, false, now, Ok(())),
        (
            "e2e-expired-signature",
            "e2e",
            STRICT,
            false,
            now,
            Err(Code::SignatureExpired),
        ),
        ("e2e-expired-signature", "e2e", PERMISSIVE, false, now, Ok(())),
        ("e2e-expired-signature", "e2e", AUDIT, false, now, Ok(())),
        (
            "e2e-expired-signature",
            "e2e",
            STRICT,
            false,
            "2023-06-26T00:00:00Z",
            Ok(()),
        ),
        (
            "e2e-with-expired-cert",
            "expired_e2e",
            STRICT,
            false,
            now,
            Err(Code::CertificateExpired),
        ),
        ("e2e-with-expired-cert", "expired_e2e", PERMISSIVE, false, now, Ok(())),
        ("e2e-with-expired-cert", "expired_e2e", AUDIT, false, now, Ok(())),
        (
            "e2e-with-expired-cert",
            "expired_e2e",
            STRICT,
            false,
            "2023-06-26T12:00:00Z",
            Ok(()),
        ),
        (
            "e2e-invalid-signature",
            "e2e",
            STRICT,
            true,
            now,
            Err(Code::SignatureInvalid),
        ),
        (
            "e2e-invalid-signature",
            "e2e",
            PERMISSIVE,
            true,
            now,
            Err(Code::SignatureInvalid),
        ),
        (
            "e2e-invalid-signature",
            "e2e",
            AUDIT,
            true,
            now,
            Err(Code::SignatureInvalid),
        ),
        // Their stores have other certificates; what is asked here is that the envelopes hold together.
        ("e2e-with-timestamped-signature", "e2e", AUDIT, true, now, Ok(())),
        (
            "e2e-with-invalid-timestamped-signature",
            "e2e",
            AUDIT,
            true,
            now,
            Ok(()),
        ),
    ] {
        let layout = layout(name);
        let outcome = judged(&layout, anchor, &checks, accept_unverified, now);
        assert_eq!(outcome, expected, "{name} with {anchor} at {now}: {checks:?}");
        assert_eq!(layout.unreadable, 0, "{name}");
    }
}
