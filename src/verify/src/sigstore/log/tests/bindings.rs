//! What an entry is about, by kind: the signature, the signer and the content, each flipped.

use super::super::*;
use super::fixture::*;
use crate::crypto::Hash;

/// What becomes of a body, in a log that vouches for it, beside a signature.
fn outcome(body: &str, logged: &Logged<'_>) -> Result<(), LogError> {
    let (log, entry) =
        match body.contains(r#""0.0.2","kind":"hashedrekord""#) || body.contains(r#""0.0.2","kind":"dsse""#) {
            true => {
                let log = Log::rekor_v2();
                let entry = log.entry_v2(body);
                (log, entry)
            }
            false => {
                let log = Log::rekor_v1();
                let entry = log.entry_v1(body);
                (log, entry)
            }
        };
    verify(&entry, logged, &log.root()).map(|_| ())
}

#[track_caller]
fn check(body: &str, content: &Content, expected: Result<(), LogError>) {
    let sha256 = Hash::Sha256.digest(PAYLOAD);
    let known = [(Hash::Sha256, &*sha256)];
    let logged = Logged {
        message: &known,
        accept_dsse_v0_0_2: true,
        ..logged(content, SIGNER.key())
    };
    assert_eq!(outcome(body, &logged), expected);
}

const fn refused(cause: BindingError) -> Result<(), LogError> {
    Err(LogError::Binding(cause))
}

const fn unusable(cause: BodyError) -> Result<(), LogError> {
    Err(LogError::Body(cause))
}

#[test]
fn hashedrekord_names_signature_signer_and_digest() {
    for content in [simple_signing(), message()] {
        check(&good_v1(), &content, Ok(()));
        check(
            &hashedrekord(&sha256(PAYLOAD), b"other", &key_pem()),
            &content,
            refused(BindingError::Signature),
        );
        let other = pem("PUBLIC KEY", &Signer::new().spki);
        check(
            &hashedrekord(&sha256(PAYLOAD), SIGNATURE, &other),
            &content,
            refused(BindingError::Signer),
        );
        check(
            &hashedrekord(&sha256(b"other"), SIGNATURE, &key_pem()),
            &content,
            refused(BindingError::Content),
        );
    }
}

