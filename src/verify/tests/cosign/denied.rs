//! Signatures and attestations of cosign that a deny-list names.

use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::deny_list::DenyList;
use assay_verify::digest::{Digest, hex};
use assay_verify::evidence::Signature;
use assay_verify::judge::Judgement;
use assay_verify::policy::Conditions;
use assay_verify::sigstore::authority::{Authority, RequiredEvidence, Signers};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::material::Material;
use assay_verify::sigstore::report::{StepOutcome, steps};
use assay_verify::sigstore::signature::{Artifact, Asked, Judged, Origin, Purpose, Rejected, Signer, Step, verify};
use proptest::prelude::*;
use rcgen::KeyPair;
use serde_json::json;

use crate::attestations::{built_by, no_worse_than_high, provenance, scan};
use crate::deny_list::{deny, naming};
use crate::deployment::{
    ISSUER, Keyless, SIGN, SUBJECT, admitted, bundle, denied, judge_image, judge_image_under, key_authority, now,
    statement, tag, verification_key,
};
use crate::support::image;

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn of_key(key: &VerificationKey) -> String {
    format!(r#""key": "sha256:{}""#, hex(key.fingerprint()))
}

/// Judges by one authority under the list, and a verdict that was remembered before the list came: both say the same.
#[track_caller]
fn is_denied(evidence: &[Signature], authority: &Authority, entry: &str) -> bool {
    let list = deny(&[entry]);
    let remembered = admitted(judge_image(evidence, 1, &[("release", authority)], &[]));
    let touched = remembered.rests_on().denied_by(&list);
    match judge_image_under(&list, evidence, 1, &[("release", authority)], &[]) {
        Judgement::Admit(_) => {
            assert_eq!(touched, None, "{entry}");
            false
        }
        judgement => {
            let (code, reason) = denied(judgement);
            assert_eq!(code, Code::DeniedByList, "{reason}");
            assert_eq!(reason, format!("release: {}", touched.expect(entry)));
            true
        }
    }
}

#[test]
fn every_kind_of_entry_names_a_signature_by_a_key_and_nothing_else() {
    let (ours, theirs) = (key(), key());
    let authority = key_authority(&ours);
    for evidence in [vec![bundle(&ours, &statement(SIGN, &json!({})))], tag(&[&ours])] {
        let signature = &evidence[0];
        for entry in [
            format!(r#""signature": "{}""#, signature.manifest().digest()),
            format!(r#""signature": "{}""#, signature.layer().descriptor.digest),
            of_key(&verification_key(&ours)),
        ] {
            assert!(is_denied(&evidence, &authority, &entry), "{entry}");
        }
        for entry in [
            of_key(&verification_key(&theirs)),
            format!(r#""signature": "{}""#, Digest::sha256(b"another")),
            format!(r#""identity": {{"issuer": "{ISSUER}", "subject": "{SUBJECT}"}}"#),
            r#""identity": {"certificate_subject": "C=US, ST=WA, O=Corp"}"#.to_owned(),
        ] {
            assert!(!is_denied(&evidence, &authority, &entry), "{entry}");
        }
    }
}

/// Judges a keyless signature under the list, and its facts as a verdict that is remembered keeps them.
#[track_caller]
fn judge_keyless(material: &Material, authority: &Authority, list: &DenyList) -> Result<Judged, Rejected> {
    let (image, conditions) = (image(), Conditions::default());
    let asked = Asked {
        authority,
        artifact: Artifact::Image(&image),
        purpose: Purpose::ImageSignature,
        conditions: &conditions,
    };
    let (manifest, blob) = (Digest::sha256(b"manifest"), Digest::sha256(b"blob"));
    let origin = Origin {
        manifest: Some(&manifest),
        blob: Some(&blob),
        bundle: None,
    };
    let circumstances = Circumstances {
        denied: list,
        ..Circumstances::at(now())
    };
    let remembered = verify(material, &origin, &asked, &Circumstances::at(now())).unwrap();
    let touched = list.find([&manifest, &blob], [remembered.verified.facts()]);
    let judged = verify(material, &origin, &asked, &circumstances);
    assert_eq!(judged.is_err(), touched.is_some());
    judged
}

#[track_caller]
fn keyless_is_denied(material: &Material, authority: &Authority, entry: &str) -> bool {
    match judge_keyless(material, authority, &deny(&[entry])) {
        Ok(_) => false,
        Err(rejected) => {
            assert_eq!(
                (rejected.step, rejected.failure.code()),
                (Step::DenyList, Code::DeniedByList)
            );
            true
        }
    }
}

fn identity(issuer: &str, subject: &str) -> String {
    format!(r#""identity": {{"issuer": "{issuer}", "subject": "{subject}"}}"#)
}

#[test]
fn every_kind_of_entry_names_a_keyless_signature_and_nothing_else() {
    let keyless = Keyless::new();
    let (material, authority) = (keyless.signature(), keyless.authority());
    let judged = judge_keyless(&material, &authority, &DenyList::default()).unwrap();
    let Signer::Certificate { path, .. } = judged.verified.signer() else {
        panic!("a certificate says who signed");
    };
    let mut entries: Vec<_> = path.iter().flat_map(naming).collect();
    entries.extend(
        ["manifest", "blob"].map(|content| format!(r#""signature": "{}""#, Digest::sha256(content.as_bytes()))),
    );
    entries.push(identity(ISSUER, SUBJECT));
    for entry in &entries {
        assert!(keyless_is_denied(&material, &authority, entry), "{entry}");
    }
    let other = Keyless::new();
    let [certificate, key, serial_number] = naming(&other.leaf);
    for entry in [
        certificate,
        key,
        serial_number,
        // Exactly, and both.
        identity(ISSUER, &format!("{SUBJECT}/")),
        identity(ISSUER, &SUBJECT.to_uppercase()),
        identity(SUBJECT, ISSUER),
        identity("https://another.test", SUBJECT),
    ] {
        assert!(!keyless_is_denied(&material, &authority, &entry), "{entry}");
    }
}

/// Its log's time is of May 1, 2026, the certificate begins on April 30.
#[test]
fn a_window_counts_what_a_log_or_a_timestamp_authority_says() {
    let keyless = Keyless::new();
    let logged = keyless.signature();
    let mut stamped = keyless.signature();
    let signature = stamped.content.signature().to_vec();
    stamped.timestamps = vec![keyless.timestamp_authorities[0].stamp(&signature, "20260501060000Z")];
    let mut stamped_alone = stamped.clone();
    stamped_alone.log_entries.clear();
    let authority = keyless.authority();
    let mut by_timestamp = keyless.authority();
    by_timestamp.evidence = RequiredEvidence {
        timestamps: 1,
        verified_time: true,
        ..RequiredEvidence::default()
    };
    let window = |from: &str, until: &str| {
        let end = |key: &str, at: &str| match at {
            "" => String::new(),
            at => format!(r#", "{key}": "{at}Z""#),
        };
        identity(ISSUER, SUBJECT) + &end("from", from) + &end("until", until)
    };
    for (from, until, by_log, by_authority) in [
        ("", "", true, true),
        ("2026-05-01T00:00:00", "", true, true),
        // The earliest of several times counts: by then it was there.
        ("2026-05-01T00:00:01", "", false, true),
        ("2026-05-01T06:00:00", "", false, true),
        ("2026-05-01T06:00:01", "", false, false),
        // That it was there on May 1 does not say that it was made after April 30.
        ("", "2026-04-30T00:00:01", true, true),
        ("", "2026-04-30T00:00:00", false, false),
        ("2026-04-29T00:00:00", "2026-04-30T00:00:00", false, false),
    ] {
        let entry = window(from, until);
        assert_eq!(keyless_is_denied(&logged, &authority, &entry), by_log, "{entry}");
        assert_eq!(keyless_is_denied(&stamped, &authority, &entry), by_log, "{entry}");
        assert_eq!(
            keyless_is_denied(&stamped_alone, &by_timestamp, &entry),
            by_authority,
            "{entry}"
        );
    }
}

#[test]
fn without_authenticated_time_a_signature_is_in_every_window() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    authority.evidence = RequiredEvidence::default();
    let mut material = keyless.signature();
    material.log_entries.clear();
    let (image, conditions) = (image(), Conditions::default());
    let asked = Asked {
        authority: &authority,
        artifact: Artifact::Image(&image),
        purpose: Purpose::ImageSignature,
        conditions: &conditions,
    };
    let window = r#", "from": "2030-01-01T00:00:00Z", "until": "2031-01-01T00:00:00Z""#;
    for (subject, denied) in [(SUBJECT, true), ("https://ci.test/another", false)] {
        let list = deny(&[&(identity(ISSUER, subject) + window)]);
        let circumstances = Circumstances {
            denied: &list,
            ..Circumstances::at(crate::deployment::signed_at())
        };
        let judged = verify(&material, &Origin::default(), &asked, &circumstances);
        assert_eq!(judged.is_err_and(|rejected| rejected.step == Step::DenyList), denied);
    }
}

#[test]
fn the_certificates_of_a_timestamp_authority_are_named_where_its_timestamp_holds() {
    let keyless = Keyless::new();
    let (plain, authority) = (keyless.signature(), keyless.authority());
    let mut stamped = plain.clone();
    let signature = stamped.content.signature().to_vec();
    stamped.timestamps = vec![keyless.timestamp_authorities[0].stamp(&signature, "20260501000000Z")];
    let mut junk = plain.clone();
    junk.timestamps = vec![keyless.timestamp_authorities[0].stamp(b"another", "20260501000000Z")];
    for certificate in &keyless.timestamp_authorities[0].trusted().certificates {
        let [fingerprint, _, serial_number] = naming(certificate);
        for entry in [fingerprint, serial_number] {
            assert!(keyless_is_denied(&stamped, &authority, &entry), "{entry}");
            assert!(!keyless_is_denied(&plain, &authority, &entry), "{entry}");
            assert!(!keyless_is_denied(&junk, &authority, &entry), "{entry}");
        }
    }
}

#[test]
fn a_denied_signature_hides_no_good_one_and_is_told_before_all_others() {
    let (ours, leaked, theirs) = (key(), key(), key());
    let authority = |key: &KeyPair| key_authority(key);
    let list = deny(&[&of_key(&verification_key(&leaked))]);
    let evidence = tag(&[&theirs, &leaked, &ours]);
    let (our_terms, leaked_terms) = (authority(&ours), authority(&leaked));
    let authorities = [("leaked", &leaked_terms), ("ours", &our_terms)];
    let permit = admitted(judge_image_under(&list, &evidence, 1, &authorities, &[]));
    assert_eq!(permit.grants()[0].authority, "ours");
    assert_eq!(permit.rests_on().denied_by(&list), None);
    let (code, reason) = denied(judge_image_under(&list, &evidence, 2, &authorities, &[]));
    assert_eq!(code, Code::DeniedByList);
    let expected = format!(
        "1 of 2 authorities satisfied; leaked: key sha256:{} is on the deny-list since 2026-05-20T00:00:00Z: leaked (INC-4711) \
         (the closest of 3 signatures)",
        hex(verification_key(&leaked).fingerprint())
    );
    assert_eq!(reason, expected);
}

#[test]
fn the_step_is_told_like_any_other() {
    let keyless = Keyless::new();
    let (material, authority) = (keyless.signature(), keyless.authority());
    let told = |list: &DenyList| {
        let judged = judge_keyless(&material, &authority, list);
        let all = steps(judged.as_ref().map(|judged| &judged.verified));
        let step = all.into_iter().find(|report| report.step == Step::DenyList);
        step.map(|report| report.outcome)
    };
    let passed = StepOutcome::Passed("no entry of the deny-list names it".to_owned());
    assert_eq!(told(&DenyList::default()), Some(passed));
    let failed =
        format!("identity {SUBJECT} ({ISSUER}) is on the deny-list since 2026-05-20T00:00:00Z: leaked (INC-4711)");
    let list = deny(&[&identity(ISSUER, SUBJECT)]);
    assert_eq!(told(&list), Some(StepOutcome::Failed(failed)));
}

#[test]
fn a_denied_attestation_satisfies_nothing_and_another_may() {
    let (ours, other) = (key(), key());
    let authority = key_authority(&ours);
    let (one, two) = (provenance(&ours, "b"), provenance(&ours, "b2"));
    let requirement = built_by("b");
    let asked = [("builder", &authority, &requirement)];
    let by_digest = deny(&[&format!(r#""signature": "{}""#, one.manifest().digest())]);
    for list in [&by_digest, &deny(&[&of_key(&verification_key(&ours))])] {
        let judged = judge_image_under(list, &[one.clone(), two.clone()], 0, &[], &asked);
        let (code, reason) = denied(judged);
        assert_eq!(code, Code::DeniedByList, "{reason}");
    }
    let of_another = deny(&[&of_key(&verification_key(&other))]);
    let permit = admitted(judge_image_under(
        &of_another,
        std::slice::from_ref(&one),
        0,
        &[],
        &asked,
    ));
    assert!(permit.rests_on().denied_by(&by_digest).is_some());
    let again = bundle(
        &ours,
        &statement(
            crate::deployment::SLSA,
            &json!({ "runDetails": { "builder": { "id": "b" } }, "again": true }),
        ),
    );
    let permit = admitted(judge_image_under(&by_digest, &[one, again], 0, &[], &asked));
    assert_eq!(permit.rests_on().denied_by(&by_digest), None);
}

/// Who may only deny must not admit an image by denying its newest scan.
#[test]
fn a_denied_scan_brings_no_older_one_back() {
    let key = key();
    let authority = key_authority(&key);
    let requirement = no_worse_than_high();
    let asked = [("builder", &authority, &requirement)];
    let old = scan(&key, "2026-11-18T00:00:00Z", &["LOW"]);
    let bad = scan(&key, "2026-11-20T00:00:00Z", &["CRITICAL"]);
    let mended = scan(&key, "2026-11-21T00:00:00Z", &[]);
    let list = deny(&[&format!(r#""signature": "{}""#, bad.manifest().digest())]);
    for evidence in [[old.clone(), bad.clone()], [bad.clone(), old.clone()]] {
        let (code, reason) = denied(judge_image_under(&list, &evidence, 0, &[], &asked));
        assert_eq!(code, Code::DeniedByList, "{reason}");
    }
    // A newer one that is good counts, and a denied one that is older spoils nothing.
    for evidence in [[bad.clone(), mended.clone()], [mended.clone(), bad]] {
        admitted(judge_image_under(&list, &evidence, 0, &[], &asked));
    }
    let of_old = deny(&[&format!(r#""signature": "{}""#, old.manifest().digest())]);
    admitted(judge_image_under(&of_old, &[old, mended.clone()], 0, &[], &asked));
    // Nor does one of unknown age become known by being denied.
    let undated = bundle(
        &key,
        &statement(
            "https://cosign.sigstore.dev/attestation/vuln/v1",
            &json!({ "scanner": { "result": {} } }),
        ),
    );
    let of_undated = deny(&[&format!(r#""signature": "{}""#, undated.manifest().digest())]);
    denied(judge_image_under(&of_undated, &[mended, undated], 0, &[], &asked));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is there and whatever of it is denied: what is admitted under the list would be admitted without it.
    #[test]
    fn a_deny_list_only_ever_adds_denials(
        scans in proptest::collection::vec((15..22_u8, any::<bool>(), any::<bool>(), any::<bool>()), 1..6),
    ) {
        let (ours, other) = (key(), key());
        let mut authority = key_authority(&ours);
        authority.signers = Signers::Keys(vec![verification_key(&ours), verification_key(&other)]);
        let requirement = no_worse_than_high();
        let asked = [("builder", &authority, &requirement)];
        let scans: Vec<_> = scans
            .into_iter()
            .map(|(day, by_other, is_bad, is_denied)| {
                let severities: &[&str] = if is_bad { &["CRITICAL"] } else { &[] };
                let key = if by_other { &other } else { &ours };
                (scan(key, &format!("2026-11-{day}T00:00:00Z"), severities), is_denied)
            })
            .collect();
        let evidence: Vec<_> = scans.iter().map(|(scan, _)| scan.clone()).collect();
        let entries: Vec<_> = scans
            .iter()
            .filter(|(_, is_denied)| *is_denied)
            .map(|(scan, _)| format!(r#""signature": "{}""#, scan.manifest().digest()))
            .collect();
        let list = deny(&entries.iter().map(String::as_str).collect::<Vec<_>>());
        for list in [list, deny(&[&of_key(&verification_key(&other))])] {
            if matches!(judge_image_under(&list, &evidence, 0, &[], &asked), Judgement::Admit(_)) {
                prop_assert!(matches!(judge_image(&evidence, 0, &[], &asked), Judgement::Admit(_)));
            }
        }
    }
}
