//! Signatures that a deny-list names.

use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::deny_list::DenyList;
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::judge::{Judgement, Permit, Rejection, Requirement, RestsOn, Subject, judge};
use assay_verify::notation::signature::{Asked, NotVerified, Rejected, StepOutcome, verify_blob};
use assay_verify::notation::statement::{Action, Checks};
use assay_verify::notation::steps::{Failure, Step, open};
use assay_verify::notation::trust_policy::VerifyTimestamp;
use assay_verify::policy::Conditions;
use assay_verify::x509::certificate::Certificate;
use rcgen::{DnType, DnValue};

use crate::conditions::revocable;
use crate::countersigned::{Chains, Judge, answers};
use crate::deny_list::{deny, naming};
use crate::support::*;

fn judge_image(signatures: &[Signature], trust: &Trust, accept_unverified: bool, denied: &DenyList) -> Judgement {
    let repository = "registry.example/app".parse().unwrap();
    let descriptor = image();
    let subject = Subject {
        repository: &repository,
        descriptor: &descriptor,
    };
    let requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &[("corp", trust.authority())],
        accept_unverified,
        conditions: &Conditions::default(),
    };
    let circumstances = Circumstances {
        denied,
        ..Circumstances::at(now())
    };
    judge(signatures, &subject, &requirement, &circumstances)
}