#[test]
fn hashedrekord_may_have_a_longer_digest() {
    for hash in [Hash::Sha384, Hash::Sha512] {
        let digest = |content| {
            let value = crate::digest::hex(&hash.digest(content));
            format!(r#"{{"algorithm":"{}","value":"{value}"}}"#, hash.as_str())
        };
        let good = hashedrekord(&digest(PAYLOAD), SIGNATURE, &key_pem());
        check(&good, &simple_signing(), Ok(()));
        let other = hashedrekord(&digest(b"other"), SIGNATURE, &key_pem());
        check(&other, &simple_signing(), refused(BindingError::Content));
        // Of a message only the SHA-256 is known: what cannot be compared is refused.
        check(&good, &message(), refused(BindingError::NoDigest(hash)));
    }
}

#[test]
fn every_known_digest_of_a_message_has_to_be_the_entry_s() {
    let (good, other) = (Hash::Sha256.digest(PAYLOAD), Hash::Sha256.digest(b"other"));
    let content = message();
    let known = [(Hash::Sha256, &*good), (Hash::Sha256, &*other)];
    let logged = Logged {
        message: &known,
        ..logged(&content, SIGNER.key())
    };
    assert_eq!(outcome(&good_v1(), &logged), refused(BindingError::Content));
}

#[test]
fn a_digest_is_of_a_known_hash_and_as_long() {
    let content = simple_signing();
    let value = "00".repeat(20);
    let digest = |algorithm, value: &str| {
        hashedrekord(
            &format!(r#"{{"algorithm":"{algorithm}","value":"{value}"}}"#),
            SIGNATURE,
            &key_pem(),
        )
    };
    check(
        &digest("sha1", &value),
        &content,
        unusable(BodyError::HashAlgorithm("sha1".into())),
    );
    check(&digest("sha256", &value), &content, unusable(BodyError::DigestLength));
    check(&digest("sha256", ""), &content, unusable(BodyError::DigestLength));
    check(&digest("sha256", "0g"), &content, unusable(BodyError::Field("digest")));
    check(&digest("sha256", "000"), &content, unusable(BodyError::Field("digest")));
    let upper = crate::digest::hex(&Hash::Sha256.digest(PAYLOAD)).to_uppercase();
    check(&digest("sha256", &upper), &content, Ok(()));
}

#[test]
fn rekord_is_a_hashedrekord_of_the_format_x509() {
    check(&rekord("x509"), &simple_signing(), Ok(()));
    check(
        &rekord("pgp"),
        &simple_signing(),
        unusable(BodyError::Field("signature format")),
    );
    let none = rekord("x509").replace(r#""format":"x509","#, "");
    check(&none, &simple_signing(), unusable(BodyError::Field("signature format")));
    let content = Content::SimpleSigning {
        payload: b"other".as_slice().into(),
        signature: SIGNATURE.into(),
    };
    check(&rekord("x509"), &content, refused(BindingError::Content));
}

#[test]
fn a_certificate_is_compared_with_a_certificate_and_a_key_with_a_key() {
    let content = simple_signing();
    let key = good_v1();
    let certificate = hashedrekord(&sha256(PAYLOAD), SIGNATURE, &pem("CERTIFICATE", &SIGNER.certificate));
    assert_eq!(outcome(&certificate, &logged(&content, SIGNER.certificate())), Ok(()));
    assert_eq!(
        outcome(&key, &logged(&content, SIGNER.certificate())),
        refused(BindingError::Signer)
    );
    assert_eq!(
        outcome(&certificate, &logged(&content, SIGNER.key())),
        refused(BindingError::Signer)
    );
    let other = Signer::new();
    assert_eq!(
        outcome(&certificate, &logged(&content, other.certificate())),
        refused(BindingError::Signer)
    );
}

#[test]
fn a_verifier_is_exactly_one_block() {
    let content = simple_signing();
    let one = der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &SIGNER.spki).unwrap();
    for (file, is_one) in [
        (one.clone(), true),
        (format!("text around it\n{one}\n\n"), true),
        (format!("{one}{one}"), false),
        (String::new(), false),
        ("no PEM".to_owned(), false),
        (one.replace("PUBLIC KEY", "PRIVATE KEY"), false),
        (one.replace("MFk", "MFl"), false),
    ] {
        let body = hashedrekord(&sha256(PAYLOAD), SIGNATURE, &base64(file.as_bytes()));
        let expected = match is_one {
            true => Ok(()),
            false => unusable(BodyError::Verifier),
        };
        check(&body, &content, expected);
    }
    let body = hashedrekord(&sha256(PAYLOAD), SIGNATURE, "!");
    check(&body, &content, unusable(BodyError::Field("verifier")));
}

#[test]
fn dsse_names_the_envelope_the_payload_and_the_signature() {
    let good = dsse(BLOB, PAYLOAD, SIGNATURE);
    for blob in [None, Some(BLOB)] {
        check(&good, &envelope(blob), Ok(()));
        check(
            &dsse(BLOB, b"other", SIGNATURE),
            &envelope(blob),
            refused(BindingError::Content),
        );
        check(
            &dsse(BLOB, PAYLOAD, b"other"),
            &envelope(blob),
            refused(BindingError::Signature),
        );
    }
    // A bundle's envelope was not logged in the form that it has there.
    check(&dsse(b"other", PAYLOAD, SIGNATURE), &envelope(None), Ok(()));
    check(
        &dsse(b"other", PAYLOAD, SIGNATURE),
        &envelope(Some(BLOB)),
        refused(BindingError::Envelope),
    );
    let other = format!(
        r#"{{"signature":"{}","verifier":"{}"}}"#,
        base64(SIGNATURE),
        pem("PUBLIC KEY", &Signer::new().spki)
    );
    let body = dsse_signed_by(BLOB, PAYLOAD, &other);
    check(&body, &envelope(None), refused(BindingError::Signer));
}

#[test]
fn an_entry_is_of_exactly_one_signature() {
    let one = format!(r#"{{"signature":"{}","verifier":"{}"}}"#, base64(SIGNATURE), key_pem());
    check(&dsse_signed_by(BLOB, PAYLOAD, &one), &envelope(None), Ok(()));
    check(
        &dsse_signed_by(BLOB, PAYLOAD, ""),
        &envelope(None),
        unusable(BodyError::SignatureCount(0)),
    );
    let two = format!("{one},{one}");
    check(
        &dsse_signed_by(BLOB, PAYLOAD, &two),
        &envelope(None),
        unusable(BodyError::SignatureCount(2)),
    );
}

/// It names no signature: what binds it is the hash of the envelope that the signature is in.
#[test]
fn intoto_0_0_1_is_about_a_whole_envelope() {
    for payload in [None, Some(PAYLOAD)] {
        check(&intoto_1(BLOB, payload), &envelope(Some(BLOB)), Ok(()));
        check(
            &intoto_1(b"other", payload),
            &envelope(Some(BLOB)),
            refused(BindingError::Envelope),
        );
        check(
            &intoto_1(BLOB, payload),
            &envelope(None),
            refused(BindingError::Uncomparable),
        );
    }
    check(
        &intoto_1(BLOB, Some(b"other")),
        &envelope(Some(BLOB)),
        refused(BindingError::Content),
    );
    let content = envelope(Some(BLOB));
    let other = Signer::new();
    let body = intoto_1(BLOB, Some(PAYLOAD));
    assert_eq!(
        outcome(&body, &logged(&content, other.key())),
        refused(BindingError::Signer)
    );
}

#[test]
fn intoto_0_0_2_names_type_payload_signature_and_envelope() {
    for blob in [None, Some(BLOB)] {
        check(
            &intoto_2(PAYLOAD_TYPE, BLOB, PAYLOAD, SIGNATURE),
            &envelope(blob),
            Ok(()),
        );
        check(
            &intoto_2("other", BLOB, PAYLOAD, SIGNATURE),
            &envelope(blob),
            refused(BindingError::PayloadType),
        );
        check(
            &intoto_2(PAYLOAD_TYPE, BLOB, b"other", SIGNATURE),
            &envelope(blob),
            refused(BindingError::Content),
        );
        check(
            &intoto_2(PAYLOAD_TYPE, BLOB, PAYLOAD, b"other"),
            &envelope(blob),
            refused(BindingError::Signature),
        );
    }
    let other = intoto_2(PAYLOAD_TYPE, b"other", PAYLOAD, SIGNATURE);
    check(&other, &envelope(Some(BLOB)), refused(BindingError::Envelope));
    let good = intoto_2(PAYLOAD_TYPE, BLOB, PAYLOAD, SIGNATURE);
    let content = envelope(None);
    let signer = Signer::new();
    assert_eq!(
        outcome(&good, &logged(&content, signer.key())),
        refused(BindingError::Signer)
    );
    // Encoded once only, it is no signature of an envelope.
    let once = good.replace(&base64(base64(SIGNATURE).as_bytes()), &base64(SIGNATURE));
    check(&once, &content, unusable(BodyError::Field("signature")));
}

#[test]
fn entries_of_envelopes_are_of_nothing_else_and_the_other_way_round() {
    let envelopes = [
        dsse(BLOB, PAYLOAD, SIGNATURE),
        intoto_1(BLOB, Some(PAYLOAD)),
        intoto_2(PAYLOAD_TYPE, BLOB, PAYLOAD, SIGNATURE),
        dsse_2(PAYLOAD),
    ];
    for body in envelopes {
        check(&body, &simple_signing(), refused(BindingError::Kind));
        check(&body, &message(), refused(BindingError::Kind));
    }
    // Not even of what an envelope's signature is over: Rekor v1 logs envelopes as such.
    check(
        &hashedrekord(&sha256(&encoded()), SIGNATURE, &key_pem()),
        &envelope(None),
        refused(BindingError::Kind),
    );
    check(&good_v1(), &envelope(Some(PAYLOAD)), refused(BindingError::Kind));
}

#[test]
fn hashedrekord_0_0_2_names_signature_verifier_and_digest() {
    let key = verifier_2("PKIX_ECDSA_P256_SHA_256", &SIGNER.spki);
    let of = |content: &[u8]| hashedrekord_2("SHA2_256", &Hash::Sha256.digest(content), SIGNATURE, &key);
    for content in [simple_signing(), message()] {
        check(&of(PAYLOAD), &content, Ok(()));
        check(&of(b"other"), &content, refused(BindingError::Content));
    }
    for content in [envelope(None), envelope(Some(BLOB))] {
        check(&of(&encoded()), &content, Ok(()));
        check(&of(PAYLOAD), &content, refused(BindingError::Content));
        check(&of(BLOB), &content, refused(BindingError::Content));
    }
    let digest = Hash::Sha256.digest(PAYLOAD);
    let signature = hashedrekord_2("SHA2_256", &digest, b"other", &key);
    check(&signature, &simple_signing(), refused(BindingError::Signature));
    let other = verifier_2("PKIX_ECDSA_P256_SHA_256", &Signer::new().spki);
    let signer = hashedrekord_2("SHA2_256", &digest, SIGNATURE, &other);
    check(&signer, &simple_signing(), refused(BindingError::Signer));
    let short = hashedrekord_2("SHA2_256", &digest[1..], SIGNATURE, &key);
    check(&short, &simple_signing(), unusable(BodyError::DigestLength));
    let content = simple_signing();
    let certificate = format!(
        r#"{{"keyDetails":"PKIX_ECDSA_P256_SHA_256","x509Certificate":{{"rawBytes":"{}"}}}}"#,
        base64(&SIGNER.certificate)
    );
    let body = hashedrekord_2("SHA2_256", &digest, SIGNATURE, &certificate);
    assert_eq!(outcome(&body, &logged(&content, SIGNER.certificate())), Ok(()));
    assert_eq!(
        outcome(&body, &logged(&content, SIGNER.key())),
        refused(BindingError::Signer)
    );
}

#[test]
fn the_details_of_a_rekor_v2_verifier_are_those_of_its_key_and_digest() {
    let (p256, p384) = (SIGNER.spki.clone(), Pair::p384().spki());
    let (ed25519, rsa) = (Pair::ed25519().spki(), Pair::rsa().spki());
    let content = simple_signing();
    for (details, spki, hash, fits) in [
        ("PKIX_ECDSA_P256_SHA_256", &p256, Hash::Sha256, true),
        ("PKIX_ECDSA_P256_SHA_256", &p256, Hash::Sha384, false),
        ("PKIX_ECDSA_P256_SHA_256", &p384, Hash::Sha256, false),
        ("PKIX_ECDSA_P384_SHA_384", &p384, Hash::Sha384, true),
        ("PKIX_ECDSA_P384_SHA_384", &p384, Hash::Sha256, false),
        ("PKIX_ECDSA_P384_SHA_384", &p256, Hash::Sha384, false),
        ("PKIX_ECDSA_P384_SHA_256", &p384, Hash::Sha256, true),
        ("PKIX_ED25519_PH", &ed25519, Hash::Sha512, true),
        ("PKIX_ED25519_PH", &ed25519, Hash::Sha256, false),
        // It signs no digest.
        ("PKIX_ED25519", &ed25519, Hash::Sha512, false),
        ("PKIX_RSA_PKCS1V15_2048_SHA256", &rsa, Hash::Sha256, true),
        ("PKIX_RSA_PKCS1V15_4096_SHA256", &rsa, Hash::Sha256, false),
        ("PKIX_RSA_PSS_2048_SHA256", &rsa, Hash::Sha256, false),
        ("", &p256, Hash::Sha256, false),
    ] {
        let algorithm = match hash {
            Hash::Sha256 => "SHA2_256",
            Hash::Sha384 => "SHA2_384",
            Hash::Sha512 => "SHA2_512",
        };
        let body = hashedrekord_2(algorithm, &hash.digest(PAYLOAD), SIGNATURE, &verifier_2(details, spki));
        let expected = match fits {
            true => Ok(()),
            false => unusable(BodyError::KeyDetails(details.into())),
        };
        assert_eq!(
            outcome(&body, &logged(&content, LoggedSigner::Key(spki))),
            expected,
            "{details} {hash:?}"
        );
    }
}

/// Clients that rebuild the leaf know no more fields than these.
#[test]
fn an_entry_of_rekor_v2_has_no_other_fields() {
    let content = simple_signing();
    for (field, place) in [
        (r#"{"algorithm""#, r#"{"more":1,"algorithm""#),
        (r#"{"content""#, r#"{"more":1,"content""#),
        (r#"{"keyDetails""#, r#"{"more":1,"keyDetails""#),
        (r#"{"rawBytes""#, r#"{"more":1,"rawBytes""#),
        (r#"{"data""#, r#"{"more":1,"data""#),
        (r#"{"hashedRekordV002""#, r#"{"more":1,"hashedRekordV002""#),
    ] {
        let body = good_v2().replacen(field, place, 1);
        assert_ne!(body, good_v2());
        let error = outcome(&body, &logged(&content, SIGNER.key()));
        assert!(
            matches!(error, Err(LogError::Body(BodyError::Malformed(_)))),
            "{place}: {error:?}"
        );
    }
    let both = good_v2().replacen(
        r#""publicKey""#,
        r#""x509Certificate":{"rawBytes":"AA=="},"publicKey""#,
        1,
    );
    check(&both, &content, unusable(BodyError::Verifier));
    let neither = hashedrekord_2(
        "SHA2_256",
        &Hash::Sha256.digest(PAYLOAD),
        SIGNATURE,
        r#"{"keyDetails":"x"}"#,
    );
    check(&neither, &content, unusable(BodyError::Verifier));
}

#[test]
fn dsse_0_0_2_counts_where_it_is_asked_for() {
    check(&dsse_2(PAYLOAD), &envelope(None), Ok(()));
    check(&dsse_2(b"other"), &envelope(None), refused(BindingError::Content));
    let content = envelope(None);
    let strict = logged(&content, SIGNER.key());
    assert_eq!(outcome(&dsse_2(PAYLOAD), &strict), unusable(BodyError::DsseV0_0_2));
}

#[test]
fn the_entry_and_its_body_agree_on_the_kind() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    entry.kind = Some(("hashedrekord".into(), "0.0.1".into()));
    assert_eq!(judge(&log, &entry), Ok(Some(at(TIME))));
    for (kind, version) in [("hashedrekord", "0.0.2"), ("rekord", "0.0.1"), ("", "")] {
        entry.kind = Some((kind.into(), version.into()));
        let other = BodyError::OtherKind {
            kind: "hashedrekord".into(),
            version: "0.0.1".into(),
        };
        assert_eq!(judge(&log, &entry), Err(LogError::Body(other)));
    }
}

#[test]
fn refuses_bodies_of_no_known_kind() {
    let content = simple_signing();
    for (kind, version) in [("hashedrekord", "0.0.3"), ("rpm", "0.0.1"), ("cose", "0.0.1"), ("", "")] {
        let body = good_v1().replace("hashedrekord", kind).replace("0.0.1", version);
        let unknown = BodyError::UnknownKind {
            kind: kind.into(),
            version: version.into(),
        };
        check(&body, &content, unusable(unknown));
    }
    for body in [
        "",
        "{}",
        "null",
        "[1]",
        r#"{"kind":"hashedrekord","apiVersion":"0.0.1"}"#,
    ] {
        let error = outcome(body, &logged(&content, SIGNER.key()));
        assert!(
            matches!(error, Err(LogError::Body(BodyError::Malformed(_)))),
            "{body}: {error:?}"
        );
    }
    // Readers that know names do not take positions.
    let positions = format!(r#"["hashedrekord","0.0.1",{}]"#, good_v1());
    let nested = good_v1().replacen(r#"{"hash":"#, "[", 1).replacen("}},", "}],", 1);
    for body in [positions, nested] {
        let error = outcome(&body, &logged(&content, SIGNER.key()));
        assert!(
            matches!(error, Err(LogError::Body(BodyError::Malformed(_)))),
            "{body}: {error:?}"
        );
    }
    // Two readers could take either.
    let twice = good_v1().replacen(r#""data""#, r#""data":{},"data""#, 1);
    let error = outcome(&twice, &logged(&content, SIGNER.key()));
    assert!(
        matches!(error, Err(LogError::Body(BodyError::Malformed(_)))),
        "{error:?}"
    );
}
