//! Certificates, envelopes and evidence, made with every part open to change.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use assay_verify::Timestamp;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{Signature, SignatureManifest};
use assay_verify::judge::AuthorityTerms;
use assay_verify::notation::identity::TrustedIdentities;
use assay_verify::notation::signature::Terms;
use assay_verify::notation::statement::{Checks, TrustStoreKind, TrustStoreName};
use assay_verify::notation::trust_policy::VerifyTimestamp;
use assay_verify::notation::trust_store::{TrustStore, TrustStores};
use assay_verify::x509::certificate::Certificate;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature as sign;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ciborium::Value as Cbor;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, RsaKeySize, date_time_ymd,
};
use serde_json::{Value as Json, json};

pub(crate) const NOW: &str = "2026-06-01T00:00:00Z";
pub(crate) const SIGNED_AT: &str = "2026-05-01T00:00:00Z";
pub(crate) const EXPIRY: &str = "2026-07-01T00:00:00Z";
/// The validity of all certificates.
pub(crate) const NOT_BEFORE: &str = "2026-01-01T00:00:00Z";
pub(crate) const NOT_AFTER: &str = "2027-01-01T00:00:00Z";

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    time(NOW)
}

/// One key per algorithm; making RSA keys takes long.
pub(crate) fn key(algorithm: EnvelopeAlgorithm) -> &'static KeyPair {
    fn ecdsa(algorithm: &'static rcgen::SignatureAlgorithm) -> KeyPair {
        KeyPair::generate_for(algorithm).unwrap()
    }
    fn rsa(size: RsaKeySize) -> KeyPair {
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap()
    }
    static PS256: LazyLock<KeyPair> = LazyLock::new(|| rsa(RsaKeySize::_2048));
    static PS384: LazyLock<KeyPair> = LazyLock::new(|| rsa(RsaKeySize::_3072));
    static PS512: LazyLock<KeyPair> = LazyLock::new(|| rsa(RsaKeySize::_4096));
    static ES256: LazyLock<KeyPair> = LazyLock::new(|| ecdsa(&rcgen::PKCS_ECDSA_P256_SHA256));
    static ES384: LazyLock<KeyPair> = LazyLock::new(|| ecdsa(&rcgen::PKCS_ECDSA_P384_SHA384));
    static ES512: LazyLock<KeyPair> = LazyLock::new(|| ecdsa(&rcgen::PKCS_ECDSA_P521_SHA512));
    match algorithm {
        EnvelopeAlgorithm::Ps256 => &PS256,
        EnvelopeAlgorithm::Ps384 => &PS384,
        EnvelopeAlgorithm::Ps512 => &PS512,
        EnvelopeAlgorithm::Es256 => &ES256,
        EnvelopeAlgorithm::Es384 => &ES384,
        EnvelopeAlgorithm::Es512 => &ES512,
    }
}

/// The keys of the root and of intermediates.
pub(crate) static ROOT_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());
pub(crate) static INTERMEDIATE_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());

