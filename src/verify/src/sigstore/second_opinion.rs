//! The second opinion of `sigstore-verify` on bundles of the shapes that it knows.
//!
//! Where it is asked, both have to agree. It is a net below our own steps and no second lock: who carries a bundle chooses
//! its shape, and can choose one that it does not know. What it lacks is left to our own steps alone,
//! and is told from what it refuses before it is asked: by what was parsed and by the trusted root, never by its errors,
//! which are the same for what it does not know and for what is forged. Who signed is not asked; the caller matches the
//! holder of the certificate against the policy.
//!
//! It reads the wall clock, in three places: a log's promise from the future is refused; a log's key whose window begins in
//! the future does not count, and no more does a timestamp authority's certificate. So a clock that is behind makes it
//! refuse, and one that is ahead makes it accept these three too early. Every time is checked again by our own steps, with
//! the time of the judgement.

use std::fmt;

use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{self, Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{Policy, PublicKeyVerificationPolicy, VerificationPolicy, Verifier};

use super::key::VerificationKey;
use super::material::{BundleVersion, ClaimedSigner, Content, Format, LogEntry, Material};
use crate::Timestamp;
use crate::crypto::{Curve, Hash, KeyKind};
use crate::digest::{Algorithm, Digest};
use crate::untrusted::Untrusted;
use crate::x509::certificate::Certificate;

/// `sigstore-verify` with one trusted root. It is made once for a policy, and asked from many threads.
pub struct SecondOpinion {
    verifier: Result<Verifier, Untrusted>,
    /// The logs' identifiers.
    logs: Vec<Box<[u8]>>,
    /// Whether it can verify what the certificate authorities sign.
    knows_certificate_authorities: bool,
    /// Whether it can verify what the timestamp authorities sign.
    knows_timestamp_authorities: bool,
}

/// What is asked about a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What has to be signed.
    pub artifact: Artifact<'a>,
    /// The key that has to have signed; without one, the holder of a certificate of the trusted root.
    pub key: Option<&'a VerificationKey>,
    /// The hash with which our own steps found the signature to hold.
    pub hash: Hash,
    /// Whether a log has to have an entry.
    pub log: bool,
    /// Whether a certificate needs a signed certificate timestamp.
    pub signed_certificate_timestamp: bool,
    /// Whether every timestamp held for our own steps: it refuses the whole bundle for one that we pass over.
    pub timestamps_held: bool,
    /// The time of the judgement: it knows no tolerance for a clock that is behind.
    pub now: Timestamp,
}

/// What has to be signed.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// What a digest names: the manifest of an image.
    Digest(&'a Digest),
    /// The bytes of a file.
    Bytes(&'a [u8]),
}

/// The second opinion on a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// The signature holds.
    Agrees {
        /// The times that it verified, of timestamps and of logs' promises.
        times: Vec<Timestamp>,
    },
    /// It does not.
    Refuses(Untrusted),
    /// It has something that `sigstore-verify` does not know, whether it is good or bad. Nothing was asked.
    NotItsShape(&'static str),
}

impl fmt::Debug for SecondOpinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecondOpinion")
            .field("unusable", &self.verifier.as_ref().err())
            .finish_non_exhaustive()
    }
}

impl SecondOpinion {
    /// Takes over a trusted root that our own reader accepted. Where `sigstore-verify` does not, it has no opinion on
    /// anything: [`SecondOpinion::unusable`].
    pub fn new(trusted_root: &[u8]) -> Self {
        match parse(trusted_root) {
            Ok((verifier, root)) => {
                let certificate_authorities = root
                    .certificate_authorities
                    .iter()
                    .map(|authority| &authority.cert_chain);
                let timestamp_authorities = root.timestamp_authorities.iter().map(|authority| &authority.cert_chain);
                Self {
                    verifier: Ok(verifier),
                    logs: root
                        .tlogs
                        .iter()
                        .map(|log| log.log_id.key_id.as_bytes().into())
                        .collect(),
                    knows_certificate_authorities: certificate_authorities
                        .flat_map(|chain| &chain.certificates)
                        .all(|entry| verifies(&entry.raw_bytes)),
                    knows_timestamp_authorities: timestamp_authorities
                        .map(|chain| chain.certificates.iter().map(|entry| &entry.raw_bytes))
                        .all(is_known_timestamp_authority),
                }
            }
            Err(reason) => Self {
                verifier: Err(reason),
                logs: Vec::new(),
                knows_certificate_authorities: false,
                knows_timestamp_authorities: false,
            },
        }
    }

