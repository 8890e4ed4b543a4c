//! Keys and certificate chains for signing, good ones and ones with a defect that the test shows.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys that Notary Project signatures may be made with (signature-specification.md#algorithm-selection).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Key {
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl Key {
    /// Every kind of key.
    pub const ALL: [Self; 6] = [
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    fn generate(self) -> Result<KeyPair> {
        let pair = match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::P521 => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        pair.with_context(|| format!("cannot generate a key of kind {self:?}"))
    }
}

/// What a certificate says. The default is a P-256 key, valid from yesterday for thirty days, without revocation
/// sources; its subject is `C=US, ST=WA, O=Corp, CN=` and the name.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The common name.
    pub name: String,
    /// The organisation.
    pub organisation: String,
    /// The key.
    pub key: Key,
    /// The first moment of its validity.
    pub not_before: SystemTime,
    /// The last moment of its validity.
    pub not_after: SystemTime,
    /// The address of a CRL.
    pub crl: Option<String>,
    /// The address of an OCSP responder.
    pub ocsp: Option<String>,
}

impl Profile {
    /// The default with this common name.
    pub fn named(name: &str) -> Self {
        let now = SystemTime::now();
        Self {
            name: name.into(),
            organisation: "Corp".into(),
            key: Key::P256,
            not_before: now - DAY,
            not_after: now + 30 * DAY,
            crl: None,
            ocsp: None,
        }
    }

    /// The same with another key.
    pub fn key(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// The trusted identity that names exactly this subject.
    pub fn trusted_identity(&self) -> String {
        format!("x509.subject: C=US, ST=WA, O={}, CN={}", self.organisation, self.name)
    }

    fn parameters(&self) -> CertificateParams {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CountryName, "US");
        subject.push(DnType::StateOrProvinceName, "WA");
        subject.push(DnType::OrganizationName, self.organisation.as_str());
        subject.push(DnType::CommonName, self.name.as_str());
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject;
        parameters.not_before = OffsetDateTime::from(self.not_before);
        parameters.not_after = OffsetDateTime::from(self.not_after);
        parameters.use_authority_key_identifier_extension = true;
        parameters.crl_distribution_points = self
            .crl
            .iter()
            .map(|url| CrlDistributionPoint {
                uris: vec![url.clone()],
            })
            .collect();
        parameters.custom_extensions = self.ocsp.iter().map(|url| authority_information_access(url)).collect();
        parameters
    }

    fn authority_parameters(&self) -> CertificateParams {
        let mut parameters = self.parameters();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters
    }

    fn leaf_parameters(&self) -> CertificateParams {
        let mut parameters = self.parameters();
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        parameters
    }
}

/// A certificate authority: a root or an intermediate.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate first, then those above it.
    chain: Vec<rcgen::Certificate>,
}

impl Authority {
    /// A self-signed root.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn root(profile: &Profile) -> Result<Self> {
        let parameters = profile.authority_parameters();
        let key = profile.key.generate()?;
        let certificate = parameters.self_signed(&key)?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            chain: vec![certificate],
        })
    }

    /// An authority below this one.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn intermediate(&self, profile: &Profile) -> Result<Self> {
        let parameters = profile.authority_parameters();
        let key = profile.key.generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let chain = [vec![certificate], self.chain.clone()].concat();
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            chain,
        })
    }

    /// A signing certificate with its key and the chain up to the root.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn issue(&self, profile: &Profile) -> Result<SigningIdentity> {
        self.issue_with(profile, |_| ())
    }

    /// The same after `adjust` has changed what the certificate says: a defect that the test shows.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn issue_with(
        &self,
        profile: &Profile,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> Result<SigningIdentity> {
        let mut parameters = profile.leaf_parameters();
        adjust(&mut parameters);
        let key = profile.key.generate()?;
        let leaf = parameters.signed_by(&key, &self.issuer)?;
        Ok(SigningIdentity::new(&key, &[vec![leaf], self.chain.clone()].concat()))
    }

    /// Its own certificate, PEM, for a trust store.
    pub fn certificate_pem(&self) -> String {
        self.chain.first().map(rcgen::Certificate::pem).unwrap_or_default()
    }
}

/// A private key with its certificate chain.
#[derive(Clone, Debug)]
pub struct SigningIdentity {
    /// The private key: PKCS #8 in PEM.
    pub key_pem: String,
    /// The chain, leaf first, root last, in PEM.
    pub chain_pem: String,
    /// The last certificate of the chain, PEM: what a trust store holds.
    pub anchor_pem: String,
}