pub(crate) const ALGORITHMS: [EnvelopeAlgorithm; 6] = [
    EnvelopeAlgorithm::Ps256,
    EnvelopeAlgorithm::Ps384,
    EnvelopeAlgorithm::Ps512,
    EnvelopeAlgorithm::Es256,
    EnvelopeAlgorithm::Es384,
    EnvelopeAlgorithm::Es512,
];

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "US");
    params.distinguished_name.push(DnType::StateOrProvinceName, "WA");
    params.distinguished_name.push(DnType::OrganizationName, "Corp");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn ca(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(crate) fn leaf() -> CertificateParams {
    let mut params = params("release");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// The parts of a chain: an intermediate only where there is one.
pub(crate) struct ChainParts {
    pub(crate) root: CertificateParams,
    pub(crate) intermediate: Option<CertificateParams>,
    pub(crate) leaf: CertificateParams,
    pub(crate) algorithm: EnvelopeAlgorithm,
}

impl Default for ChainParts {
    fn default() -> Self {
        Self {
            root: ca("root"),
            intermediate: None,
            leaf: leaf(),
            algorithm: EnvelopeAlgorithm::Es256,
        }
    }
}

impl ChainParts {
    pub(crate) fn with_intermediate() -> Self {
        Self {
            intermediate: Some(ca("intermediate")),
            ..Self::default()
        }
    }

    /// DER, the leaf first.
    pub(crate) fn build(&self) -> Vec<Vec<u8>> {
        let root = self.root.self_signed(&*ROOT_KEY).unwrap().der().to_vec();
        let root_issuer = Issuer::from_params(&self.root, &*ROOT_KEY);
        let key = key(self.algorithm);
        match &self.intermediate {
            None => vec![self.leaf.signed_by(key, &root_issuer).unwrap().der().to_vec(), root],
            Some(params) => {
                let intermediate = params.signed_by(&*INTERMEDIATE_KEY, &root_issuer).unwrap();
                let issuer = Issuer::from_params(params, &*INTERMEDIATE_KEY);
                vec![
                    self.leaf.signed_by(key, &issuer).unwrap().der().to_vec(),
                    intermediate.der().to_vec(),
                    root,
                ]
            }
        }
    }
}

pub(crate) fn parse(chain: &[Vec<u8>]) -> Vec<Certificate> {
    chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect()
}

/// The image that signatures are made for.
pub(crate) fn image() -> Descriptor {
    Descriptor {
        media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
        digest: Digest::sha256(b"image"),
        size: 5,
    }
}

pub(crate) fn payload(target: &Descriptor) -> Vec<u8> {
    serde_json::to_vec(&json!({"targetArtifact": {
        "mediaType": target.media_type.as_str(),
        "digest": target.digest.to_string(),
        "size": target.size,
    }}))
    .unwrap()
}

/// Signs as the envelope's algorithm says.
pub(crate) fn sign(algorithm: EnvelopeAlgorithm, message: &[u8]) -> Vec<u8> {
    sign_with(algorithm, key(algorithm), message)
}

pub(crate) fn sign_with(algorithm: EnvelopeAlgorithm, key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let rsa = |padding: &'static dyn sign::RsaEncoding| {
        let key = sign::RsaKeyPair::from_pkcs8(key.serialized_der()).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(padding, &random, message, &mut signature).unwrap();
        signature
    };
    let ecdsa = |algorithm| {
        let key = sign::EcdsaKeyPair::from_pkcs8(algorithm, key.serialized_der()).unwrap();
        key.sign(&random, message).unwrap().as_ref().to_vec()
    };
    match algorithm {
        EnvelopeAlgorithm::Ps256 => rsa(&sign::RSA_PSS_SHA256),
        EnvelopeAlgorithm::Ps384 => rsa(&sign::RSA_PSS_SHA384),
        EnvelopeAlgorithm::Ps512 => rsa(&sign::RSA_PSS_SHA512),
        EnvelopeAlgorithm::Es256 => ecdsa(&sign::ECDSA_P256_SHA256_FIXED_SIGNING),
        EnvelopeAlgorithm::Es384 => ecdsa(&sign::ECDSA_P384_SHA384_FIXED_SIGNING),
        EnvelopeAlgorithm::Es512 => ecdsa(&sign::ECDSA_P521_SHA512_FIXED_SIGNING),
    }
}

/// A JWS before it is signed.
#[derive(Clone)]
pub(crate) struct Jws {
    pub(crate) protected: Json,
    pub(crate) header: Json,
    pub(crate) payload: Vec<u8>,
    pub(crate) algorithm: EnvelopeAlgorithm,
}

impl Jws {
    pub(crate) fn new(algorithm: EnvelopeAlgorithm, chain: &[Vec<u8>]) -> Self {
        Self {
            protected: json!({
                "alg": algorithm.as_str(),
                "cty": "application/vnd.cncf.notary.payload.v1+json",
                "crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"],
                "io.cncf.notary.signingScheme": "notary.x509",
                "io.cncf.notary.signingTime": SIGNED_AT,
                "io.cncf.notary.expiry": EXPIRY,
            }),
            header: json!({
                "x5c": chain.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>(),
                "io.cncf.notary.signingAgent": "assay tests",
            }),
            payload: payload(&image()),
            algorithm,
        }
    }

    /// A signature by a signing authority.
    pub(crate) fn by_signing_authority(mut self) -> Self {
        let protected = self.protected.as_object_mut().unwrap();
        protected.remove("io.cncf.notary.signingTime");
        protected["io.cncf.notary.signingScheme"] = "notary.x509.signingAuthority".into();
        protected.insert("io.cncf.notary.authenticSigningTime".to_owned(), SIGNED_AT.into());
        self.mark_critical("io.cncf.notary.authenticSigningTime");
        self
    }

    pub(crate) fn mark_critical(&mut self, name: &str) {
        self.protected["crit"].as_array_mut().unwrap().push(name.into());
    }

    pub(crate) fn envelope(&self) -> Vec<u8> {
        self.envelope_of(&self.protected.to_string())
    }

    /// An envelope whose protected header is this text.
    pub(crate) fn envelope_of(&self, protected: &str) -> Vec<u8> {
        let protected = URL_SAFE_NO_PAD.encode(protected);
        let payload = URL_SAFE_NO_PAD.encode(&self.payload);
        let signature = sign(self.algorithm, format!("{protected}.{payload}").as_bytes());
        serde_json::to_vec(&json!({
            "payload": payload,
            "protected": protected,
            "header": self.header,
            "signature": URL_SAFE_NO_PAD.encode(signature),
        }))
        .unwrap()
    }
}

