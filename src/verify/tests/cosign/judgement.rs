//! The judgement of an image by signatures of cosign.

use assay_verify::code::Code;
use assay_verify::judge::GrantedBy;
use assay_verify::limits::MAX_SIGNATURES;
use rcgen::KeyPair;
use serde_json::json;

use crate::deployment::{SIGN, SLSA, admitted, bundle, denied, judge_image, key_authority, statement, tag};
use crate::support::image;

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// cosign ignores the signatures under a tag as soon as there is a bundle.
#[test]
fn signatures_under_a_tag_count_beside_a_bundle_of_somebody_else() {
    let (ours, theirs) = (key(), key());
    let mut evidence = vec![bundle(&theirs, &statement(SIGN, &json!({})))];
    evidence.extend(tag(&[&ours]));
    let (our_terms, their_terms) = (key_authority(&ours), key_authority(&theirs));
    admitted(judge_image(&evidence, 1, &[("ours", &our_terms)], &[]));
    let permit = admitted(judge_image(
        &evidence,
        2,
        &[("ours", &our_terms), ("theirs", &their_terms)],
        &[],
    ));
    assert_eq!(permit.grants().len(), 2);
}

#[test]
fn any_layer_of_a_tag_counts_and_the_permit_says_which_manifest() {
    let (first, second) = (key(), key());
    let evidence = tag(&[&first, &second]);
    let permit = admitted(judge_image(&evidence, 1, &[("second", &key_authority(&second))], &[]));
    let GrantedBy::Signature { manifest, identity } = &permit.grants()[0].by else {
        panic!("{permit:?}");
    };
    assert_eq!(manifest, evidence[1].manifest().digest());
    assert!(identity.starts_with("key sha256:"), "{identity}");
    assert!(
        permit
            .rests_on()
            .digests
            .contains(&evidence[1].layer().descriptor.digest)
    );
    assert_eq!(permit.rests_on().signers().len(), 1);
    assert!(permit.rests_on().digests.contains(&image().digest));
}

/// CVE-2025-25204: no evidence is a denial, whatever the tool.
#[test]
fn an_image_without_evidence_is_unsigned() {
    let (code, reason) = denied(judge_image(&[], 1, &[("release", &key_authority(&key()))], &[]));
    assert_eq!(
        (code, reason.as_str()),
        (Code::Unsigned, "no signature by release was found")
    );
}

#[test]
fn an_image_with_nothing_but_an_attestation_is_unsigned() {
    let key = key();
    let evidence = [bundle(&key, &statement(SLSA, &json!({})))];
    let (code, reason) = denied(judge_image(&evidence, 1, &[("release", &key_authority(&key))], &[]));
    assert_eq!(code, Code::Unsigned);
    assert!(reason.contains("does not count as a signature"), "{reason}");
}

#[test]
fn a_requirement_of_nothing_is_never_satisfied() {
    let key = key();
    let (code, _) = denied(judge_image(&tag(&[&key]), 0, &[("release", &key_authority(&key))], &[]));
    assert_eq!(code, Code::PolicyInvalid);
}

/// CVE-2023-46737: junk is judged up to the limit, and what is beyond is said.
#[test]
fn junk_beyond_the_limit_is_a_limit_and_not_unsigned() {
    let (ours, theirs) = (key(), key());
    let junk: Vec<_> = (0..=MAX_SIGNATURES).flat_map(|_| tag(&[&theirs])).collect();
    let (code, _) = denied(judge_image(&junk, 1, &[("release", &key_authority(&ours))], &[]));
    assert_eq!(code, Code::LimitExceeded);
    let mut first = tag(&[&ours]);
    first.extend(junk);
    admitted(judge_image(&first, 1, &[("release", &key_authority(&ours))], &[]));
}
