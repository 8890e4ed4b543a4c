//! Authorities of the type `cosign`: what they may say, and what follows for signatures.

use super::*;
use crate::policy::{AuthoritySource, Policy};
use crate::sigstore::fulcio::{Claim, Holder, SubjectKind};
use crate::sigstore::identity::TextMatcher;

const IDENTITIES: &str = "identities = [{ issuer = \"https://idp.example\", subject = \"a@corp.example\" }]\n";

fn document(lines: &str) -> String {
    format!(
        "version = 1\nunmatched = \"deny\"\n[[rule]]\nname = \"r\"\nimages = [\"**\"]\nrequire = {{ all = [\"corp\"] }}\n[authority.corp]\ntype = \"cosign\"\n{lines}\n"
    )
}

/// The authority with these lines, in a policy that is right.
#[track_caller]
fn read(lines: &str) -> CosignDocument {
    let parsed = Policy::parse("policy.toml", &document(lines));
    let policy = parsed
        .policy
        .unwrap_or_else(|| panic!("{lines}: {:#?}", parsed.diagnostics));
    assert!(parsed.diagnostics.is_empty(), "{:#?}", parsed.diagnostics);
    match policy.authorities().values().next().map(|authority| &authority.source) {
        Some(AuthoritySource::Cosign(document)) => (**document).clone(),
        other => panic!("{other:?}"),
    }
}

/// The authority with these lines has exactly this problem.
#[track_caller]
fn refused(lines: &str, expected: &str) {
    let parsed = Policy::parse("policy.toml", &document(lines));
    assert!(parsed.policy.is_none(), "{lines}");
    let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1, "{lines}: {found:#?}");
    assert!(found[0].contains(expected), "{}\ndoes not say\n{expected}", found[0]);
    assert!(found[0].contains("policy.toml:"), "{}", found[0]);
}

#[test]
fn reads_keys() {
    let found = read("keys = [\"keys/release.pub\", \"keys/old.pub\"]");
    assert_eq!(
        found.signers,
        SignersDocument::Keys {
            files: vec![
                FileName::new("keys/release.pub").unwrap(),
                FileName::new("keys/old.pub").unwrap()
            ],
            root: None,
        }
    );
    assert_eq!((found.stated, found.annotations.len()), (StatedEvidence::default(), 0));
    assert_eq!((found.repository, found.accept_dsse_v0_0_2), (None, false));
}

#[test]
fn reads_identities_and_everything_that_stands_beside_them() {
    let found = read(
        r#"
trusted_root = "public-good"
identities = [{ issuer = "https://token.actions.githubusercontent.com", subject_regex = "https://github\\.com/corp/.+", source_repository = "https://github.com/corp/app", source_repository_ref_regex = "refs/(heads|tags)/.+" }]
transparency_log = 1
signed_certificate_timestamps = 2
timestamps = 0
annotations = { env = "prod" }
repository = "registry.corp.example/signatures"
accept_dsse_v0_0_2 = true
"#,
    );
    assert_eq!(found.root(), Some(&RootName::Shipped(ShippedRoot::PublicGood)));
    let SignersDocument::Identities { identities, .. } = &found.signers else {
        panic!("{found:?}");
    };
    let holder = |subject: &str, repository: &str| Holder {
        subject: subject.into(),
        subject_kind: SubjectKind::Uri,
        issuer: Some("https://token.actions.githubusercontent.com".into()),
        claims: [
            (Claim::SourceRepository, repository.into()),
            (Claim::SourceRepositoryRef, "refs/heads/main".into()),
        ]
        .into(),
    };
    let app = "https://github.com/corp/app";
    assert!(identities[0].accepts(&holder("https://github.com/corp/app/x@y", app)));
    assert!(!identities[0].accepts(&holder(
        "https://github.com/corp/app/x@y",
        "https://github.com/corp/other"
    )));
    assert!(!identities[0].accepts(&holder("https://evil.example/https://github.com/corp/app", app)));
    assert_eq!(
        found.stated,
        StatedEvidence {
            log_entries: Some(1),
            timestamps: Some(0),
            signed_certificate_timestamps: Some(2),
        }
    );
    assert_eq!(found.annotations, [("env".into(), "prod".into())].into());
    assert_eq!(
        found.repository,
        Some("registry.corp.example/signatures".parse().unwrap())
    );
    assert!(found.accept_dsse_v0_0_2);
}

#[test]
fn reads_own_certificate_authorities() {
    let found = read(&format!("ca = [\"ca.pem\"]\nintermediates = [\"i.pem\"]\n{IDENTITIES}"));
    let SignersDocument::Identities { anchors, identities } = &found.signers else {
        panic!("{found:?}");
    };
    assert_eq!(
        *anchors,
        AnchorsDocument::Certificates {
            anchors: vec![FileName::new("ca.pem").unwrap()],
            intermediates: vec![FileName::new("i.pem").unwrap()],
        }
    );
    assert_eq!(identities[0].subject, TextMatcher::Exact("a@corp.example".into()));
    assert_eq!(found.root(), None);
}