#[track_caller]
fn admitted(judgement: Judgement) -> Permit {
    match judgement {
        Judgement::Admit(permit) => *permit,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn rejected(judgement: Judgement) -> Rejection {
    match judgement {
        Judgement::Reject(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

/// Judges the signature under the list, and a verdict that was remembered before the list came: both say the same.
#[track_caller]
fn is_denied(signature: &Signature, trust: &Trust, entry: &str) -> bool {
    let list = deny(&[entry]);
    let signature = std::slice::from_ref(signature);
    let remembered = admitted(judge_image(signature, trust, false, &DenyList::default()));
    let touched = remembered.rests_on().denied_by(&list);
    match judge_image(signature, trust, false, &list) {
        Judgement::Admit(permit) => {
            assert_eq!(touched, None, "{entry}");
            assert_eq!(permit.rests_on(), remembered.rests_on());
            false
        }
        judgement => {
            let rejection = rejected(judgement);
            assert_eq!(rejection.code, Code::DeniedByList, "{entry}: {}", rejection.reason);
            let expected = format!("corp: {}", touched.expect(entry));
            assert_eq!(rejection.reason, expected);
            true
        }
    }
}

/// A signature with an intermediate, and the certificates of its chain.
fn signature() -> (Signature, Trust, Vec<Certificate>) {
    let chain = ChainParts::with_intermediate().build();
    let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
    (signature, Trust::anchored_by(&chain[2]), parse(&chain))
}

fn identity(subject: &str) -> String {
    format!(r#""identity": {{"certificate_subject": "{subject}"}}"#)
}

#[test]
fn every_kind_of_entry_names_what_it_is_about_and_nothing_else() {
    let (signature, trust, chain) = signature();
    let manifest = signature.manifest().digest();
    let envelope = &signature.layer().descriptor.digest;
    let mut naming_it = vec![
        format!(r#""signature": "{manifest}""#),
        format!(r#""signature": "{envelope}""#),
        // Who takes the signature for an image means it all the same.
        format!(r#""image": "{manifest}""#),
        identity("C=US, ST=WA, O=Corp, CN=release"),
        identity("O=Corp,CN=release;ST=WA, C=US"),
        identity("C=US, ST=WA, O=Corp"),
    ];
    naming_it.extend(chain.iter().flat_map(naming));
    for entry in &naming_it {
        assert!(is_denied(&signature, &trust, entry), "{entry}");
    }
    let (other, _, others) = self::signature();
    let leaf = &others[0];
    let serial = |name: &str, serial: &str| format!(r#""issuer": "CN={name},O=Corp,ST=WA,C=US", "serial": "{serial}""#);
    let of_leaf = assay_verify::digest::hex(chain[0].serial_number());
    for entry in [
        format!(r#""signature": "{}""#, other.manifest().digest()),
        format!(r#""certificate": "sha256:{}""#, leaf.fingerprint()),
        format!(r#""key": "{}""#, Digest::sha256(b"another key")),
        identity("C=US, ST=WA, O=Corp, CN=another"),
        identity("C=US, ST=WA, O=Corp, CN=release, OU=more"),
        // The name of an authority is no signer's.
        identity("C=US, ST=WA, O=Corp, CN=intermediate"),
        serial("root", &of_leaf),
        serial("intermediate", &format!("{of_leaf}00")),
        serial("intermediate", "0"),
        format!(r#""issuer": "CN=intermediate,O=Corp,C=US", "serial": "{of_leaf}""#),
        r#""identity": {"issuer": "https://idp.example", "subject": "release"}"#.to_owned(),
    ] {
        assert!(!is_denied(&signature, &trust, &entry), "{entry}");
    }
}

#[test]
fn a_serial_number_is_the_same_however_it_is_printed() {
    let mut parts = ChainParts::with_intermediate();
    parts.leaf.serial_number = Some(vec![0x0a, 0x1b, 0xff].into());
    let chain = parts.build();
    let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
    let trust = Trust::anchored_by(&chain[2]);
    for (issuer, serial) in [
        ("CN=intermediate,O=Corp,ST=WA,C=US", "0a1bff"),
        ("C = US, ST = WA, O = Corp, CN = intermediate", "0A1BFF"),
        ("C=US;ST=WA;O=corp;CN=Intermediate", "00:0A:1B:FF"),
        ("CN=intermediate+O=Corp,ST=WA,C=US", "a1bff"),
    ] {
        let entry = format!(r#""issuer": "{issuer}", "serial": "{serial}""#);
        assert!(is_denied(&signature, &trust, &entry), "{entry}");
    }
}

/// Whatever a trusted identity recognises, and more: certificates that none could recognise count through their key or
/// through everybody's acceptance.
#[test]
fn nobody_slips_past_an_identity_by_how_its_name_is_encoded() {
    let bmp = |text: &str| DnValue::BmpString(text.try_into().unwrap());
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    let teletex = |text: &str| DnValue::TeletexString(text.try_into().unwrap());
    let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
    let name = |values: [(DnType, DnValue); 4]| {
        let mut parts = ChainParts::default();
        parts.leaf.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in values {
            parts.leaf.distinguished_name.push(kind, value);
        }
        parts
    };
    use DnType::{CommonName, CountryName, OrganizationName, StateOrProvinceName};
    for parts in [
        name([
            (CommonName, printable("release")),
            (OrganizationName, bmp("Corp")),
            (StateOrProvinceName, teletex("WA")),
            (CountryName, printable("US")),
        ]),
        name([
            (CountryName, utf8("US")),
            (CommonName, bmp("release")),
            (StateOrProvinceName, utf8("WA")),
            (OrganizationName, teletex("Corp")),
        ]),
        // Names that X.500 calls equal.
        name([
            (CountryName, utf8("us")),
            (StateOrProvinceName, utf8(" WA")),
            (OrganizationName, utf8("CORP")),
            (CommonName, utf8("Release ")),
        ]),
    ] {
        let mut with_more = parts;
        let unnamed = DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]);
        for leaf in [with_more.leaf.clone(), {
            with_more.leaf.distinguished_name.push(unnamed, "a@corp.example");
            with_more.leaf.clone()
        }] {
            let chain = ChainParts {
                leaf,
                ..ChainParts::default()
            }
            .build();
            let signature = evidence(JWS, &Jws::new(EnvelopeAlgorithm::Es256, &chain).envelope(), &image());
            let trust = Trust::anchored_by(&chain[1]);
            assert!(is_denied(
                &signature,
                &trust,
                &identity("C=US, ST=WA, O=Corp, CN=release")
            ));
            assert!(!is_denied(
                &signature,
                &trust,
                &identity("C=US, ST=WA, O=Corp, CN=releases")
            ));
        }
    }
}

#[test]
fn an_entry_counts_whatever_the_level_and_whoever_vouches() {
    let (signature, trust, chain) = signature();
    let stranger = ca("stranger").self_signed(&*ROOT_KEY).unwrap();
    let list = deny(&[&naming(&chain[0])[1]]);
    for trust in [
        trust.checks(Checks::PERMISSIVE),
        Trust::anchored_by(chain[2].der()).checks(Checks::AUDIT),
        // Nobody vouches for it, and the rule accepts that.
        Trust::anchored_by(stranger.der()).checks(Checks::AUDIT),
    ] {
        let permit = admitted(judge_image(
            std::slice::from_ref(&signature),
            &trust,
            true,
            &DenyList::default(),
        ));
        assert!(permit.rests_on().denied_by(&list).is_some());
        let rejection = rejected(judge_image(std::slice::from_ref(&signature), &trust, true, &list));
        assert_eq!(rejection.code, Code::DeniedByList, "{}", rejection.reason);
    }
}

#[test]
fn nothing_is_asked_about_a_signature_that_is_denied() {
    let (of_list, root) = revocable();
    let mut jws = jws();
    jws.protected["io.cncf.notary.verificationPlugin"] = "com.example.plugin".into();
    jws.mark_critical("io.cncf.notary.verificationPlugin");
    let of_plugin = evidence(JWS, &jws.envelope(), &image());
    let by_name = identity("C=US, ST=WA, O=Corp, CN=release");
    for (signature, trust) in [
        (of_list, Trust::anchored_by(&root)),
        (of_plugin, Trust::anchored_by(self::root())),
    ] {
        let signature = [signature];
        let asked = judge_image(&signature, &trust, false, &DenyList::default());
        assert!(matches!(asked, Judgement::Need(_)));
        let rejection = rejected(judge_image(&signature, &trust, false, &deny(&[&by_name])));
        assert_eq!(rejection.code, Code::DeniedByList, "{}", rejection.reason);
    }
}

#[test]
fn a_denied_signature_hides_no_good_one_and_is_told_before_all_others() {
    let (denied, good) = (evidence(COSE, &cose().envelope(), &image()), good());
    let list = deny(&[&format!(r#""signature": "{}""#, denied.manifest().digest())]);
    let trust = Trust::anchored_by(root());
    for signatures in [[denied.clone(), good.clone()], [good.clone(), denied.clone()]] {
        let permit = admitted(judge_image(&signatures, &trust, false, &list));
        assert!(permit.rests_on().digests.contains(good.manifest().digest()));
        assert_eq!(permit.rests_on().denied_by(&list), None);
    }
    // Beside one that has expired, and beside one that nobody vouches for.
    let mut expired = jws();
    expired.protected["io.cncf.notary.expiry"] = "2026-05-15T00:00:00Z".into();
    let expired = evidence(JWS, &expired.envelope(), &image());
    for (trust, other) in [
        (Trust::anchored_by(root()), &expired),
        (
            Trust::anchored_by(ca("stranger").self_signed(&*ROOT_KEY).unwrap().der()).checks(Checks::AUDIT),
            &good,
        ),
    ] {
        for signatures in [[denied.clone(), other.clone()], [other.clone(), denied.clone()]] {
            let rejection = rejected(judge_image(&signatures, &trust, false, &list));
            assert_eq!(rejection.code, Code::DeniedByList, "{}", rejection.reason);
            let expected = format!(
                "corp: signature {} is on the deny-list since 2026-05-20T00:00:00Z: leaked (INC-4711) (the closest of 2 \
                 signatures)",
                denied.manifest().digest()
            );
            assert_eq!(rejection.reason, expected);
        }
    }
}

/// A denial is of this image: the signature of another one is no reason to speak of a leaked key.
#[test]
fn a_signature_of_another_image_is_not_denied_but_of_another_image() {
    let (signature, trust, chain) = signature();
    let other = assay_verify::descriptor::Descriptor { size: 6, ..image() };
    let list = deny(&[&naming(&chain[0])[0]]);
    let asked = Asked {
        target: &other,
        terms: trust.terms(),
        stores: &trust.stores,
        conditions: &Conditions::default(),
    };
    let circumstances = Circumstances {
        denied: &list,
        ..Circumstances::at(now())
    };
    let judgement = assay_verify::notation::signature::verify(&signature, &asked, &circumstances);
    let Err(NotVerified::Rejected(rejected)) = judgement.result else {
        panic!("{judgement:?}");
    };
    assert_eq!(rejected.step, Step::Subject);
}

#[test]
fn the_certificates_of_a_countersignature_are_named_where_it_counts() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let (stamped, unstamped) = (chains.sign(|_| {}), chains.unstamped());
    let trust = chains.trust(Checks::STRICT);
    let after_expiry = VerifyTimestamp::AfterCertificateExpiry;
    // Not by key: both chains are made with the same ones.
    let entries = parse(&chains.time).into_iter().flat_map(|certificate| {
        let [certificate, _, serial_number] = naming(&certificate);
        [certificate, serial_number]
    });
    for entry in entries {
        let judge = |when, signature| {
            let judge = Judge {
                when,
                denied: deny(&[&entry]),
                ..Judge::new(&trust)
            };
            judge.ended(signature, NOW)
        };
        let denied = Some((Step::DenyList, Code::DeniedByList));
        assert_eq!(judge(VerifyTimestamp::Always, &stamped), denied, "{entry}");
        // Nobody looks at it before a certificate has expired.
        assert_eq!(judge(after_expiry, &stamped), None, "{entry}");
        assert_eq!(judge(after_expiry, &unstamped), None, "{entry}");
    }
}

/// Certificates are valid from January 1, 2026; the countersignature is of May 1.
#[test]
fn a_window_counts_authenticated_time_only_and_nobody_without_it_is_outside() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let trust = chains.trust(Checks::STRICT);
    let exact = chains.sign(|_| {});
    let a_second = chains.sign(|token| token.info.rest = crate::token::sequence([&crate::token::integer(1)]));
    let unstamped = chains.unstamped();
    let by_authority = evidence(
        JWS,
        &Jws::new(EnvelopeAlgorithm::Es256, &chains.signer)
            .by_signing_authority()
            .envelope(),
        &image(),
    );
    let mut of_authority = chains.trust(Checks::STRICT);
    of_authority.names.push("signingAuthority:corp".parse().unwrap());
    let of_authority = of_authority.with_store("signingAuthority:corp", &chains.signer[2]);
    let of_authority = Trust {
        names: vec!["signingAuthority:corp".parse().unwrap()],
        ..of_authority
    };
    let window = |from: &str, until: &str| {
        let end = |key: &str, at: &str| match at {
            "" => String::new(),
            at => format!(r#", "{key}": "{at}T00:00:00Z""#),
        };
        identity("C=US, ST=WA, O=Corp, CN=release") + &end("from", from) + &end("until", until)
    };
    for (from, until, stamped_denied) in [
        ("", "", true),
        ("2026-04-30", "", true),
        ("2026-05-01", "", true),
        ("2026-05-02", "", false),
        ("2026-05-02", "2026-06-01", false),
        ("2026-04-01", "2026-06-01", true),
        // A signature of March can have been stamped in May: only a certificate that did not exist yet is after a window.
        ("2026-03-01", "2026-04-01", true),
        ("", "2026-01-02", true),
        ("", "2026-01-01", false),
        ("2025-01-01", "2026-01-01", false),
    ] {
        let entry = window(from, until);
        let ended = |trust: &Trust, when, signature: &Signature| {
            let judge = Judge {
                when,
                denied: deny(&[&entry]),
                ..Judge::new(trust)
            };
            judge.ended(signature, NOW)
        };
        let denied = Some((Step::DenyList, Code::DeniedByList));
        let expected = denied.filter(|_| stamped_denied);
        assert_eq!(ended(&trust, VerifyTimestamp::Always, &exact), expected, "{entry}");
        // The statement would not look at it yet; the window asks for it.
        let after_expiry = VerifyTimestamp::AfterCertificateExpiry;
        assert_eq!(ended(&trust, after_expiry, &exact), expected, "{entry}");
        assert_eq!(ended(&trust, after_expiry, &unstamped), denied, "{entry}");
        assert_eq!(ended(&of_authority, after_expiry, &by_authority), denied, "{entry}");
        assert_eq!(ended(&trust, VerifyTimestamp::Always, &a_second), expected, "{entry}");
    }
    // The whole of the time in which the token may have been made counts.
    let later = |signature| {
        let judge = Judge {
            denied: deny(&[&(identity("C=US, ST=WA, O=Corp, CN=release") + r#", "from": "2026-05-01T00:00:01Z""#)]),
            ..Judge::new(&trust)
        };
        judge.ended(signature, NOW)
    };
    assert_eq!(later(&exact), None);
    assert_eq!(later(&a_second), Some((Step::DenyList, Code::DeniedByList)));
}

#[test]
fn a_countersignature_that_does_not_hold_is_outside_of_no_window_and_spoils_nothing_else() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let trust = chains.trust(Checks::STRICT);
    let junk = chains.sign(|token| token.version = 1);
    let judge = |subject: &str| {
        let judge = Judge {
            when: VerifyTimestamp::AfterCertificateExpiry,
            denied: deny(&[&(identity(subject) + r#", "from": "2026-05-02T00:00:00Z""#)]),
            ..Judge::new(&trust)
        };
        judge.ended(&junk, NOW)
    };
    let denied = Some((Step::DenyList, Code::DeniedByList));
    assert_eq!(judge("C=US, ST=WA, O=Corp, CN=release"), denied);
    assert_eq!(judge("C=US, ST=WA, O=Corp, CN=another"), None);
}

/// An entry only adds denials: that the time is looked at for its sake must not stand in for the validity of today.
#[test]
fn a_window_makes_no_certificate_valid_before_its_time() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let signature = chains.sign(|_| {});
    let trust = chains.trust(Checks::STRICT);
    for entries in [
        vec![],
        vec![identity("C=US, ST=WA, O=Corp, CN=release") + r#", "from": "2026-05-02T00:00:00Z""#],
    ] {
        let judge = Judge {
            when: VerifyTimestamp::AfterCertificateExpiry,
            denied: deny(&entries.iter().map(String::as_str).collect::<Vec<_>>()),
            ..Judge::new(&trust)
        };
        let expired = Some((Step::AuthenticTimestamp, Code::CertificateExpired));
        assert_eq!(judge.ended(&signature, "2025-12-31T00:00:00Z"), expired);
    }
}

/// A stolen key of a timestamp authority would bring every signature outside of a window.
#[test]
fn a_window_never_ends_with_a_revoked_timestamp_authority() {
    let chains = Chains::new(ChainParts::with_intermediate());
    let signature = chains.sign(|_| {});
    let trust = chains.trust(Checks {
        authentic_timestamp: Action::Log,
        ..Checks::STRICT
    });
    let window = identity("C=US, ST=WA, O=Corp, CN=release") + r#", "from": "2026-05-02T00:00:00Z""#;
    let revoked = Some((Step::TimestampRevocation, Code::CertificateRevoked));
    for (entries, is_revoked, expected) in [
        (&[][..], true, None),
        (&[window.as_str()], false, None),
        (&[window.as_str()], true, revoked),
    ] {
        let judge = Judge {
            answers: answers(is_revoked),
            denied: deny(entries),
            ..Judge::new(&trust)
        };
        assert_eq!(judge.ended(&signature, NOW), expected, "{entries:?} {is_revoked}");
    }
}

#[test]
fn the_signature_of_a_file_takes_the_same_step() {
    let chain = ChainParts::default().build();
    let mut jws = Jws::new(EnvelopeAlgorithm::Es256, &chain);
    let content = b"file";
    let target = assay_verify::descriptor::Descriptor {
        media_type: assay_verify::descriptor::MediaType::parse("application/octet-stream").unwrap(),
        digest: Digest::sha256(content),
        size: content.len() as u64,
    };
    jws.payload = payload(&target);
    let envelope = jws.envelope();
    let opened = open(assay_verify::envelope::Format::Jws, &envelope);
    let trust = Trust::anchored_by(&chain[1]);
    let blob = assay_verify::artifact::Blob {
        digest: target.digest.to_string().parse().unwrap(),
        size: target.size,
        media_type: None,
    };
    let asked = Asked {
        target: &blob,
        terms: trust.terms(),
        stores: &trust.stores,
        conditions: &Conditions::default(),
    };
    let mut entries = vec![format!(r#""signature": "{}""#, Digest::sha256(&envelope))];
    entries.extend(parse(&chain).iter().flat_map(naming));
    let judge = |denied: &DenyList| {
        let circumstances = Circumstances {
            denied,
            ..Circumstances::at(now())
        };
        verify_blob(&opened, &asked, &circumstances)
    };
    judge(&DenyList::default()).result.unwrap();
    for entry in &entries {
        let judgement = judge(&deny(&[entry]));
        let Err(NotVerified::Rejected(Rejected { step, failure })) = judgement.result else {
            panic!("{entry}");
        };
        assert_eq!((step, failure.code()), (Step::DenyList, Code::DeniedByList));
        let told = judgement.steps.iter().find(|report| report.step == Step::DenyList);
        assert!(
            matches!(&told.unwrap().outcome, StepOutcome::Failed(Failure::Denied(entry)) if *entry.reason() == "leaked".into())
        );
    }
}

#[test]
fn a_remembered_verdict_is_touched_by_the_digest_of_its_image_and_by_either_of_two_lists() {
    let permit = admitted(judge_image(
        &[good()],
        &Trust::anchored_by(root()),
        false,
        &DenyList::default(),
    ));
    let touched = |rests_on: &RestsOn, list: &DenyList| rests_on.denied_by(list).map(ToString::to_string);
    let by_image = deny(&[&format!(r#""image": "{}""#, image().digest)]);
    let by_other = deny(&[&format!(r#""image": "{}""#, Digest::sha256(b"another"))]);
    let rests_on = permit.rests_on();
    assert!(touched(rests_on, &by_image).unwrap().starts_with("image sha256:"));
    assert_eq!(touched(rests_on, &by_other), None);
    assert_eq!(
        touched(rests_on, &by_other.union(&by_image)),
        touched(rests_on, &by_image)
    );
    assert_eq!(touched(rests_on, &DenyList::default()), None);
    assert_eq!(touched(&RestsOn::default(), &by_image), None);
}