    /// Why `sigstore-verify` does not take the trusted root, if so.
    pub fn unusable(&self) -> Option<&Untrusted> {
        self.verifier.as_ref().err()
    }

    /// Asks about a bundle: its bytes, and what we parsed them into. The bytes have to be what `material` was parsed from.
    pub fn ask(&self, bundle: &[u8], material: &Material, asked: &Asked<'_>) -> Opinion {
        let Ok(verifier) = &self.verifier else {
            return Opinion::NotItsShape("the trusted root");
        };
        if let Some(reason) = self.unknown_shape(material, asked) {
            return Opinion::NotItsShape(reason);
        }
        match verify(verifier, bundle, asked) {
            Ok(times) => Opinion::Agrees { times },
            Err(reason) => Opinion::Refuses(reason),
        }
    }

    /// What of the material `sigstore-verify` 0.15.1 does not know.
    fn unknown_shape(&self, material: &Material, asked: &Asked<'_>) -> Option<&'static str> {
        let Format::Bundle(version) = material.format else {
            return Some("a signature that is no bundle");
        };
        if let Artifact::Digest(digest) = asked.artifact
            && digest.algorithm() != Algorithm::Sha256
        {
            return Some("an image by another digest than sha256");
        }
        let (kind, has_certificate) = match (&material.signer, asked.key) {
            (ClaimedSigner::Key { .. }, Some(key)) => (key.kind(), false),
            (ClaimedSigner::Certificate { leaf, .. }, None) => (leaf.key_kind(), true),
            // A known key, and the certificate that someone made of it.
            (ClaimedSigner::Certificate { .. }, Some(_)) => return Some("a certificate, verified by its key alone"),
            (ClaimedSigner::Key { .. }, None) => return None,
        };
        if !is_known_signature(kind, asked.hash, &material.content) {
            return Some("the algorithm of the signature");
        }
        if has_certificate && !self.knows_certificate_authorities {
            return Some("the key of a certificate authority");
        }
        let future = |entry: &LogEntry| entry.integrated_time.is_some_and(|time| time > asked.now);
        if material.log_entries.iter().any(future) {
            return Some("a time that this clock has not reached");
        }
        self.unknown_log_entries(material, version, kind)
            .or_else(|| self.unknown_timestamps(material, asked))
            .or_else(|| {
                let entries = &material.log_entries;
                let promised = |entry: &LogEntry| entry.promise.is_some() && entry.integrated_time.is_some();
                if material.timestamps.is_empty() && entries.is_empty() {
                    Some("a bundle with neither log entry nor timestamp")
                } else if has_certificate && material.timestamps.is_empty() && !entries.iter().any(promised) {
                    Some("a certificate without a verified time")
                } else {
                    None
                }
            })
    }

    fn unknown_log_entries(&self, material: &Material, version: BundleVersion, key: KeyKind) -> Option<&'static str> {
        if version == BundleVersion::V0_1 && material.log_entries.is_empty() {
            return Some("version 0.1 without a log entry");
        }
        for entry in &material.log_entries {
            let kind = entry.kind.as_ref().map(|(kind, version)| (&**kind, &**version));
            match kind {
                Some(("hashedrekord" | "dsse", "0.0.1") | ("intoto", "0.0.2")) => {}
                Some(("hashedrekord", "0.0.2")) if key == KeyKind::Ecdsa(Curve::P256) => {}
                Some(("hashedrekord", "0.0.2")) => return Some("a Rekor v2 entry of another key than P-256"),
                _ => return Some("the kind of a log entry"),
            }
            // It refuses the whole bundle for an entry that we pass over.
            if !self.logs.contains(&entry.log_id) {
                return Some("an entry of an unknown log");
            }
        }
        None
    }