#[test]
fn a_trusted_root_is_a_name_or_a_file() {
    let root = |name: &str| {
        read(&format!("trusted_root = \"{name}\"\n{IDENTITIES}"))
            .root()
            .cloned()
    };
    assert_eq!(root("github"), Some(RootName::Shipped(ShippedRoot::GitHub)));
    for file in ["root.json", "sigstore/root", "./github", "/etc/root.json"] {
        assert_eq!(root(file), FileName::new(file).map(RootName::File), "{file}");
    }
    refused(
        &format!("trusted_root = \"GitHub\"\n{IDENTITIES}"),
        "there is no trusted root \"GitHub\"",
    );
    refused(
        &format!("trusted_root = \"\"\n{IDENTITIES}"),
        "there is no trusted root \"\"",
    );
}

/// Nothing that has no meaning is passed over (CVE-2025-29778: matchers were ignored).
#[test]
fn refuses_what_has_no_meaning_and_says_the_way_out() {
    let keys = "keys = [\"a.pub\"]\n";
    let keyless = |lines: &str| format!("trusted_root = \"github\"\n{IDENTITIES}{lines}");
    refused("", "authority corp names no signer");
    refused(
        &format!("{keys}trusted_root = \"github\"\n{IDENTITIES}"),
        "has both keys and identities",
    );
    refused("keys = []", "keys is empty");
    refused("keys = [\"\"]", "names no file");
    refused("keys = [\"a\", \"a\"]", "is in keys twice");
    refused("keys = \"a.pub\"", "keys must be a list");
    refused(&format!("{keys}ca = [\"ca.pem\"]"), "ca has no meaning beside keys");
    refused(
        &format!("{keys}intermediates = [\"ca.pem\"]"),
        "intermediates has no meaning beside keys",
    );
    refused(
        &format!("{keys}transparency_log = 1"),
        "transparency_log has no meaning without a trusted root",
    );
    refused(
        &format!("{keys}timestamps = 1"),
        "timestamps has no meaning without a trusted root",
    );
    refused(
        &format!("{keys}trusted_root = \"github\"\nsigned_certificate_timestamps = 1"),
        "signed_certificate_timestamps has no meaning beside keys",
    );
    refused(
        IDENTITIES,
        "identities have no meaning without somebody who vouches for them",
    );
    refused(
        &format!("ca = [\"a.pem\"]\n{}", keyless("")),
        "has both ca and trusted_root",
    );
    refused(
        &keyless("intermediates = [\"i.pem\"]"),
        "intermediates has no meaning without ca",
    );
    refused(
        &format!("ca = [\"a.pem\"]\nsigned_certificate_timestamps = 1\n{IDENTITIES}"),
        "signed_certificate_timestamps has no meaning without a trusted root",
    );
    refused(&keyless("transparency_log = -1"), "transparency_log cannot be -1");
    refused(&keyless("timestamps = 9"), "timestamps cannot be 9");
    refused(&keyless("repository = \"a.example/b:tag\""), "repository");
    refused(&keyless("annotations = {}"), "annotations has 0 keys");
    refused(&keyless("accept_dsse_v0_0_2 = 1"), "must be true or false");
    refused(&keyless("level = \"strict\""), "unknown key \"level\"");
    refused(&keyless("subject = \"a\""), "unknown key \"subject\"");
}

#[test]
fn refuses_identities_that_anybody_could_have() {
    let refused = |identity: &str, expected: &str| {
        refused(
            &format!("trusted_root = \"github\"\nidentities = [{identity}]"),
            expected,
        );
    };
    refused("", "identities has 0 items");
    refused("\"a\"", "each of identities must be a table");
    refused("{ issuer = \"a\" }", "an identity is missing its subject");
    refused("{ subject = \"a\" }", "an identity is missing its issuer");
    refused(
        "{ issuer = \"a\", subject = \"b\", subject_regex = \"c\" }",
        "subject and subject_regex cannot both",
    );
    refused(
        "{ issuer_regex = \"a\", issuer = \"b\", subject = \"c\" }",
        "issuer and issuer_regex cannot both",
    );
    refused("{ issuer = \"\", subject = \"c\" }", "issuer is empty");
    refused("{ issuer = \"a\", subject_regex = \"\" }", "subject_regex is empty");
    refused(
        "{ issuer = \"a\", subject_regex = \"a(\" }",
        "subject_regex cannot be used",
    );
    refused(
        "{ issuer = \"a\", subject_regex = \"a)|(?:b\" }",
        "subject_regex cannot be used",
    );
    refused(
        "{ issuer = \"a\", subject_regex = \"(?=a)\" }",
        "subject_regex cannot be used",
    );
    // cosign's and Kyverno's spellings of a regular expression.
    refused(
        "{ issuer = \"a\", subject = \"b\", subjectRegExp = \"c\" }",
        "unknown key \"subjectRegExp\"",
    );
    refused(
        "{ issuer = \"a\", subject = \"b\", sourcerepository = \"c\" }",
        "unknown key \"sourcerepository\"",
    );
    refused(
        "{ issuer = \"a\", subject = \"b\", source_repository = \"c\", source_repository_regex = \"d\" }",
        "source_repository and source_repository_regex cannot both",
    );
}

