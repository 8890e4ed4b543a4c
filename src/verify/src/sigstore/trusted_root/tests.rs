//! Trusted roots as files, put together from parts, and their end.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as sign, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::Timestamp;

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn p256() -> Vec<u8> {
    let pair = EcdsaKeyPair::generate(&sign::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    pair.public_key().as_der().unwrap().as_ref().to_vec()
}

fn key(spki: &[u8]) -> VerificationKey {
    VerificationKey::from_spki(spki).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params
}

fn anchor(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(params(name), KeyPair::generate().unwrap()).unwrap()
}

fn below(name: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::signed_by(params(name), KeyPair::generate().unwrap(), issuer).unwrap()
}

fn certificate(issuer: &CertifiedIssuer<'static, KeyPair>) -> Certificate {
    Certificate::from_der(issuer.der()).unwrap()
}

static ANCHOR: LazyLock<Certificate> = LazyLock::new(|| certificate(&anchor("anchor")));

fn log(spki: &[u8]) -> Value {
    json!({
        "baseUrl": "https://rekor.test",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": base64(spki),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": { "start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00.5Z" },
        },
        "logId": { "keyId": base64(&Sha256::digest(spki)) },
    })
}

fn authority() -> Value {
    json!({
        "subject": { "organization": "test", "commonName": "test" },
        "uri": "https://fulcio.test",
        "certChain": { "certificates": [{ "rawBytes": base64(ANCHOR.der()) }] },
        "validFor": { "start": "2025-01-01T00:00:00Z" },
    })
}

fn root() -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [log(&p256())],
        "ctlogs": [log(&p256())],
        "certificateAuthorities": [authority()],
        "timestampAuthorities": [authority()],
    })
}

fn parse(root: &Value) -> Result<TrustedRoot, TrustedRootError> {
    TrustedRoot::parse(root.to_string().as_bytes())
}

/// What becomes of the good root with one value changed, or taken out where there is none.
fn with(pointer: &str, value: Option<Value>) -> Result<TrustedRoot, TrustedRootError> {
    let mut root = root();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = root.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    parse(&root)
}