/// A COSE_Sign1 before it is signed.
#[derive(Clone)]
pub(crate) struct Cose {
    pub(crate) protected: Vec<(Cbor, Cbor)>,
    pub(crate) unprotected: Vec<(Cbor, Cbor)>,
    pub(crate) payload: Vec<u8>,
    pub(crate) algorithm: EnvelopeAlgorithm,
}

pub(crate) fn seconds(text: &str) -> Cbor {
    Cbor::Tag(1, Box::new(time(text).as_second().into()))
}

pub(crate) fn encode(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

impl Cose {
    pub(crate) fn new(algorithm: EnvelopeAlgorithm, chain: &[Vec<u8>]) -> Self {
        let number = match algorithm {
            EnvelopeAlgorithm::Ps256 => -37,
            EnvelopeAlgorithm::Ps384 => -38,
            EnvelopeAlgorithm::Ps512 => -39,
            EnvelopeAlgorithm::Es256 => -7,
            EnvelopeAlgorithm::Es384 => -35,
            EnvelopeAlgorithm::Es512 => -36,
        };
        Self {
            protected: vec![
                (1.into(), number.into()),
                (
                    2.into(),
                    Cbor::Array(vec![
                        "io.cncf.notary.signingScheme".into(),
                        "io.cncf.notary.expiry".into(),
                    ]),
                ),
                (3.into(), "application/vnd.cncf.notary.payload.v1+json".into()),
                ("io.cncf.notary.signingScheme".into(), "notary.x509".into()),
                ("io.cncf.notary.signingTime".into(), seconds(SIGNED_AT)),
                ("io.cncf.notary.expiry".into(), seconds(EXPIRY)),
            ],
            unprotected: vec![
                (
                    33.into(),
                    Cbor::Array(chain.iter().map(|der| Cbor::Bytes(der.clone())).collect()),
                ),
                ("io.cncf.notary.signingAgent".into(), "assay tests".into()),
            ],
            payload: payload(&image()),
            algorithm,
        }
    }

    /// A signature by a signing authority.
    pub(crate) fn by_signing_authority(mut self) -> Self {
        self.set("io.cncf.notary.signingScheme", "notary.x509.signingAuthority".into());
        self.remove("io.cncf.notary.signingTime");
        self.set("io.cncf.notary.authenticSigningTime", seconds(SIGNED_AT));
        self.mark_critical("io.cncf.notary.authenticSigningTime");
        self
    }

    /// Sets a protected header; it replaces one of the same label.
    pub(crate) fn set(&mut self, label: impl Into<Cbor>, value: Cbor) {
        let label = label.into();
        match self.protected.iter_mut().find(|(other, _)| *other == label) {
            Some(entry) => entry.1 = value,
            None => self.protected.push((label, value)),
        }
    }

    pub(crate) fn remove(&mut self, label: impl Into<Cbor>) {
        let label = label.into();
        self.protected.retain(|(other, _)| *other != label);
    }

    pub(crate) fn mark_critical(&mut self, name: &str) {
        let (_, critical) = self.protected.iter_mut().find(|(label, _)| *label == 2.into()).unwrap();
        critical.as_array_mut().unwrap().push(name.into());
    }

    pub(crate) fn envelope(&self) -> Vec<u8> {
        self.envelope_of(&encode(&Cbor::Map(self.protected.clone())))
    }

    /// An envelope whose protected header has these bytes.
    pub(crate) fn envelope_of(&self, protected: &[u8]) -> Vec<u8> {
        let signed = encode(&Cbor::Array(vec![
            "Signature1".into(),
            Cbor::Bytes(protected.to_vec()),
            Cbor::Bytes(Vec::new()),
            Cbor::Bytes(self.payload.clone()),
        ]));
        encode(&Cbor::Tag(
            18,
            Box::new(Cbor::Array(vec![
                Cbor::Bytes(protected.to_vec()),
                Cbor::Map(self.unprotected.clone()),
                Cbor::Bytes(self.payload.clone()),
                Cbor::Bytes(sign(self.algorithm, &signed)),
            ])),
        ))
    }
}

pub(crate) const JWS: &str = "application/jose+json";
pub(crate) const COSE: &str = "application/cose";

/// Puts an envelope beside an image, in a manifest as notation writes it.
pub(crate) fn evidence(media_type: &str, envelope: &[u8], subject: &Descriptor) -> Signature {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.cncf.notary.signature",
            "digest": Digest::sha256(b"{}").to_string(),
            "size": 2,
        },
        "layers": [{
            "mediaType": media_type,
            "digest": Digest::sha256(envelope).to_string(),
            "size": envelope.len(),
        }],
        "subject": {
            "mediaType": subject.media_type.as_str(),
            "digest": subject.digest.to_string(),
            "size": subject.size,
        },
    });
    let json: Arc<[u8]> = serde_json::to_vec(&manifest).unwrap().into();
    let descriptor = Descriptor {
        media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
        digest: Digest::sha256(&json),
        size: json.len() as u64,
    };
    let manifest = SignatureManifest::open(&descriptor, json).unwrap();
    Signature::new(manifest.into(), 0, envelope.into()).unwrap()
}