/// An issuer or a subject is the whole text (CVE-2026-22772).
#[test]
fn regular_expressions_fit_the_whole_text() {
    let found = read(
        "trusted_root = \"github\"\nidentities = [{ issuer_regex = \"https://idp\\\\.example|https://b\\\\.example\", subject = \"x\" }]",
    );
    let SignersDocument::Identities { identities, .. } = &found.signers else {
        panic!("{found:?}");
    };
    for (issuer, accepted) in [
        ("https://idp.example", true),
        ("https://b.example", true),
        ("https://idp.example.evil.example", false),
        ("https://evil.example/?https://b.example", false),
        ("https://idpxexample", false),
    ] {
        let holder = Holder {
            subject: "x".into(),
            subject_kind: SubjectKind::Uri,
            issuer: Some(issuer.into()),
            claims: BTreeMap::new(),
        };
        assert_eq!(identities[0].accepts(&holder), accepted, "{issuer}");
    }
}

/// A root with logs and authorities of these operators.
fn root(logs: &[&str], certificate_logs: &[&str], timestamp_authorities: &[&str]) -> TrustedRoot {
    let key = rcgen::KeyPair::generate().unwrap();
    let key = crate::sigstore::key::VerificationKey::from_pem(&key.public_key_pem()).unwrap();
    let log = |operator: &&str| TransparencyLog {
        base_url: "".into(),
        key: key.clone(),
        log_id: [].into(),
        window: Default::default(),
        operator: (*operator).into(),
    };
    let authority = |operator: &&str| Authority {
        certificates: Vec::new(),
        window: Default::default(),
        operator: (*operator).into(),
    };
    TrustedRoot {
        logs: logs.iter().map(log).collect(),
        certificate_logs: certificate_logs.iter().map(log).collect(),
        certificate_authorities: Vec::new(),
        timestamp_authorities: timestamp_authorities.iter().map(authority).collect(),
    }
}

#[test]
fn what_has_to_vouch_follows_from_the_root() {
    let keys = "keys = [\"a.pub\"]\n".to_owned();
    let keys_and_root = format!("{keys}trusted_root = \"r.json\"\n");
    let keyless = format!("trusted_root = \"r.json\"\n{IDENTITIES}");
    let public_good = root(&["a", "a"], &["c"], &["t"]);
    let github = root(&[], &[], &["t"]);
    let nobody = TrustedRoot::default();
    for (lines, root, expected) in [
        (keys.clone(), &nobody, (0, 0, 0, false)),
        (keys_and_root.clone(), &public_good, (1, 0, 0, false)),
        (
            keys_and_root.clone() + "transparency_log = 0",
            &public_good,
            (0, 0, 0, false),
        ),
        (keyless.clone(), &public_good, (1, 0, 1, true)),
        (keyless.clone(), &github, (0, 0, 0, true)),
        (keyless.clone() + "timestamps = 1", &github, (0, 1, 0, true)),
        (keyless.clone() + "transparency_log = 0", &public_good, (0, 0, 1, true)),
        (keyless.clone() + "timestamps = 0", &github, (0, 0, 0, false)),
        (
            keyless.clone() + "transparency_log = 0\ntimestamps = 0",
            &public_good,
            (0, 0, 1, false),
        ),
        (
            keyless.clone() + "signed_certificate_timestamps = 0",
            &public_good,
            (1, 0, 0, true),
        ),
        (format!("ca = [\"ca.pem\"]\n{IDENTITIES}"), &nobody, (0, 0, 0, false)),
    ] {
        let found = read(&lines).required_evidence(root).unwrap();
        let found = (
            found.log_entries,
            found.timestamps,
            found.signed_certificate_timestamps,
            found.verified_time,
        );
        assert_eq!(found, expected, "{lines}");
    }
}

/// Two logs of one operator are one (CVE-2026-49834), so two of them cannot be asked for.
#[test]
fn no_more_can_be_asked_for_than_the_root_has_operators() {
    let keyless = |lines: &str| read(&format!("trusted_root = \"r.json\"\n{IDENTITIES}{lines}"));
    let root = root(&["a", "a"], &["c", "d"], &["t"]);
    for (lines, key, present) in [
        ("transparency_log = 2", "transparency_log", 1),
        ("signed_certificate_timestamps = 3", "signed_certificate_timestamps", 2),
        ("timestamps = 2", "timestamps", 1),
    ] {
        let error = keyless(lines).required_evidence(&root).unwrap_err();
        assert_eq!((error.key, error.present), (key, present));
    }
    assert!(
        keyless("signed_certificate_timestamps = 2")
            .required_evidence(&root)
            .is_ok()
    );
}