    fn unknown_timestamps(&self, material: &Material, asked: &Asked<'_>) -> Option<&'static str> {
        match &material.timestamps[..] {
            [] => None,
            _ if !asked.timestamps_held => Some("a timestamp that does not count"),
            _ if !self.knows_timestamp_authorities => Some("the chain of a timestamp authority"),
            [timestamp] if looks_unreadable(timestamp) => Some("the encoding of a timestamp"),
            [_] => None,
            // It refuses the whole bundle for one that we pass over.
            _ => Some("several timestamps"),
        }
    }
}

fn parse(trusted_root: &[u8]) -> Result<(Verifier, TrustedRoot), Untrusted> {
    let reason = |error: &dyn fmt::Display| Untrusted::new(error.to_string());
    let text = str::from_utf8(trusted_root).map_err(|error| reason(&error))?;
    let root = TrustedRoot::from_json(text).map_err(|error| reason(&error))?;
    let verifier = Verifier::new(&root).map_err(|error| reason(&error))?;
    Ok((verifier, root))
}

fn verify(verifier: &Verifier, bundle: &[u8], asked: &Asked<'_>) -> Result<Vec<Timestamp>, Untrusted> {
    let reason = |error: &dyn fmt::Display| Untrusted::new(error.to_string());
    let text = str::from_utf8(bundle).map_err(|error| reason(&error))?;
    let bundle = Bundle::from_json(text).map_err(|error| reason(&error))?;
    let artifact = match asked.artifact {
        Artifact::Digest(digest) => Sha256Hash::from_hex(digest.hex())
            .map_err(|error| reason(&error))?
            .into(),
        Artifact::Bytes(bytes) => types::Artifact::from_blob(bytes),
    };
    let policy: Box<dyn Policy> = match asked.key {
        Some(key) => {
            let policy = PublicKeyVerificationPolicy::new(DerPublicKey::new(key.spki().to_vec()));
            Box::new(if asked.log { policy } else { policy.skip_tlog_unsafe() })
        }
        None => {
            let mut policy = VerificationPolicy::any_identity();
            if !asked.log {
                policy = policy.skip_tlog_unsafe();
            }
            if !asked.signed_certificate_timestamp {
                policy = policy.skip_sct();
            }
            Box::new(policy)
        }
    };
    let result = verifier
        .verify(artifact, &bundle, policy.as_ref())
        .map_err(|error| reason(&error))?;
    Ok(result.verified_timestamps().to_vec())
}

/// Whether it verifies signatures by such a key with this hash: of an envelope with the key's own one, of a message with the
/// one of the digest that the bundle names.
fn is_known_signature(kind: KeyKind, hash: Hash, content: &Content) -> bool {
    let own = match kind {
        KeyKind::Ecdsa(Curve::P256) | KeyKind::Rsa { .. } => Hash::Sha256,
        KeyKind::Ecdsa(Curve::P384) => Hash::Sha384,
        _ => return false,
    };
    match content {
        Content::Message {
            digest: Some(digest), ..
        } => hash == digest.algorithm && (hash != Hash::Sha512 || matches!(kind, KeyKind::Rsa { .. })),
        Content::Message { digest: None, .. } | Content::Dsse { .. } => hash == own,
        Content::SimpleSigning { .. } => false,
    }
}

/// Whether it verifies what the holder of a certificate signs.
fn verifies(certificate: &types::DerCertificate) -> bool {
    Certificate::from_der(certificate.as_bytes()).is_ok_and(|certificate| {
        matches!(
            certificate.key_kind(),
            KeyKind::Ecdsa(Curve::P256 | Curve::P384) | KeyKind::Rsa { .. }
        )
    })
}

/// A chain has to begin with the certificate that signs, by a key on a curve: others it does not verify, and it looks for no
/// signer in the token.
fn is_known_timestamp_authority<'a>(mut chain: impl Iterator<Item = &'a types::DerCertificate>) -> bool {
    let signs = |certificate: &types::DerCertificate| {
        Certificate::from_der(certificate.as_bytes()).is_ok_and(|signer| {
            !signer.is_ca() && matches!(signer.key_kind(), KeyKind::Ecdsa(Curve::P256 | Curve::P384))
        })
    };
    chain.next().is_some_and(signs) && chain.all(verifies)
}

