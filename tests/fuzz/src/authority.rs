//! An authority that signs whatever it is given: what a stranger cannot sign must be reached, too.

use std::sync::LazyLock;
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::query::{Answered, Answers, Query};
use assay_verify::x509::certificate::Certificate;
use assay_verify::x509::revocation::{ChainStatus, Context, LocalRevocation, Outcome, check};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, SigningKey as _, date_time_ymd,
};

/// The serial number of the leaf.
pub(crate) const SERIAL: [u8; 4] = [0x5e, 0x41, 0xa1, 0x07];

/// The time of every judgement.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_780_272_000).expect("a time")
}

/// `ecdsa-with-SHA256`.
const ALGORITHM: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// A certificate that names both kinds of sources, and its issuer.
pub(crate) struct Authority {
    key: KeyPair,
    chain: [Certificate; 2],
}

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new().expect("certificates"));

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2027, 1, 1);
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let key = KeyPair::generate()?;
        let mut root = params("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut leaf = params("leaf");
        leaf.serial_number = Some(SerialNumber::from_slice(&SERIAL));
        leaf.crl_distribution_points = vec![CrlDistributionPoint {
            uris: vec!["http://crl.example/a.crl".to_owned()],
        }];
        // One OCSP responder, http://o.example/.
        let access = [
            b"\x30\x21\x30\x1f\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01\x86\x13".as_slice(),
            b"http://o.example/aa",
        ]
        .concat();
        leaf.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)];
        let leaf_key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&root, &key))?;
        let root = root.self_signed(&key)?;
        let parse = |der: &[u8]| Certificate::from_der(der).expect("a certificate");
        Ok(Self {
            chain: [parse(leaf.der()), parse(root.der())],
            key,
        })
    }

    pub(crate) fn root(&self) -> &Certificate {
        &self.chain[1]
    }

    /// `data`, the algorithm and the signature, as a CRL and a basic OCSP response have them.
    pub(crate) fn signed(&self, data: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(data).expect("a signature");
        element(0x30, &[data, &ALGORITHM, &element(0x03, &[&[0], &signature])])
    }

    /// The one question about the chain while `answers` are known.
    pub(crate) fn question(&self, answers: &Answers) -> Query {
        let Outcome::Needs(queries) = self.judge(answers).outcome else {
            panic!("nothing is asked");
        };
        queries.into_iter().next().expect("a question")
    }

    pub(crate) fn judge(&self, answers: &Answers) -> ChainStatus {
        let context = Context {
            answers,
            local: &LocalRevocation::default(),
            now: now(),
            grace: Duration::ZERO,
            authentic_signing_time: None,
        };
        check(&self.chain, &context)
    }
}

/// An answer that came just now.
pub(crate) fn answered(bytes: &[u8]) -> Answered {
    Answered {
        now: Ok(bytes.into()),
        kept: None,
    }
}

/// An element of DER.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = match content.len() {
        0..=0x7f => vec![tag, length[3]],
        0x80..=0xff => vec![tag, 0x81, length[3]],
        0x100..=0xffff => vec![tag, 0x82, length[2], length[3]],
        _ => vec![tag, 0x83, length[1], length[2], length[3]],
    };
    [head, content].concat()
}

/// Whether the bytes are in the input.
pub(crate) fn contains(input: &[u8], bytes: &[u8]) -> bool {
    input.windows(bytes.len()).any(|window| window == bytes)
}
