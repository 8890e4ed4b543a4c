//! Timestamp authorities and tokens, made with every part open to change.

use assay_verify::Timestamp;
use assay_verify::crypto::EnvelopeAlgorithm;
use assay_verify::x509::certificate::Certificate;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature as sign;
use const_oid::ObjectIdentifier;
use der::Encode as _;
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::support::{ChainParts, key, leaf};

pub(crate) const MESSAGE: &[u8] = b"the signature of an envelope";
/// Within the validity of all certificates.
pub(crate) const GENERATED_AT: &str = "20260501000000Z";

pub(crate) const SHA_1: &str = "1.3.14.3.2.26";
pub(crate) const SHA_256: &str = "2.16.840.1.101.3.4.2.1";
pub(crate) const SHA_384: &str = "2.16.840.1.101.3.4.2.2";
pub(crate) const SHA_512: &str = "2.16.840.1.101.3.4.2.3";
pub(crate) const RSA: &str = "1.2.840.113549.1.1.1";
pub(crate) const RSA_PSS: &str = "1.2.840.113549.1.1.10";
pub(crate) const RSA_SHA_256: &str = "1.2.840.113549.1.1.11";
pub(crate) const ECDSA_SHA_256: &str = "1.2.840.10045.4.3.2";
pub(crate) const ECDSA_SHA_384: &str = "1.2.840.10045.4.3.3";
pub(crate) const ECDSA_SHA_512: &str = "1.2.840.10045.4.3.4";
pub(crate) const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
pub(crate) const DATA: &str = "1.2.840.113549.1.7.1";
pub(crate) const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
pub(crate) const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
pub(crate) const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
pub(crate) const SIGNING_TIME: &str = "1.2.840.113549.1.9.5";
pub(crate) const SIGNING_CERTIFICATE: &str = "1.2.840.113549.1.9.16.2.12";
pub(crate) const SIGNING_CERTIFICATE_V2: &str = "1.2.840.113549.1.9.16.2.47";

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..0x80 => vec![u8::try_from(short).unwrap()],
        long => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            [&[0x80 | u8::try_from(bytes.len()).unwrap()][..], &bytes].concat()
        }
    };
    [&[tag][..], &length, content].concat()
}

pub(crate) fn sequence<const N: usize>(parts: [&[u8]; N]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// The elements of a set, in the order of DER.
pub(crate) fn set(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    tlv(0x31, &parts.concat())
}

pub(crate) fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(text).to_der().unwrap()
}

pub(crate) fn integer(value: u8) -> Vec<u8> {
    tlv(2, &[value])
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(4, content)
}

pub(crate) fn algorithm(text: &str) -> Vec<u8> {
    sequence([&oid(text)])
}

/// `RSASSA-PSS-params` with one hash for all (RFC 4055 §3.1).
pub(crate) fn pss(hash: &str, salt_length: u8) -> Vec<u8> {
    let mask = sequence([&oid("1.2.840.113549.1.1.8"), &algorithm(hash)]);
    let parameters = sequence([
        &tlv(0xa0, &algorithm(hash)),
        &tlv(0xa1, &mask),
        &tlv(0xa2, &integer(salt_length)),
    ]);
    sequence([&oid(RSA_PSS), &parameters])
}

pub(crate) fn digest(hash: &str, message: &[u8]) -> Vec<u8> {
    match hash {
        SHA_384 => Sha384::digest(message).to_vec(),
        SHA_512 => Sha512::digest(message).to_vec(),
        _ => Sha256::digest(message).to_vec(),
    }
}

/// The parameters of a timestamp authority's certificate.
pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut params = leaf();
    params.distinguished_name.push(DnType::CommonName, name);
    params.custom_extensions.push(purposes(true, &["1.3.6.1.5.5.7.3.8"]));
    params
}

/// An extended key usage.
pub(crate) fn purposes(critical: bool, purposes: &[&str]) -> CustomExtension {
    let content: Vec<u8> = purposes.iter().flat_map(|purpose| oid(purpose)).collect();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], tlv(0x30, &content));
    extension.set_criticality(critical);
    extension
}