/// Whether a timestamp is in BER of indefinite length, or has something in it that looks like a time with a fraction of a
/// second: it reads neither.
fn looks_unreadable(timestamp: &[u8]) -> bool {
    const GENERALIZED_TIME: u8 = 0x18;
    let has_fraction = |bytes: &[u8]| match bytes {
        [GENERALIZED_TIME, length, text @ ..] if (17..=32).contains(length) => text
            .split_at_checked(14)
            .is_some_and(|(digits, rest)| digits.iter().all(u8::is_ascii_digit) && rest.first() == Some(&b'.')),
        _ => false,
    };
    timestamp.get(1) == Some(&0x80) || (0..timestamp.len()).any(|at| timestamp.get(at..).is_some_and(has_fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn can_be_asked_from_many_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<SecondOpinion>();
    }

    #[test]
    fn has_no_opinion_with_a_root_that_it_cannot_read() {
        for root in [&b""[..], b"{}", b"\xff"] {
            assert!(SecondOpinion::new(root).unusable().is_some());
        }
    }

    #[test]
    fn tells_a_time_with_a_fraction_from_one_without() {
        for (timestamp, unreadable) in [
            (&b"\x30\x11\x18\x0f20260101000000Z"[..], false),
            (b"\x30\x13\x18\x1120260101000000.5Z", true),
            (b"\x30\x80\x18\x0f20260101000000Z\0\0", true),
            (b"\x18\x112026", false),
            (b"\x18", false),
            (b"", false),
        ] {
            assert_eq!(looks_unreadable(timestamp), unreadable, "{timestamp:?}");
        }
    }

    #[test]
    fn knows_signatures_by_key_hash_and_content() {
        let envelope = Content::Dsse {
            payload_type: "t".into(),
            payload: (*b"p").into(),
            signature: (*b"s").into(),
            envelope: None,
        };
        let message = |algorithm| Content::Message {
            digest: Some(super::super::material::MessageDigest {
                algorithm,
                bytes: Box::default(),
            }),
            signature: Box::default(),
        };
        let (p256, p384, p521) = (
            KeyKind::Ecdsa(Curve::P256),
            KeyKind::Ecdsa(Curve::P384),
            KeyKind::Ecdsa(Curve::P521),
        );
        let rsa = KeyKind::Rsa { bits: 2048 };
        for (kind, hash, content, known) in [
            (p256, Hash::Sha256, &envelope, true),
            (p256, Hash::Sha384, &envelope, false),
            (p384, Hash::Sha384, &envelope, true),
            (p384, Hash::Sha256, &envelope, false),
            (p521, Hash::Sha512, &envelope, false),
            (rsa, Hash::Sha256, &envelope, true),
            (rsa, Hash::Sha512, &envelope, false),
            (KeyKind::Other, Hash::Sha512, &envelope, false),
            (p384, Hash::Sha256, &message(Hash::Sha256), true),
            (p384, Hash::Sha256, &message(Hash::Sha384), false),
            (p384, Hash::Sha512, &message(Hash::Sha512), false),
            (rsa, Hash::Sha512, &message(Hash::Sha512), true),
        ] {
            assert_eq!(is_known_signature(kind, hash, content), known, "{kind} {hash:?}");
        }
    }

    const LOG: &[u8] = b"log";

    /// With a root that has nothing but the log.
    fn second() -> SecondOpinion {
        let root = br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#;
        let mut second = SecondOpinion::new(root);
        assert_eq!(second.unusable(), None);
        second.logs.push(LOG.into());
        second
    }

    fn entry(kind: &str, version: &str) -> LogEntry {
        LogEntry {
            log_id: LOG.into(),
            log_index: 0,
            integrated_time: Some(Timestamp::UNIX_EPOCH),
            kind: Some((kind.into(), version.into())),
            promise: Some((*b"promise").into()),
            proof: None,
            body: (*b"body").into(),
        }
    }

    /// An envelope by the holder of a certificate, logged and timestamped.
    fn material() -> Material {
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        Material {
            format: Format::Bundle(BundleVersion::V0_3),
            content: Content::Dsse {
                payload_type: "t".into(),
                payload: (*b"p").into(),
                signature: (*b"s").into(),
                envelope: None,
            },
            signer: ClaimedSigner::Certificate {
                leaf: Certificate::from_der(leaf.der()).unwrap(),
                intermediates: Vec::new(),
            },
            log_entries: vec![entry("dsse", "0.0.1")],
            timestamps: vec![(*b"timestamp").into()],
        }
    }

    #[test]
    fn is_not_asked_about_what_it_would_refuse_and_we_pass_over() {
        let digest = Digest::sha256(b"image");
        let shape = |change: fn(&mut Asked<'_>)| {
            let mut asked = Asked {
                artifact: Artifact::Digest(&digest),
                key: None,
                hash: Hash::Sha256,
                log: true,
                signed_certificate_timestamp: true,
                timestamps_held: true,
                now: Timestamp::MAX,
            };
            change(&mut asked);
            let mut material = material();
            for entry in &mut material.log_entries {
                entry.integrated_time = Some(Timestamp::UNIX_EPOCH);
            }
            second().unknown_shape(&material, &asked)
        };
        assert_eq!(shape(|_| ()), None);
        assert_eq!(
            shape(|asked| asked.timestamps_held = false),
            Some("a timestamp that does not count")
        );
        assert_eq!(
            shape(|asked| asked.now = Timestamp::MIN),
            Some("a time that this clock has not reached")
        );
    }

    #[track_caller]
    fn check(shape: Option<&'static str>, change: impl FnOnce(&mut Material, &mut SecondOpinion)) {
        let (mut material, mut second) = (material(), second());
        change(&mut material, &mut second);
        let digest = Digest::sha256(b"image");
        let asked = Asked {
            artifact: Artifact::Digest(&digest),
            key: None,
            hash: Hash::Sha256,
            log: true,
            signed_certificate_timestamp: true,
            timestamps_held: true,
            now: Timestamp::MAX,
        };
        assert_eq!(second.unknown_shape(&material, &asked), shape);
    }

    #[test]
    fn is_asked_about_what_it_knows_alone() {
        check(None, |_, _| {});
        check(None, |material, _| material.timestamps.clear());
        check(None, |material, _| material.log_entries.clear());
        check(Some("a signature that is no bundle"), |material, _| {
            material.format = Format::Layer
        });
        check(Some("the key of a certificate authority"), |_, second| {
            second.knows_certificate_authorities = false;
        });
        check(Some("the chain of a timestamp authority"), |_, second| {
            second.knows_timestamp_authorities = false;
        });
        check(Some("version 0.1 without a log entry"), |material, _| {
            material.format = Format::Bundle(BundleVersion::V0_1);
            material.log_entries.clear();
        });
        for (kind, version) in [
            ("intoto", "0.0.1"),
            ("dsse", "0.0.2"),
            ("rekord", "0.0.1"),
            ("hashedrekord", "0.0.3"),
        ] {
            check(Some("the kind of a log entry"), |material, _| {
                material.log_entries.push(entry(kind, version));
            });
        }
        check(Some("an entry of an unknown log"), |material, _| {
            material.log_entries.push(LogEntry {
                log_id: (*b"other").into(),
                ..entry("dsse", "0.0.1")
            });
        });
        check(Some("several timestamps"), |material, _| {
            material.timestamps.push((*b"other").into())
        });
        check(Some("the encoding of a timestamp"), |material, _| {
            material.timestamps = vec![(*b"\x30\x80").into()];
        });
        check(Some("a bundle with neither log entry nor timestamp"), |material, _| {
            material.timestamps.clear();
            material.log_entries.clear();
        });
        let unpromised: [fn(&mut LogEntry); 2] = [|entry| entry.promise = None, |entry| entry.integrated_time = None];
        for change in unpromised {
            check(Some("a certificate without a verified time"), |material, _| {
                material.timestamps.clear();
                material.log_entries.iter_mut().for_each(change);
            });
        }
    }

    #[test]
    fn is_asked_about_keys_and_digests_that_it_knows_alone() {
        let spki = rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate().unwrap());
        let key = VerificationKey::from_spki(&spki).unwrap();
        let (sha256, sha512) = (Digest::sha256(b"image"), Digest::of(Algorithm::Sha512, b"image"));
        let asked = |digest, key, hash| Asked {
            artifact: Artifact::Digest(digest),
            key,
            hash,
            log: true,
            signed_certificate_timestamp: true,
            timestamps_held: true,
            now: Timestamp::MAX,
        };
        let by_certificate = material();
        let mut by_key = material();
        by_key.signer = ClaimedSigner::Key { hint: None };
        for (material, asked, shape) in [
            (&by_key, asked(&sha256, Some(&key), Hash::Sha256), None),
            (
                &by_key,
                asked(&sha256, Some(&key), Hash::Sha512),
                Some("the algorithm of the signature"),
            ),
            (
                &by_certificate,
                asked(&sha512, None, Hash::Sha256),
                Some("an image by another digest than sha256"),
            ),
            (
                &by_certificate,
                asked(&sha256, Some(&key), Hash::Sha256),
                Some("a certificate, verified by its key alone"),
            ),
        ] {
            assert_eq!(second().unknown_shape(material, &asked), shape);
        }
    }
}
