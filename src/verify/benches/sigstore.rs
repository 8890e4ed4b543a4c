//! The judgement of what real cosign signed, alone: a signature is parsed and every step is taken. The names are
//! `sigstore/WHAT`; `second opinion` is with the other implementation asked as well. The images are those of the vectors.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{Signature, SignatureManifest};
use assay_verify::policy::Conditions;
use assay_verify::sigstore::authority::{Authority, RequiredEvidence, Signers};
use assay_verify::sigstore::identity::{IdentityMatcher, TextMatcher};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::second_opinion::SecondOpinion;
use assay_verify::sigstore::signature::{Artifact, Asked, Origin, Purpose, open, verify};
use assay_verify::sigstore::trusted_root::TrustedRoot;
use criterion::{Criterion, criterion_group, criterion_main};

#[allow(
    clippy::disallowed_methods,
    reason = "where the vectors are is for whoever measures to say"
)]
fn generated() -> PathBuf {
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let folder = vectors.join("sigstore/generated");
    assert!(
        folder.join("cases.tsv").is_file(),
        "the test vectors are not in {}: set ASSAY_VECTORS",
        vectors.display()
    );
    folder
}

/// The image of a layout and its one signature.
fn image(layout: &str) -> (Descriptor, Signature) {
    let cases = fs::read_to_string(generated().join("cases.tsv")).unwrap();
    let row = cases
        .lines()
        .find(|row| row.split('\t').next() == Some(layout))
        .unwrap();
    let digest: Digest = row.split('\t').nth(1).unwrap().parse().unwrap();
    let mut blobs: BTreeMap<Digest, Arc<[u8]>> = BTreeMap::new();
    for entry in fs::read_dir(generated().join("layouts").join(layout).join("blobs/sha256")).unwrap() {
        let content = fs::read(entry.unwrap().path()).unwrap();
        blobs.insert(Digest::sha256(&content), content.into());
    }
    let describe = |digest: &Digest| Descriptor {
        media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
        digest: digest.clone(),
        size: blobs[digest].len() as u64,
    };
    let signature = blobs.iter().find_map(|(digest, content)| {
        let manifest = SignatureManifest::open(&describe(digest), content.clone()).ok()?;
        let envelope = blobs.get(&manifest.layers().first()?.descriptor.digest)?.clone();
        Signature::new(Arc::new(manifest), 0, envelope).ok()
    });
    (describe(&digest), signature.unwrap())
}

fn judgements(criterion: &mut Criterion) {
    let root = fs::read(generated().join("trust/trusted_root.json")).unwrap();
    let pem = fs::read_to_string(generated().join("keys/p256.pub")).unwrap();
    let key = Signers::Keys(vec![VerificationKey::from_pem(&pem).unwrap()]);
    let identity = Signers::Identities(vec![IdentityMatcher {
        issuer: TextMatcher::Exact("https://issuer.test".into()),
        subject: TextMatcher::Exact("ci@example.test".into()),
        claims: BTreeMap::new(),
    }]);
    let now: Timestamp = "2027-06-01T00:00:00Z".parse().unwrap();
    for (layout, signers, log, times, second) in [
        ("v2-key-p256-notlog", &key, 0, 0, false),
        ("v3-key-p256-notlog", &key, 0, 0, false),
        ("v2-keyless-rekor1", &identity, 1, 0, false),
        ("v3-keyless-rekor1", &identity, 1, 0, false),
        ("v3-keyless-rekor1", &identity, 1, 0, true),
        ("v3-keyless-rekor1-tsa", &identity, 1, 1, false),
        ("v3-keyless-rekor1-tsa", &identity, 1, 1, true),
        ("v3-keyless-rekor2-tsa", &identity, 1, 1, false),
        ("v3-keyless-rekor2-tsa", &identity, 1, 1, true),
    ] {
        let keyless = matches!(signers, Signers::Identities(_));
        let authority = Authority {
            signers: signers.clone(),
            root: Arc::new(TrustedRoot::parse(&root).unwrap()),
            second_opinion: second.then(|| Arc::new(SecondOpinion::new(&root))),
            evidence: RequiredEvidence {
                log_entries: log,
                timestamps: times,
                signed_certificate_timestamps: usize::from(keyless),
                verified_time: keyless,
            },
            annotations: BTreeMap::new(),
            accept_dsse_v0_0_2: false,
            repository: None,
        };
        let (image, signature) = image(layout);
        let conditions = Conditions::default();
        let asked = Asked {
            authority: &authority,
            artifact: Artifact::Image(&image),
            purpose: Purpose::ImageSignature,
            conditions: &conditions,
        };
        let circumstances = Circumstances::at(now);
        let judge = || verify(&open(&signature)?, &Origin::of(&signature), &asked, &circumstances);
        let judged = judge().unwrap_or_else(|rejected| panic!("{layout}: {}", rejected.failure));
        assert_eq!(judged.verified.is_agreed(), second, "{layout}");
        let name = if second { " and second opinion" } else { "" };
        criterion.bench_function(&format!("sigstore/{layout}{name}"), |bencher| {
            bencher.iter(|| black_box(judge().is_ok()));
        });
    }
}

criterion_group!(benches, judgements);
criterion_main!(benches);
