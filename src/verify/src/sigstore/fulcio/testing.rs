//! Authorities and signers' certificates, made with every part open to change.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::Timestamp;
use crate::sigstore::trusted_root::Authority;
use crate::sigstore::window::Window;
use crate::x509::certificate::Certificate;

/// Within the validity of all certificates.
pub(crate) const SIGNED_AT: &str = "2026-05-01T00:00:00Z";
pub(crate) const SUBJECT: &str = "https://github.com/corp/app/.github/workflows/release.yml@refs/heads/main";
pub(crate) const PROVIDER: &str = "https://token.actions.githubusercontent.com";

pub(crate) static ROOT_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());
pub(crate) static INTERMEDIATE_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());
pub(crate) static LEAF_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn parse(certificate: &rcgen::Certificate) -> Certificate {
    Certificate::from_der(certificate.der()).unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

pub(crate) fn root() -> CertificateParams {
    let mut params = named("root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn intermediate() -> CertificateParams {
    let mut params = named("intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

pub(crate) fn leaf() -> CertificateParams {
    let mut params = named("");
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(SUBJECT.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.custom_extensions = vec![utf8(8, PROVIDER), raw(1, PROVIDER)];
    params
}

/// An extension of Fulcio's with raw text.
pub(crate) fn raw(arc: u64, text: &str) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, arc], text.as_bytes().to_vec())
}

/// An extension of Fulcio's with a `UTF8String`.
pub(crate) fn utf8(arc: u64, text: &str) -> CustomExtension {
    let content = crate::x509::walk::encoded(0x0c, text.as_bytes());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, arc], content)
}

/// A root, an intermediate and a leaf.
pub(crate) struct Chain {
    pub(crate) root: Certificate,
    pub(crate) intermediate: Certificate,
    pub(crate) leaf: Certificate,
}

impl Chain {
    pub(crate) fn new(root: &CertificateParams, intermediate: &CertificateParams, leaf: &CertificateParams) -> Self {
        let root_issuer = Issuer::from_params(root, &*ROOT_KEY);
        let issuer = Issuer::from_params(intermediate, &*INTERMEDIATE_KEY);
        Self {
            root: parse(&root.self_signed(&*ROOT_KEY).unwrap()),
            intermediate: parse(&intermediate.signed_by(&*INTERMEDIATE_KEY, &root_issuer).unwrap()),
            leaf: parse(&leaf.signed_by(&*LEAF_KEY, &issuer).unwrap()),
        }
    }

    /// An authority as trusted roots list it: its intermediate and its root, and it counts always.
    pub(crate) fn authority(&self) -> Authority {
        authority([&self.intermediate, &self.root], Window::default())
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new(&root(), &intermediate(), &leaf())
    }
}

pub(crate) fn authority<'a>(certificates: impl IntoIterator<Item = &'a Certificate>, window: Window) -> Authority {
    Authority {
        certificates: certificates.into_iter().cloned().collect(),
        window,
        operator: "corp".into(),
    }
}