/// The chain of most tests: a leaf and a root.
pub(crate) static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| ChainParts::default().build());

/// The root of [`CHAIN`].
pub(crate) fn root() -> &'static [u8] {
    &CHAIN[1]
}

pub(crate) fn jws() -> Jws {
    Jws::new(EnvelopeAlgorithm::Es256, &CHAIN)
}

pub(crate) fn cose() -> Cose {
    Cose::new(EnvelopeAlgorithm::Es256, &CHAIN)
}

/// A signature as it should be.
pub(crate) fn good() -> Signature {
    evidence(JWS, &jws().envelope(), &image())
}

/// A statement with everything that it refers to.
pub(crate) struct Trust {
    pub(crate) checks: Checks,
    pub(crate) names: Vec<TrustStoreName>,
    pub(crate) identities: TrustedIdentities,
    pub(crate) stores: TrustStores,
}

impl Trust {
    /// Trusts one certificate in `ca:corp`, strictly.
    pub(crate) fn anchored_by(certificate: &[u8]) -> Self {
        Self {
            checks: Checks::STRICT,
            names: vec!["ca:corp".parse().unwrap()],
            identities: TrustedIdentities::Any,
            stores: TrustStores(BTreeMap::new()),
        }
        .with_store("ca:corp", certificate)
    }

    pub(crate) fn with_store(mut self, name: &str, certificate: &[u8]) -> Self {
        let name: TrustStoreName = name.parse().unwrap();
        let store = TrustStore::from_files(TrustStoreKind::CertificateAuthority, [("file", certificate)]).unwrap();
        self.stores.0.insert(name, Arc::new(store));
        self
    }

    pub(crate) fn checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    pub(crate) fn terms(&self) -> Terms<'_> {
        Terms {
            checks: &self.checks,
            verify_timestamp: VerifyTimestamp::Always,
            trust_stores: &self.names,
            identities: &self.identities,
        }
    }

    pub(crate) fn authority(&self) -> AuthorityTerms<'_> {
        AuthorityTerms::Notation {
            terms: self.terms(),
            stores: &self.stores,
        }
    }
}