/// The chain of most tests: an authority, an intermediate and a root.
pub(crate) fn parts() -> ChainParts {
    ChainParts {
        leaf: authority("timestamp authority"),
        ..ChainParts::with_intermediate()
    }
}

pub(crate) fn certificate(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

/// `TSTInfo` in its parts.
pub(crate) struct Info {
    pub(crate) version: u8,
    pub(crate) policy: &'static str,
    pub(crate) hash: &'static str,
    pub(crate) imprint: Vec<u8>,
    pub(crate) generated_at: String,
    /// What follows the time.
    pub(crate) rest: Vec<u8>,
}

impl Info {
    fn build(&self) -> Vec<u8> {
        sequence([
            &integer(self.version),
            &oid(self.policy),
            &sequence([&algorithm(self.hash), &octets(&self.imprint)]),
            &integer(7),
            &tlv(0x18, self.generated_at.as_bytes()),
            &self.rest,
        ])
    }
}

/// A signed attribute: its type and its values.
pub(crate) type Attribute = (&'static str, Vec<Vec<u8>>);

/// A signer in its parts.
pub(crate) struct Signer {
    pub(crate) version: u8,
    /// The certificate that is named by issuer and serial number.
    pub(crate) named: Vec<u8>,
    /// The certificate whose hash is signed.
    pub(crate) hashed: Vec<u8>,
    pub(crate) digest: &'static str,
    pub(crate) algorithm: Vec<u8>,
    pub(crate) key: &'static KeyPair,
    /// Changes the attributes before they are signed.
    pub(crate) change: fn(&mut Vec<Attribute>),
    /// Changes the attributes' order in the token.
    pub(crate) reversed: bool,
    /// Changes the encoded signer.
    pub(crate) tamper: fn(&mut Vec<u8>),
}

impl Signer {
    /// Signs with P-256.
    pub(crate) fn new(leaf: &[u8]) -> Self {
        Self {
            version: 1,
            named: leaf.to_vec(),
            hashed: leaf.to_vec(),
            digest: SHA_256,
            algorithm: algorithm(ECDSA_SHA_256),
            key: key(EnvelopeAlgorithm::Es256),
            change: |_| (),
            reversed: false,
            tamper: |_| (),
        }
    }

    fn build(&self, content: &[u8]) -> Vec<u8> {
        let mut attributes = vec![
            (CONTENT_TYPE, vec![oid(TST_INFO)]),
            (MESSAGE_DIGEST, vec![octets(&digest(self.digest, content))]),
            (
                SIGNING_CERTIFICATE_V2,
                vec![signing_certificate(&ess_certificate(&self.hashed, None))],
            ),
        ];
        (self.change)(&mut attributes);
        let mut encoded: Vec<Vec<u8>> = attributes
            .into_iter()
            .map(|(kind, values)| sequence([&oid(kind), &set(values)]))
            .collect();
        let signature = self.sign(&set(encoded.clone()));
        encoded.sort();
        if self.reversed {
            encoded.reverse();
        }
        let named = certificate(&self.named);
        let attributes = match encoded.is_empty() {
            true => Vec::new(),
            false => tlv(0xa0, &encoded.concat()),
        };
        let mut signer = sequence([
            &integer(self.version),
            &sequence([named.issuer_der(), &tlv(2, named.serial_number())]),
            &algorithm(self.digest),
            &attributes,
            &self.algorithm,
            &octets(&signature),
        ]);
        (self.tamper)(&mut signer);
        signer
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let pkcs8 = self.key.serialized_der();
        let rsa = |encoding: &'static dyn sign::RsaEncoding| {
            let key = sign::RsaKeyPair::from_pkcs8(pkcs8).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &random, message, &mut signature).unwrap();
            signature
        };
        if self.algorithm == pss(SHA_256, 32) {
            rsa(&sign::RSA_PSS_SHA256)
        } else if self.key.is_compatible(&rcgen::PKCS_RSA_SHA256) {
            match self.digest {
                SHA_384 => rsa(&sign::RSA_PKCS1_SHA384),
                SHA_512 => rsa(&sign::RSA_PKCS1_SHA512),
                _ => rsa(&sign::RSA_PKCS1_SHA256),
            }
        } else {
            rcgen::SigningKey::sign(self.key, message).unwrap()
        }
    }
}

