//! Images that real cosign signed: OCI layouts, each with everything that hangs on its image.
//!
//! `sigstore_images.tsv` has the verdict on every layout, and the reason where cosign's own is another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{Signature, SignatureFormat, SignatureManifest};
use assay_verify::sigstore::authority::RequiredEvidence;
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::second_opinion::{self, Opinion};
use assay_verify::sigstore::signature::{self, Artifact, Purpose};

use crate::judged::{self, Root, Terms, Who};
use crate::vectors::{names, read, rows, text};

const VERDICTS: &str = include_str!("../sigstore_images.tsv");

/// What cosign's names for types of attestations stand for (cosign: cmd/cosign/cli/options/predicate.go).
const PREDICATES: [(&str, &str); 8] = [
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("openvex", "https://openvex.dev/ns"),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("link", "https://in-toto.io/Link/v1"),
];

/// An OCI layout: the image, and what hangs on it.
struct Layout {
    image: Descriptor,
    signatures: Vec<Signature>,
}

impl Layout {
    /// Reads a layout. What hangs on an image is what has it as its subject, or has a name or a note in the index that says
    /// so: the tags of cosign v2, and what `cosign save` writes.
    fn read(folder: &str, image: &Digest) -> Self {
        let index: serde_json::Value = serde_json::from_slice(&read(&format!("{folder}/index.json"))).unwrap();
        let tag = format!("sha256-{}.", image.hex());
        let named: BTreeSet<&str> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| {
                let annotation = |name: &str| entry["annotations"][name].as_str().unwrap_or_default();
                annotation("org.opencontainers.image.ref.name").starts_with(&tag)
                    || ["dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/atts"].contains(&annotation("kind"))
            })
            .map(|entry| entry["digest"].as_str().unwrap())
            .collect();
        let blobs: BTreeMap<Digest, Arc<[u8]>> = names(&format!("{folder}/blobs/sha256"))
            .into_iter()
            .map(|hex| {
                let content = read(&format!("{folder}/blobs/sha256/{hex}"));
                (format!("sha256:{hex}").parse().unwrap(), content.into())
            })
            .collect();
        let describe = |digest: &Digest, content: &[u8]| {
            let json: serde_json::Value = serde_json::from_slice(content).ok()?;
            Some(Descriptor {
                media_type: MediaType::parse(json["mediaType"].as_str()?).ok()?,
                digest: digest.clone(),
                size: content.len() as u64,
            })
        };
        let mut signatures = Vec::new();
        for (digest, content) in &blobs {
            let Some(descriptor) = describe(digest, content) else {
                continue;
            };
            let Ok(manifest) = SignatureManifest::open(&descriptor, content.clone()) else {
                continue;
            };
            let hangs = manifest.subject().is_some_and(|subject| subject.digest == *image);
            if !hangs && !named.contains(&*digest.to_string()) {
                continue;
            }
            let manifest = Arc::new(manifest);
            for (position, layer) in manifest.layers().iter().enumerate() {
                let blob = blobs.get(&layer.descriptor.digest).expect("a layer's blob").clone();
                signatures.push(Signature::new(manifest.clone(), position, blob).unwrap());
            }
        }
        Self {
            image: describe(image, &blobs[image]).unwrap(),
            signatures,
        }
    }

    /// Whether one of the signatures counts, and what the second opinion on that one is; or why each of them does not.
    fn judge(&self, terms: &Terms, purpose: Purpose<'_>) -> Result<String, String> {
        let mut reasons = Vec::new();
        for signature in &self.signatures {
            match self.judge_one(signature, terms, purpose) {
                Ok(second) => return Ok(second),
                Err(reason) => reasons.push(reason),
            }
        }
        match reasons.is_empty() {
            true => Err("it has no signature".to_owned()),
            false => Err(reasons.join("; ")),
        }
    }

    fn judge_one(&self, signature: &Signature, terms: &Terms, purpose: Purpose<'_>) -> Result<String, String> {
        let material = signature::open(signature).map_err(|rejected| rejected.failure.to_string())?;
        let bundle = (signature.layer().format == SignatureFormat::Bundle).then_some(&**signature.envelope());
        let verified = judged::judge(&material, bundle, terms, Artifact::Image(&self.image), purpose)?;
        let artifact = second_opinion::Artifact::Digest(&self.image.digest);
        let second = bundle.and_then(|bundle| judged::second(bundle, &material, terms, artifact));
        assert_eq!(verified.is_agreed(), matches!(second, Some(Opinion::Agrees { .. })));
        Ok(match second {
            None => "not asked".to_owned(),
            Some(Opinion::Agrees { .. }) => "agrees".to_owned(),
            Some(Opinion::NotItsShape(shape)) => format!("does not know {shape}"),
            Some(Opinion::Refuses(reason)) => panic!("refused, yet judged good: {reason}"),
        })
    }
}