fn party(outcome: Result<TrustedRoot, TrustedRootError>) -> PartyError {
    match outcome {
        Err(TrustedRootError::Party { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_logs_and_authorities() {
    let root = parse(&root()).unwrap();
    let log = &root.logs[0];
    assert_eq!(
        (&*log.base_url, &*log.operator),
        ("https://rekor.test", "https://rekor.test")
    );
    assert_eq!(*log.log_id, *log.key.fingerprint());
    assert_eq!(log.window.start, Some(at("2025-01-01T00:00:00Z")));
    assert_eq!(log.window.end, Some(at("2026-01-01T00:00:00.5Z")));
    assert_eq!(root.certificate_logs.len(), 1);
    let authority = &root.certificate_authorities[0];
    assert_eq!(&*authority.operator, "https://fulcio.test");
    assert_eq!(authority.certificates, std::slice::from_ref(&*ANCHOR));
    assert_eq!((authority.window.end, root.timestamp_authorities.len()), (None, 1));
    assert_eq!(root.log(&log.log_id).map(|found| &found.key), Some(&log.key));
    assert!(root.log(b"other").is_none());
}

#[test]
fn reads_every_version_of_the_format_and_no_other_document() {
    for version in ["+json;version=0.1", ".v0.1+json", ".v0.2+json"] {
        let media_type = format!("application/vnd.dev.sigstore.trustedroot{version}");
        assert!(with("/mediaType", Some(media_type.into())).is_ok(), "{version}");
    }
    for other in [
        "application/vnd.dev.sigstore.trustedroot.v0.3+json",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "",
    ] {
        let outcome = with("/mediaType", Some(other.into()));
        assert_eq!(outcome.unwrap_err(), TrustedRootError::MediaType(other.into()));
    }
    assert_eq!(
        with("/mediaType", None).unwrap_err(),
        TrustedRootError::MediaType("".into())
    );
}

#[test]
fn refuses_what_is_not_known_or_said_twice() {
    for place in [
        "",
        "/tlogs/0",
        "/tlogs/0/publicKey",
        "/tlogs/0/publicKey/validFor",
        "/tlogs/0/logId",
        "/certificateAuthorities/0",
    ] {
        let outcome = with(&format!("{place}/more"), Some(1.into()));
        assert!(matches!(outcome, Err(TrustedRootError::Malformed(_))), "{place}");
    }
    let twice = root().to_string().replacen(r#""tlogs":"#, r#""tlogs":[],"tlogs":"#, 1);
    for text in [&twice, "", "[]", "{"] {
        let outcome = TrustedRoot::parse(text.as_bytes());
        assert!(matches!(outcome, Err(TrustedRootError::Malformed(_))), "{text:.40}");
    }
    let large = format!("{}{}", root(), " ".repeat(MAX_TRUSTED_ROOT_SIZE));
    let outcome = TrustedRoot::parse(large.as_bytes()).unwrap_err();
    assert_eq!(outcome, TrustedRootError::TooLarge(large.len()));
}

#[test]
fn a_root_of_nobody_is_refused() {
    let mut root = root();
    for list in ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"] {
        assert!(parse(&root).is_ok(), "{list}");
        root[list] = json!([]);
    }
    assert_eq!(parse(&root).unwrap_err(), TrustedRootError::Empty);
}

/// A log's key that always counted would vouch for any time.
#[test]
fn a_log_s_key_has_to_say_when_it_begins() {
    let missing = PartyError::Missing("publicKey.validFor.start");
    for list in ["tlogs", "ctlogs"] {
        for (place, value) in [
            ("validFor/start", None),
            ("validFor", None),
            ("validFor/start", Some(Value::Null)),
        ] {
            assert_eq!(party(with(&format!("/{list}/0/publicKey/{place}"), value)), missing);
        }
        assert!(with(&format!("/{list}/0/publicKey/validFor/end"), None).is_ok());
    }
    assert!(with("/certificateAuthorities/0/validFor", None).is_ok());
}

#[test]
fn refuses_a_party_that_cannot_be_used() {
    let backwards = json!({ "start": "2025-01-01T00:00:01Z", "end": "2025-01-01T00:00:00Z" });
    let instant = json!({ "start": "2025-01-01T00:00:00Z", "end": "2025-01-01T00:00:00Z" });
    assert!(with("/tlogs/0/publicKey/validFor", Some(instant)).is_ok());
    for (pointer, value, expected) in [
        (
            "/tlogs/0/hashAlgorithm",
            json!("SHA2_512"),
            PartyError::HashAlgorithm("SHA2_512".into()),
        ),
        (
            "/tlogs/0/hashAlgorithm",
            Value::Null,
            PartyError::HashAlgorithm("".into()),
        ),
        ("/tlogs/0/publicKey", Value::Null, PartyError::Missing("publicKey")),
        (
            "/tlogs/0/publicKey/rawBytes",
            Value::Null,
            PartyError::Missing("publicKey.rawBytes"),
        ),
        (
            "/tlogs/0/publicKey/rawBytes",
            json!("!"),
            PartyError::Base64("publicKey.rawBytes"),
        ),
        ("/tlogs/0/publicKey/validFor", backwards.clone(), PartyError::Backwards),
        (
            "/tlogs/0/publicKey/validFor/end",
            json!("tomorrow"),
            PartyError::Time("validFor.end"),
        ),
        (
            "/tlogs/0/publicKey/validFor/start",
            json!("0"),
            PartyError::Time("validFor.start"),
        ),
        ("/tlogs/0/logId", Value::Null, PartyError::Missing("logId")),
        ("/tlogs/0/logId/keyId", json!(""), PartyError::Missing("logId.keyId")),
        ("/tlogs/0/baseUrl", Value::Null, PartyError::Missing("baseUrl")),
        (
            "/certificateAuthorities/0/certChain",
            Value::Null,
            PartyError::ChainLength(0),
        ),
        (
            "/certificateAuthorities/0/certChain/certificates",
            json!([]),
            PartyError::ChainLength(0),
        ),
        ("/timestampAuthorities/0/validFor", backwards, PartyError::Backwards),
    ] {
        assert_eq!(party(with(pointer, Some(value))), expected, "{pointer}");
    }
    let bad = json!([{ "rawBytes": "AAAA" }]);
    let outcome = party(with("/timestampAuthorities/0/certChain/certificates", Some(bad)));
    assert!(
        matches!(outcome, PartyError::Certificate { position: 0, .. }),
        "{outcome:?}"
    );
    let certificate = json!({ "rawBytes": base64(ANCHOR.der()) });
    let long = vec![certificate; MAX_CHAIN_LENGTH + 1];
    let outcome = party(with(
        "/certificateAuthorities/0/certChain/certificates",
        Some(long.into()),
    ));
    assert_eq!(outcome, PartyError::ChainLength(MAX_CHAIN_LENGTH + 1));
}

/// What a key's details say it is, it is.
#[test]
fn the_details_of_a_key_are_those_of_its_bytes() {
    let p384 = EcdsaKeyPair::generate(&sign::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let p384 = p384.public_key().as_der().unwrap().as_ref().to_vec();
    let ed25519 = Ed25519KeyPair::generate()
        .unwrap()
        .public_key()
        .as_der()
        .unwrap()
        .as_ref()
        .to_vec();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs1 = rsa.public_key().as_ref().to_vec();
    let rsa = rsa.public_key().as_der().unwrap().as_ref().to_vec();
    let keys = [
        ("p256", p256()),
        ("p384", p384),
        ("ed25519", ed25519),
        ("rsa", rsa.clone()),
        ("pkcs1", pkcs1),
    ];
    for (details, fitting) in [
        ("PKIX_ECDSA_P256_SHA_256", "p256"),
        ("PKIX_ECDSA_P384_SHA_384", "p384"),
        ("PKIX_ECDSA_P521_SHA_512", "none of them"),
        ("PKIX_ED25519", "ed25519"),
        ("PKIX_RSA_PKCS1V15_2048_SHA256", "rsa"),
        ("PKIX_RSA_PKCS1V15_4096_SHA256", "none of them"),
        ("PKCS1_RSA_PKCS1V5", "pkcs1"),
        ("PKIX_RSA_PSS_2048_SHA256", "none of them"),
        ("PKIX_ED25519_PH", "none of them"),
        ("ML_DSA_65", "none of them"),
        ("", "none of them"),
    ] {
        for (name, bytes) in &keys {
            let outcome = log_key::parse(details, bytes);
            assert_eq!(outcome.is_ok(), *name == fitting, "{details} {name}: {outcome:?}");
        }
    }
    // The same key, whichever way it is written.
    let (_, pkcs1) = &keys[4];
    assert_eq!(log_key::parse("PKCS1_RSA_PKCS1V5", pkcs1).unwrap().spki(), rsa);
    let outcome = party(with("/tlogs/0/publicKey/keyDetails", Some("ML_DSA_65".into())));
    assert_eq!(outcome, PartyError::Key(LogKeyError::Details("ML_DSA_65".into())));
    let outcome = party(with("/tlogs/0/publicKey/keyDetails", Some("PKIX_ED25519".into())));
    assert_eq!(outcome, PartyError::Key(LogKeyError::OtherKind("Ed25519")));
}

#[test]
fn refuses_two_logs_that_one_identifier_or_one_key_could_mean() {
    for list in ["tlogs", "ctlogs"] {
        let ambiguous = |second: Value| {
            let mut root = root();
            root[list].as_array_mut().unwrap().push(second);
            parse(&root)
        };
        let first = |pointer: &str| root().pointer(pointer).unwrap().clone();
        assert!(ambiguous(log(&p256())).is_ok());
        // Same key, under another identifier.
        let mut root_value = root();
        let mut same_key = root_value[list][0].clone();
        same_key["logId"]["keyId"] = base64(b"other").into();
        root_value[list].as_array_mut().unwrap().push(same_key);
        let refused = TrustedRootError::Ambiguous {
            list: match list {
                "tlogs" => "tlogs",
                _ => "ctlogs",
            },
            first: 0,
            second: 1,
        };
        assert_eq!(parse(&root_value).unwrap_err(), refused);
        // Same identifier, of another key.
        let mut root_value = root();
        let mut same_id = log(&p256());
        same_id["logId"] = root_value[list][0]["logId"].clone();
        root_value[list].as_array_mut().unwrap().push(same_id);
        assert_eq!(parse(&root_value).unwrap_err(), refused);
        assert_ne!(
            first("/tlogs/0/logId"),
            first("/tlogs/0/logId"),
            "every root has keys of its own"
        );
    }
}

#[test]
fn the_operator_is_named_or_stands_for_the_url_or_the_anchor() {
    let root = with("/tlogs/0/operator", Some("sigstore.dev".into())).unwrap();
    assert_eq!(&*root.logs[0].operator, "sigstore.dev");
    let root = with("/certificateAuthorities/0/operator", Some("sigstore.dev".into())).unwrap();
    assert_eq!(&*root.certificate_authorities[0].operator, "sigstore.dev");
    let root = with("/certificateAuthorities/0/uri", None).unwrap();
    assert_eq!(
        *root.certificate_authorities[0].operator,
        *ANCHOR.fingerprint().to_string()
    );
}

/// It says nothing new, so it can only be right or a mistake.
#[test]
fn a_checkpoint_s_key_id_is_the_one_of_host_and_key() {
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let spki = ed25519.public_key().as_der().unwrap().as_ref().to_vec();
    let mut log = log(&spki);
    log["publicKey"]["keyDetails"] = "PKIX_ED25519".into();
    let hash = Sha256::digest([&b"rekor.test\n\x01"[..], ed25519.public_key().as_ref()].concat());
    for (id, fits) in [
        (&hash[..4], true),
        (&hash[..], true),
        (&hash[..3], false),
        (&Sha256::digest(&spki)[..4], false),
    ] {
        log["checkpointKeyId"] = json!({ "keyId": base64(id) });
        let outcome = with("/tlogs", Some(json!([log.clone()])));
        match fits {
            true => assert!(outcome.unwrap().log(id).is_some()),
            false => assert_eq!(party(outcome), PartyError::CheckpointKeyId),
        }
    }
}

#[test]
fn the_host_is_what_a_url_with_or_without_a_scheme_names() {
    let mut log = parse(&root()).unwrap().logs.remove(0);
    for (url, host) in [
        ("https://rekor.test", Some("rekor.test")),
        ("https://rekor.test:3000/api/v1", Some("rekor.test")),
        ("rekor.test/path", Some("rekor.test")),
        ("rekor.test", Some("rekor.test")),
        ("http://[::1]:80/", Some("::1")),
        ("https://a@rekor.test?b@c", Some("rekor.test")),
        ("https://", None),
        ("", None),
        ("https://:80", None),
        ("http://[::1", None),
    ] {
        log.base_url = url.into();
        assert_eq!(log.host(), host, "{url}");
    }
}

fn windows(windows: &[(&str, Option<&str>)]) -> TrustedRoot {
    let window = |(start, end): &(&str, Option<&str>)| Window {
        start: Some(at(start)),
        end: end.map(at),
    };
    let log = parse(&root()).unwrap().logs.remove(0);
    let logs = windows.iter().map(|pair| TransparencyLog {
        window: window(pair),
        ..log.clone()
    });
    TrustedRoot {
        logs: logs.collect(),
        ..TrustedRoot::default()
    }
}

#[test]
fn a_role_is_covered_until_nobody_follows() {
    let (first, second) = ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    let (third, fourth) = ("2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let now = at("2025-06-01T00:00:00Z");
    for (intervals, expected) in [
        (&[][..], Coverage::None),
        (&[(second, None)], Coverage::None),
        (&[(first, Some("2025-05-01T00:00:00Z"))], Coverage::None),
        (&[(first, None)], Coverage::Open),
        (&[(first, Some(second))], Coverage::Until(at(second))),
        (
            &[(first, Some(second)), (second, Some(third))],
            Coverage::Until(at(third)),
        ),
        (
            &[(second, Some(fourth)), (first, Some(third))],
            Coverage::Until(at(fourth)),
        ),
        (
            &[(first, Some(second)), ("2026-01-01T00:00:01Z", None)],
            Coverage::Until(at(second)),
        ),
        (&[(first, Some(second)), (second, None)], Coverage::Open),
    ] {
        assert_eq!(windows(intervals).coverage(Role::Log, now), expected, "{intervals:?}");
        assert_eq!(
            windows(intervals).coverage(Role::TimestampAuthority, now),
            Coverage::None
        );
    }
}

#[test]
fn a_party_s_standing_is_that_of_root_and_certificates() {
    let root = parse(&root()).unwrap();
    let parties = root.parties();
    let roles: Vec<Role> = parties.iter().map(|party| party.role).collect();
    assert_eq!(roles, Role::ALL);
    let log = parties[0];
    for (moment, standing) in [
        ("2024-12-31T23:59:59Z", Standing::Announced),
        ("2025-01-01T00:00:00Z", Standing::Current),
        ("2026-01-01T00:00:00.5Z", Standing::Current),
        ("2026-01-01T00:00:01Z", Standing::Lapsed),
    ] {
        assert_eq!(log.standing(at(moment)), standing, "{moment}");
    }
    // The root names no end of the authority, its certificate does.
    assert_eq!(parties[2].window.start, Some(at("2025-01-01T00:00:00Z")));
    assert_eq!(parties[2].window.end, Some(at("2030-01-01T00:00:00Z")));
    assert_eq!(
        root.coverage(Role::CertificateAuthority, at("2029-01-01T00:00:00Z")),
        Coverage::Until(at("2030-01-01T00:00:00Z"))
    );
    let open = with("/certificateAuthorities/0/validFor", None).unwrap();
    assert_eq!(open.parties()[2].window.start, Some(at("2024-01-01T00:00:00Z")));
}

#[test]
fn parts_make_a_chain_for_every_certificate_that_may_issue() {
    let (one, other) = (anchor("one"), anchor("other"));
    let first = below("first", &one);
    let second = below("second", &first);
    let chain = |certificates: &[&CertifiedIssuer<'static, KeyPair>]| -> Vec<Certificate> {
        certificates.iter().map(|issuer| certificate(issuer)).collect()
    };
    let root = TrustedRoot::from_parts(Parts {
        certificate_authorities: chain(&[&one, &other]),
        intermediates: chain(&[&second, &first]),
        timestamp_authorities: vec![chain(&[&other])],
        ..Parts::default()
    })
    .unwrap();
    let chains: Vec<_> = root
        .certificate_authorities
        .iter()
        .map(|authority| authority.certificates.clone())
        .collect();
    let expected = [
        chain(&[&one]),
        chain(&[&first, &one]),
        chain(&[&second, &first, &one]),
        chain(&[&other]),
    ];
    assert_eq!(chains, expected);
    assert!(root.certificate_authorities.iter().take(3).all(|authority| {
        *authority.operator == *certificate(&one).fingerprint().to_string() && authority.window == Window::default()
    }));
    assert_eq!(root.timestamp_authorities[0].certificates, chain(&[&other]));
    assert!(root.logs.is_empty() && root.certificate_logs.is_empty());
}

#[test]
fn parts_that_fit_nothing_are_refused() {
    let (one, other) = (anchor("one"), anchor("other"));
    let stray = certificate(&below("stray", &other));
    let parts = Parts {
        certificate_authorities: vec![certificate(&one)],
        intermediates: vec![stray.clone()],
        ..Parts::default()
    };
    assert_eq!(
        TrustedRoot::from_parts(parts).unwrap_err(),
        PartsError::Stray(stray.to_string())
    );
    // The same name is not the same issuer.
    let namesake = certificate(&below("below", &anchor("one")));
    let parts = Parts {
        certificate_authorities: vec![certificate(&one)],
        intermediates: vec![namesake.clone()],
        ..Parts::default()
    };
    assert_eq!(
        TrustedRoot::from_parts(parts).unwrap_err(),
        PartsError::Stray(namesake.to_string())
    );
    assert_eq!(
        TrustedRoot::from_parts(Parts::default()).unwrap_err(),
        PartsError::Empty
    );
    for length in [0, MAX_CHAIN_LENGTH + 1] {
        let parts = Parts {
            timestamp_authorities: vec![vec![certificate(&one); length]],
            ..Parts::default()
        };
        assert_eq!(
            TrustedRoot::from_parts(parts).unwrap_err(),
            PartsError::ChainLength(length)
        );
    }
}

#[test]
fn a_log_made_of_its_key_is_found_by_the_key_s_names() {
    let spki = p256();
    let part = LogParts {
        key: key(&spki),
        base_url: Some("https://rekor.test".into()),
    };
    let parts = Parts {
        logs: vec![part.clone()],
        certificate_logs: vec![key(&spki)],
        ..Parts::default()
    };
    let root = TrustedRoot::from_parts(parts).unwrap();
    assert!(root.log(&Sha256::digest(&spki)).is_some());
    assert_eq!(&*root.logs[0].operator, "https://rekor.test");
    assert_eq!(root.logs[0].window, Window::default());
    assert_eq!(
        *root.certificate_logs[0].operator,
        *crate::digest::hex(&Sha256::digest(&spki))
    );
    let twice = Parts {
        logs: vec![part.clone(), part],
        ..Parts::default()
    };
    assert_eq!(TrustedRoot::from_parts(twice).unwrap_err(), PartsError::Ambiguous);

    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let spki = ed25519.public_key().as_der().unwrap().as_ref().to_vec();
    let parts = Parts {
        logs: vec![LogParts {
            key: key(&spki),
            base_url: Some("log2025.test".into()),
        }],
        ..Parts::default()
    };
    let root = TrustedRoot::from_parts(parts).unwrap();
    let hash = Sha256::digest([&b"log2025.test\n\x01"[..], ed25519.public_key().as_ref()].concat());
    assert!(root.log(&hash).is_some() && root.log(&hash[..4]).is_some() && root.log(&hash[..5]).is_none());
}