/// `ESSCertIDv2` with the default hash.
pub(crate) fn ess_certificate(der: &[u8], issuer_serial: Option<&[u8]>) -> Vec<u8> {
    sequence([&octets(&Sha256::digest(der)), issuer_serial.unwrap_or_default()])
}

/// `IssuerSerial` of a certificate.
pub(crate) fn issuer_serial(der: &[u8]) -> Vec<u8> {
    let certificate = certificate(der);
    sequence([
        &sequence([&tlv(0xa4, certificate.issuer_der())]),
        &tlv(2, certificate.serial_number()),
    ])
}

/// `SigningCertificateV2` of encoded certificate identifiers.
pub(crate) fn signing_certificate(identifiers: &[u8]) -> Vec<u8> {
    sequence([&tlv(0x30, identifiers)])
}

/// A token before it is encoded.
pub(crate) struct Token {
    pub(crate) kind: &'static str,
    pub(crate) version: u8,
    pub(crate) content_type: &'static str,
    pub(crate) info: Info,
    pub(crate) detached: bool,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) signers: Vec<Signer>,
}

impl Token {
    /// A good token by the leaf of a chain. The root is left out.
    pub(crate) fn new(chain: &[Vec<u8>]) -> Self {
        Self {
            kind: SIGNED_DATA,
            version: 3,
            content_type: TST_INFO,
            info: Info {
                version: 1,
                policy: "1.2.3.4",
                hash: SHA_256,
                imprint: digest(SHA_256, MESSAGE),
                generated_at: GENERATED_AT.to_owned(),
                rest: Vec::new(),
            },
            detached: false,
            certificates: chain[..chain.len() - 1].to_vec(),
            signers: vec![Signer::new(&chain[0])],
        }
    }

    /// DER.
    pub(crate) fn build(&self) -> Vec<u8> {
        let info = self.info.build();
        let content = match self.detached {
            true => Vec::new(),
            false => tlv(0xa0, &octets(&info)),
        };
        let certificates = match self.certificates.is_empty() {
            true => Vec::new(),
            false => tlv(0xa0, &self.certificates.concat()),
        };
        let signers = self.signers.iter().map(|signer| signer.build(&info)).collect();
        let signed_data = sequence([
            &integer(self.version),
            &set(vec![algorithm(SHA_256)]),
            &sequence([&oid(self.content_type), &content]),
            &certificates,
            &set(signers),
        ]);
        sequence([&oid(self.kind), &tlv(0xa0, &signed_data)])
    }
}

/// What an authority that streams writes: every constructed element has an indefinite length, every octet string comes
/// in two pieces.
pub(crate) fn to_ber(mut der: &[u8]) -> Vec<u8> {
    let mut ber = Vec::new();
    while let [tag, length, rest @ ..] = der {
        let (length, rest) = match *length {
            long @ 0x80.. => {
                let (length, rest) = rest.split_at(usize::from(long & 0x7f));
                (
                    length.iter().fold(0, |length, byte| length * 256 + usize::from(*byte)),
                    rest,
                )
            }
            short => (usize::from(short), rest),
        };
        let (content, rest) = rest.split_at(length);
        match tag {
            0x04 => {
                let (first, second) = content.split_at(content.len() / 2);
                ber.extend([&[0x24, 0x80][..], &tlv(4, first), &tlv(4, second), &[0, 0]].concat());
            }
            constructed if constructed & 0x20 != 0 => {
                ber.extend([&[*constructed, 0x80][..], &to_ber(content), &[0, 0]].concat());
            }
            primitive => ber.extend(tlv(*primitive, content)),
        }
        der = rest;
    }
    ber
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