/// A row of generated/cases.tsv.
struct Case<'a> {
    name: &'a str,
    image: Digest,
    terms: Terms,
    predicate_type: Option<&'static str>,
    /// What cosign says.
    passes: bool,
}

impl<'a> Case<'a> {
    fn parse(row: &[&'a str]) -> Self {
        let [name, digest, material, verdict, command] = row[..] else {
            panic!("cases.tsv: {row:?}")
        };
        let mut who = None;
        let (mut subject, mut issuer) = (None, None);
        let (mut root, mut predicate_type, mut sct) = (None, None, true);
        let mut annotations = BTreeMap::new();
        for item in material.split(';') {
            match item.split_once('=').unwrap_or((item, "")) {
                ("key", file) => {
                    let pem = text(&format!("generated/{file}"));
                    who = Some(Who::Key(VerificationKey::from_pem(&pem).unwrap()));
                }
                ("id", identity) => subject = Some(identity.to_owned()),
                ("iss", identity) => issuer = Some(identity.to_owned()),
                ("root", file) => root = Some(Arc::new(Root::parse(&read(&format!("generated/{file}"))).unwrap())),
                ("nosct", _) => sct = false,
                ("type", name) => {
                    let (_, uri) = PREDICATES.iter().find(|(short, _)| *short == name).unwrap();
                    predicate_type = Some(*uri);
                }
                ("ann", annotation) => {
                    let (key, value) = annotation.split_once('=').unwrap();
                    annotations.insert(key.into(), value.into());
                }
                ("EXPECT-US", _) => {}
                other => panic!("cases.tsv: {other:?}"),
            }
        }
        let log = root.is_some() && !command.contains("--insecure-ignore-tlog");
        let is_keyless = who.is_none();
        let timestamps = usize::from(command.contains("--use-signed-timestamps"));
        Self {
            name,
            image: digest.parse().unwrap(),
            terms: Terms {
                who: who.unwrap_or_else(|| Who::Identity {
                    subject: subject.unwrap(),
                    issuer: issuer.unwrap(),
                }),
                root,
                evidence: RequiredEvidence {
                    log_entries: usize::from(log),
                    timestamps,
                    signed_certificate_timestamps: usize::from(is_keyless && sct),
                    // A certificate of years may have been made without a log and a timestamp.
                    verified_time: is_keyless && log,
                },
                annotations,
            },
            predicate_type,
            passes: verdict == "pass",
        }
    }

    fn purpose(&self) -> Purpose<'static> {
        match self.predicate_type {
            Some(predicate_type) => Purpose::Attestation { predicate_type },
            None => Purpose::ImageSignature,
        }
    }
}

/// Compares the verdicts with the table: `wrong` is what differs.
#[derive(Default)]
struct Compared {
    wrong: Vec<String>,
    seen: BTreeSet<String>,
}

impl Compared {
    fn add(&mut self, name: &str, cosign_passes: bool, verdict: &Result<String, String>) {
        self.seen.insert(name.to_owned());
        let word = |passes| if passes { "pass" } else { "fail" };
        let row = rows(VERDICTS).into_iter().find(|row| row[0] == name);
        let Some([_, cosign, expected, second, reason]) = row.as_deref() else {
            return self.wrong.push(format!("{name} is not in the table: {verdict:?}"));
        };
        if *cosign != word(cosign_passes) {
            self.wrong
                .push(format!("{name}: cosign says something else than {cosign}"));
        }
        if *expected != word(verdict.is_ok()) {
            self.wrong.push(format!("{name}: {verdict:?}, expected: {expected}"));
        }
        if *second != verdict.as_deref().unwrap_or("-") {
            self.wrong
                .push(format!("{name}: the second opinion: {verdict:?}, expected: {second}"));
        }
        if (cosign == expected) != (*reason == "-") {
            self.wrong.push(format!(
                "{name}: a reason is for a difference from cosign, and a difference needs one"
            ));
        }
    }

