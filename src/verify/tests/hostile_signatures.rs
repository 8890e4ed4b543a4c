//! Signatures that anybody can make, in numbers.

use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::envelope::{Envelope, Format};
use assay_verify::evidence::{Signature, SignatureManifest};
use assay_verify::judge::{AuthorityTerms, Finding, Judgement, Requirement, Subject, judge};
use assay_verify::notation::identity::TrustedIdentities;
use assay_verify::notation::signature::Terms;
use assay_verify::notation::statement::{Checks, TrustStoreName};
use assay_verify::notation::trust_policy::VerifyTimestamp;
use assay_verify::notation::trust_store::TrustStores;
use assay_verify::policy::Conditions;
use assay_verify::reference::Repository;

/// An envelope of a real signature, by nobody that the tests trust.
#[expect(
    clippy::disallowed_methods,
    reason = "only the tests ask the environment, and only where files are"
)]
fn envelope() -> Vec<u8> {
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors").into(),
        std::path::PathBuf::from,
    );
    let path = folder.join("notation/notation/signatures/blob.jws.sig");
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; set ASSAY_VECTORS to the folder of the test vectors",
            path.display()
        )
    })
}

/// The same envelope in a manifest of its own for each `number`.
fn signature(envelope: &Arc<[u8]>, image: &Descriptor, number: usize) -> Signature {
    let json = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.notary.signature","digest":"{0}","size":2}},
        "layers":[{{"mediaType":"application/jose+json","digest":"{1}","size":{2}}}],
        "subject":{{"mediaType":"{3}","digest":"{4}","size":{5}}},"annotations":{{"number":"{number}"}}}}"#,
        Digest::sha256(b"{}"),
        Digest::sha256(envelope),
        envelope.len(),
        image.media_type,
        image.digest,
        image.size,
    );
    let descriptor = Descriptor {
        media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
        digest: Digest::sha256(json.as_bytes()),
        size: json.len() as u64,
    };
    let manifest = SignatureManifest::open(&descriptor, json.as_bytes().into()).unwrap();
    Signature::new(manifest.into(), 0, envelope.clone()).unwrap()
}

#[test]
fn keeps_one_of_many_signatures_that_prove_nothing() {
    let envelope: Arc<[u8]> = envelope().into();
    let image = Envelope::parse(Format::Jws, &envelope)
        .and_then(Envelope::verify)
        .unwrap()
        .target()
        .descriptor()
        .unwrap();
    let evidence: Vec<Signature> = (0..100).map(|number| signature(&envelope, &image, number)).collect();
    let repository: Repository = "registry.example/app".parse().unwrap();
    let names: [TrustStoreName; 1] = ["ca:none".parse().unwrap()];
    let (stores, identities) = (TrustStores::default(), TrustedIdentities::any());
    let terms = Terms {
        checks: &Checks::AUDIT,
        verify_timestamp: VerifyTimestamp::Always,
        trust_stores: &names,
        identities: &identities,
    };
    let stores = &stores;
    let authorities = [("corp", AuthorityTerms::Notation { terms, stores })];
    let mut requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &authorities,
        accept_unverified: false,
        conditions: &Conditions::default(),
    };
    let subject = Subject {
        repository: &repository,
        descriptor: &image,
    };
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let Judgement::Reject(rejection) = judge(&evidence, &subject, &requirement, &Circumstances::at(now)) else {
        panic!("a signature by nobody in particular admits");
    };
    let Finding::Signatures(judgements) = &rejection.reports[0].finding else {
        panic!("{:?}", rejection.reports);
    };
    assert_eq!(judgements.len(), 1);
    assert!(
        rejection.reason.contains("the rule does not accept it"),
        "{}",
        rejection.reason
    );

    requirement.accept_unverified = true;
    assert!(matches!(
        judge(&evidence, &subject, &requirement, &Circumstances::at(now)),
        Judgement::Admit(_)
    ));
}