impl SigningIdentity {
    /// A self-signed signing certificate.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn self_signed(profile: &Profile) -> Result<Self> {
        let key = profile.key.generate()?;
        let certificate = profile.leaf_parameters().self_signed(&key)?;
        Ok(Self::new(&key, &[certificate]))
    }

    fn new(key: &KeyPair, chain: &[rcgen::Certificate]) -> Self {
        Self {
            key_pem: key.serialize_pem(),
            chain_pem: chain.iter().map(rcgen::Certificate::pem).collect(),
            anchor_pem: chain.last().map(rcgen::Certificate::pem).unwrap_or_default(),
        }
    }
}

/// A TLS server's key and certificate, with the CA that vouches for it.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    configuration: Arc<rustls::ServerConfig>,
    ca_pem: String,
}

impl ServerIdentity {
    /// The CA's certificate, for clients to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn rustls(&self) -> Arc<rustls::ServerConfig> {
        self.configuration.clone()
    }
}

/// A TLS identity for these host names and addresses, from a CA made for it alone.
///
/// # Errors
///
/// The certificates cannot be made.
pub fn server_identity(hosts: &[&str]) -> Result<ServerIdentity> {
    let authority = Authority::root(&Profile::named("registry CA"))?;
    let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = CertificateParams::new(names)?;
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = Key::P256.generate()?;
    let leaf = parameters.signed_by(&key, &authority.issuer)?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    Ok(ServerIdentity {
        configuration: Arc::new(configuration),
        ca_pem: authority.certificate_pem(),
    })
}

/// RFC 5280 §4.2.2.1: a sequence of one access description, method id-ad-ocsp, location a URI.
fn authority_information_access(url: &str) -> CustomExtension {
    const AUTHORITY_INFORMATION_ACCESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 1];
    const ID_AD_OCSP: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
    let location = tagged(0x86, url.as_bytes());
    let description = tagged(0x30, &[&ID_AD_OCSP, location.as_slice()].concat());
    CustomExtension::from_oid_content(&AUTHORITY_INFORMATION_ACCESS, tagged(0x30, &description))
}

/// DER with the long form of the length in two bytes, the short one below 128.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![tag, short],
        Ok(long) => vec![tag, 0x81, long],
        Err(_) => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use x509_cert::Certificate;
    use x509_cert::ext::pkix::name::GeneralName;
    use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, KeyUsage};

    use super::*;

    fn leaf(identity: &SigningIdentity) -> Certificate {
        let chain = Certificate::load_pem_chain(identity.chain_pem.as_bytes()).expect("certificates");
        chain.into_iter().next().expect("a leaf")
    }

    #[test]
    fn a_signing_certificate_meets_the_profile_of_the_specification() {
        let root = Authority::root(&Profile::named("root")).unwrap();
        let intermediate = root.intermediate(&Profile::named("intermediate")).unwrap();
        let identity = intermediate.issue(&Profile::named("release")).unwrap();
        assert_eq!(identity.chain_pem.matches("BEGIN CERTIFICATE").count(), 3);
        assert_eq!(identity.anchor_pem, root.certificate_pem());
        let leaf = leaf(&identity);
        let leaf = leaf.tbs_certificate();
        let (critical, usage) = leaf.get_extension::<KeyUsage>().unwrap().expect("a key usage");
        assert!(critical && usage.digital_signature() && !usage.key_cert_sign());
        let constraints = leaf.get_extension::<BasicConstraints>().unwrap();
        assert!(constraints.is_none_or(|(_, constraints)| !constraints.ca));
        assert_eq!(leaf.subject().to_string(), "CN=release,O=Corp,ST=WA,C=US");
        assert!(leaf.get_extension::<AuthorityInfoAccessSyntax>().unwrap().is_none());
    }

    #[test]
    fn a_certificate_names_the_revocation_sources_that_its_profile_names() {
        // The second is longer than DER's short form of a length.
        for ocsp in [
            "http://127.0.0.1:1/ocsp".to_owned(),
            format!("http://127.0.0.1:1/{}", "o".repeat(300)),
        ] {
            let crl = Some("http://127.0.0.1:1/crl".to_owned());
            let profile = Profile {
                crl,
                ocsp: Some(ocsp.clone()),
                ..Profile::named("revocable")
            };
            let leaf = leaf(&SigningIdentity::self_signed(&profile).unwrap());
            let leaf = leaf.tbs_certificate();
            let (_, access) = leaf
                .get_extension::<AuthorityInfoAccessSyntax>()
                .unwrap()
                .expect("a responder");
            assert_eq!(access.0[0].access_method.to_string(), "1.3.6.1.5.5.7.48.1");
            let GeneralName::UniformResourceIdentifier(url) = &access.0[0].access_location else {
                panic!("no URL")
            };
            assert_eq!(url.to_string(), ocsp);
            assert!(leaf.get_extension::<CrlDistributionPoints>().unwrap().is_some());
        }
    }
}