    fn finish(mut self, of: &str) {
        let rows = rows(VERDICTS).into_iter().map(|row| row[0].to_owned());
        let forgotten = rows.filter(|name| name.starts_with(of) && !self.seen.contains(name));
        self.wrong
            .extend(forgotten.map(|name| format!("{name} is in the table alone")));
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

#[test]
fn the_images_that_cosign_signed_are_judged_as_the_table_says() {
    let cases = text("generated/cases.tsv");
    let mut compared = Compared::default();
    let mut layouts: BTreeSet<_> = names("generated/layouts").into_iter().collect();
    for row in rows(&cases).into_iter().skip(1) {
        let case = Case::parse(&row);
        layouts.remove(case.name);
        let layout = Layout::read(&format!("generated/layouts/{}", case.name), &case.image);
        let verdict = layout.judge(&case.terms, case.purpose());
        compared.add(&format!("generated/{}", case.name), case.passes, &verdict);
    }
    assert!(layouts.is_empty(), "not in cases.tsv: {layouts:?}");
    compared.finish("generated/");
}

/// What a layout is signed for is what it counts for: another key, another type, another image, an annotation with another
/// value are refused, whatever the format.
#[test]
fn no_image_passes_under_other_terms_than_its_own() {
    let cases = text("generated/cases.tsv");
    let mut tried = 0;
    for row in rows(&cases).into_iter().skip(1) {
        let mut case = Case::parse(&row);
        let layout = Layout::read(&format!("generated/layouts/{}", case.name), &case.image);
        if layout.judge(&case.terms, case.purpose()).is_err() {
            continue;
        }
        tried += 1;
        let purpose = match case.purpose() {
            Purpose::ImageSignature => Purpose::Attestation {
                predicate_type: "https://slsa.dev/provenance/v1",
            },
            _ => Purpose::ImageSignature,
        };
        assert!(
            layout.judge(&case.terms, purpose).is_err(),
            "{}: other purpose",
            case.name
        );

        let other = Layout {
            image: Descriptor {
                digest: Digest::sha256(b"another image"),
                ..layout.image.clone()
            },
            signatures: layout.signatures.clone(),
        };
        assert!(
            other.judge(&case.terms, case.purpose()).is_err(),
            "{}: other image",
            case.name
        );

        case.terms.annotations.insert("env".into(), "stage".into());
        // What an attestation has to say is asked of its predicate.
        let asked = case.predicate_type.is_none();
        assert_eq!(
            layout.judge(&case.terms, case.purpose()).is_err(),
            asked,
            "{}: other annotation",
            case.name
        );
        case.terms.annotations.clear();

        let other = match case.name.contains("rsa2048") {
            true => "generated/keys/p521.pub",
            false => "generated/keys/rsa2048.pub",
        };
        case.terms.who = Who::Key(VerificationKey::from_pem(&text(other)).unwrap());
        assert!(
            layout.judge(&case.terms, case.purpose()).is_err(),
            "{}: other key",
            case.name
        );
        case.terms.who = Who::Identity {
            subject: "ci@example.test".to_owned(),
            issuer: "https://issuer.example".to_owned(),
        };
        assert!(
            layout.judge(&case.terms, case.purpose()).is_err(),
            "{}: other issuer",
            case.name
        );
    }
    assert!(tried > 30, "{tried}");
}

/// Real provenance of the public good instance, years old: entries of the kinds `intoto` 0.0.1 and `dsse` 0.0.1.
#[test]
fn provenance_of_slsa_github_generator_is_judged_as_the_table_says() {
    let root = Arc::new(Root::parse(&read("trusted-roots/prod-trusted_root.json")).unwrap());
    let mut compared = Compared::default();
    for version in names("slsa-verifier/gha_generic_container") {
        let folder = format!("slsa-verifier/gha_generic_container/{version}/container_workflow_dispatch");
        let image: Digest = text(&format!("{folder}.digest")).trim().parse().unwrap();
        let layout = Layout::read(&folder, &image);
        let terms = |version: &str| Terms {
            who: Who::Identity {
                subject: format!(
                    "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/{version}"
                ),
                issuer: "https://token.actions.githubusercontent.com".to_owned(),
            },
            root: Some(root.clone()),
            evidence: RequiredEvidence {
                log_entries: 1,
                timestamps: 0,
                signed_certificate_timestamps: 1,
                verified_time: true,
            },
            annotations: BTreeMap::new(),
        };
        let purpose = Purpose::Attestation {
            predicate_type: "https://slsa.dev/provenance/v0.2",
        };
        let verdict = layout.judge(&terms(&version), purpose);
        compared.add(&format!("slsa-verifier/{version}"), true, &verdict);
        assert!(layout.judge(&terms("v0.0.0"), purpose).is_err());
        assert!(layout.judge(&terms(&version), Purpose::ImageSignature).is_err());
    }
    compared.finish("slsa-verifier/");
}
