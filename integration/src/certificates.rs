//! Keys and certificate chains for signing, good ones and ones with a defect that the test shows.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_RSA_SHA256, RsaKeySize, SerialNumber,
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

/// A certificate's serial number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A positive number of 16 bytes (RFC 5280 §4.1.2.2 allows 20).
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).context("no randomness")?;
        // Neither negative nor with a leading zero, so that its text and its DER have the same length.
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Ok(Self(bytes.into()))
    }

    fn rcgen(&self) -> SerialNumber {
        SerialNumber::from_slice(&self.0)
    }
}

impl From<u64> for Serial {
    fn from(number: u64) -> Self {
        let bytes = number.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
        Self(bytes.into_iter().skip(zeros).collect())
    }
}

/// Hexadecimal, in capitals, two digits a byte: as openssl's index has it.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// What a leaf's key may be used for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signing artifacts.
    CodeSigning,
    /// Signing timestamps: the only purpose, and critical (RFC 3161 §2.3).
    TimeStamping,
    /// Signing OCSP answers for the issuer (RFC 6960 §4.2.2.2).
    OcspSigning,
}

impl Purpose {
    const TIME_STAMPING: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
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
    /// The serial number; a random one when there is none.
    pub serial: Option<Serial>,
    /// What a leaf is for. An authority has no purpose.
    pub purpose: Purpose,
    /// The addresses of CRLs, each in a distribution point of its own.
    pub crl: Vec<String>,
    /// The address of a delta CRL (RFC 5280 §4.2.1.15).
    pub freshest_crl: Option<String>,
    /// The addresses of OCSP responders, in this order.
    pub ocsp: Vec<String>,
    /// Whether it asks not to be checked for revocation (RFC 6960 §4.2.2.2.1).
    pub ocsp_no_check: bool,
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
            serial: None,
            purpose: Purpose::CodeSigning,
            crl: vec![],
            freshest_crl: None,
            ocsp: vec![],
            ocsp_no_check: false,
        }
    }

    /// The default of a leaf that signs timestamps.
    pub fn timestamping(name: &str) -> Self {
        Self {
            purpose: Purpose::TimeStamping,
            ..Self::named(name)
        }
    }

    /// The default of a leaf that signs OCSP answers for its issuer, and need not be checked itself.
    pub fn responder(name: &str) -> Self {
        Self {
            purpose: Purpose::OcspSigning,
            ocsp_no_check: true,
            ..Self::named(name)
        }
    }

    /// The same with the address of a CRL, after those it has.
    pub fn crl(mut self, url: impl Into<String>) -> Self {
        self.crl.push(url.into());
        self
    }

    /// The same with the address of an OCSP responder, after those it has.
    pub fn ocsp(mut self, url: impl Into<String>) -> Self {
        self.ocsp.push(url.into());
        self
    }

    /// The same with this serial number.
    pub fn serial(self, serial: impl Into<Serial>) -> Self {
        Self {
            serial: Some(serial.into()),
            ..self
        }
    }

    /// The same, valid until this long from now.
    pub fn expires_in(self, time: Duration) -> Self {
        Self {
            not_after: SystemTime::now() + time,
            ..self
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

    fn parameters(&self) -> Result<CertificateParams> {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CountryName, "US");
        subject.push(DnType::StateOrProvinceName, "WA");
        subject.push(DnType::OrganizationName, self.organisation.as_str());
        subject.push(DnType::CommonName, self.name.as_str());
        let serial = self.serial.clone().map_or_else(Serial::random, Ok)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject;
        parameters.serial_number = Some(serial.rcgen());
        parameters.not_before = OffsetDateTime::from(self.not_before);
        parameters.not_after = OffsetDateTime::from(self.not_after);
        parameters.use_authority_key_identifier_extension = true;
        let point = |url: &String| CrlDistributionPoint {
            uris: vec![url.clone()],
        };
        parameters.crl_distribution_points = self.crl.iter().map(point).collect();
        let extensions = [
            (!self.ocsp.is_empty()).then(|| authority_information_access(&self.ocsp)),
            self.freshest_crl.as_deref().map(freshest_crl),
            self.ocsp_no_check.then(ocsp_no_check),
        ];
        parameters.custom_extensions = extensions.into_iter().flatten().collect();
        Ok(parameters)
    }

    fn authority_parameters(&self) -> Result<CertificateParams> {
        let mut parameters = self.parameters()?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Digital signatures too: an authority may answer OCSP itself (RFC 6960 §4.2.2.2).
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        Ok(parameters)
    }

    fn leaf_parameters(&self) -> Result<CertificateParams> {
        let mut parameters = self.parameters()?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match self.purpose {
            Purpose::CodeSigning => parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
            Purpose::OcspSigning => parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning],
            // rcgen writes no critical one.
            Purpose::TimeStamping => {
                const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
                let content = tagged(0x30, &Purpose::TIME_STAMPING);
                let mut extension = CustomExtension::from_oid_content(&EXTENDED_KEY_USAGE, content);
                extension.set_criticality(true);
                parameters.custom_extensions.push(extension);
            }
        }
        Ok(parameters)
    }
}

/// A certificate authority: a root or an intermediate.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate first, then those above it.
    chain: Vec<rcgen::Certificate>,
    /// What its certificate says.
    parameters: CertificateParams,
}

impl Authority {
    /// A self-signed root.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn root(profile: &Profile) -> Result<Self> {
        let parameters = profile.authority_parameters()?;
        let key = profile.key.generate()?;
        let certificate = parameters.self_signed(&key)?;
        Ok(Self {
            issuer: Issuer::new(parameters.clone(), key),
            chain: vec![certificate],
            parameters,
        })
    }

    /// An authority below this one.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn intermediate(&self, profile: &Profile) -> Result<Self> {
        let parameters = profile.authority_parameters()?;
        let key = profile.key.generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let chain = [vec![certificate], self.chain.clone()].concat();
        Ok(Self {
            issuer: Issuer::new(parameters.clone(), key),
            chain,
            parameters,
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
        let mut parameters = profile.leaf_parameters()?;
        adjust(&mut parameters);
        let key = profile.key.generate()?;
        let leaf = parameters.signed_by(&key, &self.issuer)?;
        let chain = [vec![leaf], self.chain.clone()].concat();
        SigningIdentity::new(&key, &parameters, &chain)
    }

    /// An authority that claims this one's name with the key of `identity`, in a self-signed certificate: what whoever
    /// holds that key can make, and nobody may believe.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn impersonated_by(&self, identity: &SigningIdentity) -> Result<Self> {
        let key = KeyPair::from_pem(&identity.key_pem).context("no private key")?;
        let certificate = self.parameters.self_signed(&key)?;
        Ok(Self {
            issuer: Issuer::new(self.parameters.clone(), key),
            chain: vec![certificate],
            parameters: self.parameters.clone(),
        })
    }

    /// Its private key: PKCS #8 in PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The serial number of its own certificate.
    ///
    /// # Errors
    ///
    /// Its certificate has none.
    pub fn serial(&self) -> Result<Serial> {
        serial_of(&self.parameters)
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
    /// The first certificate of the chain, PEM.
    pub certificate_pem: String,
    /// The serial number of the first certificate.
    pub serial: Serial,
}

impl SigningIdentity {
    /// A self-signed signing certificate.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub fn self_signed(profile: &Profile) -> Result<Self> {
        let key = profile.key.generate()?;
        let parameters = profile.leaf_parameters()?;
        let certificate = parameters.self_signed(&key)?;
        Self::new(&key, &parameters, &[certificate])
    }

    fn new(key: &KeyPair, parameters: &CertificateParams, chain: &[rcgen::Certificate]) -> Result<Self> {
        Ok(Self {
            key_pem: key.serialize_pem(),
            chain_pem: chain.iter().map(rcgen::Certificate::pem).collect(),
            anchor_pem: chain.last().map(rcgen::Certificate::pem).unwrap_or_default(),
            certificate_pem: chain.first().map(rcgen::Certificate::pem).unwrap_or_default(),
            serial: serial_of(parameters)?,
        })
    }
}

/// A TLS server's key and certificate, with the CA that vouches for it.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    configuration: Arc<rustls::ServerConfig>,
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
}

impl ServerIdentity {
    /// The CA's certificate, for clients to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The server's certificate, which the CA issued.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The server's key (PKCS #8).
    pub fn key_pem(&self) -> &str {
        &self.key_pem
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
        certificate_pem: leaf.pem(),
        key_pem: key.serialize_pem(),
    })
}

fn serial_of(parameters: &CertificateParams) -> Result<Serial> {
    let number = parameters.serial_number.as_ref();
    number
        .map(|number| Serial(number.to_bytes()))
        .context("a certificate without an explicit serial number")
}

/// RFC 5280 §4.2.2.1: a sequence of access descriptions, each with the method id-ad-ocsp and a URI as its location.
fn authority_information_access(urls: &[String]) -> CustomExtension {
    const AUTHORITY_INFORMATION_ACCESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 1];
    const ID_AD_OCSP: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
    let description = |url: &String| {
        let location = tagged(0x86, url.as_bytes());
        tagged(0x30, &[&ID_AD_OCSP, location.as_slice()].concat())
    };
    let descriptions: Vec<u8> = urls.iter().flat_map(description).collect();
    CustomExtension::from_oid_content(&AUTHORITY_INFORMATION_ACCESS, tagged(0x30, &descriptions))
}

/// RFC 5280 §4.2.1.15: a sequence of one distribution point, whose full name is one URI.
fn freshest_crl(url: &str) -> CustomExtension {
    const FRESHEST_CRL: [u64; 4] = [2, 5, 29, 46];
    let full_name = tagged(0xa0, &tagged(0x86, url.as_bytes()));
    let point = tagged(0x30, &tagged(0xa0, &full_name));
    CustomExtension::from_oid_content(&FRESHEST_CRL, tagged(0x30, &point))
}

/// RFC 6960 §4.2.2.2.1: the value is NULL.
fn ocsp_no_check() -> CustomExtension {
    const OCSP_NO_CHECK: [u64; 10] = [1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
    CustomExtension::from_oid_content(&OCSP_NO_CHECK, tagged(0x05, &[]))
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
    use x509_cert::ext::pkix::{
        AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, FreshestCrl, KeyUsage,
    };

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
            let profile = Profile::named("revocable")
                .crl("http://127.0.0.1:1/crl")
                .ocsp(ocsp.clone());
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

    #[test]
    fn a_leaf_has_the_purpose_of_its_profile_and_only_that_of_timestamps_is_critical() {
        let root = Authority::root(&Profile::named("root")).unwrap();
        for (profile, purpose, critical) in [
            (Profile::named("release"), "1.3.6.1.5.5.7.3.3", false),
            (Profile::timestamping("time"), "1.3.6.1.5.5.7.3.8", true),
            (Profile::responder("responder"), "1.3.6.1.5.5.7.3.9", false),
        ] {
            let leaf = leaf(&root.issue(&profile).unwrap());
            let leaf = leaf.tbs_certificate();
            let (is_critical, usage) = leaf.get_extension::<ExtendedKeyUsage>().unwrap().expect("a purpose");
            let purposes: Vec<_> = usage.0.iter().map(ToString::to_string).collect();
            assert_eq!(purposes, [purpose]);
            assert_eq!(is_critical, critical, "{purpose}");
            let extensions = leaf.extensions().expect("extensions");
            let no_check = extensions
                .iter()
                .any(|extension| extension.extn_id.to_string() == "1.3.6.1.5.5.7.48.1.5");
            assert_eq!(no_check, profile.ocsp_no_check, "{purpose}");
        }
    }

    #[test]
    fn an_identity_knows_its_serial_number_and_its_sources_keep_their_order() {
        let profile = Profile {
            freshest_crl: Some("http://127.0.0.1:1/delta".into()),
            ..Profile::named("release")
                .serial(0xab_cdef)
                .crl("http://127.0.0.1:1/1.crl")
                .crl("http://127.0.0.1:1/2.crl")
                .ocsp("http://127.0.0.1:1/1")
                .ocsp("http://127.0.0.1:1/2")
        };
        let identity = SigningIdentity::self_signed(&profile).unwrap();
        assert_eq!(identity.serial.to_string(), "ABCDEF");
        let leaf = leaf(&identity);
        let leaf = leaf.tbs_certificate();
        // 0xab would be negative without a zero before it.
        assert_eq!(leaf.serial_number().as_bytes(), [0, 0xab, 0xcd, 0xef]);
        let (_, points) = leaf.get_extension::<CrlDistributionPoints>().unwrap().expect("lists");
        assert_eq!(points.0.len(), 2);
        let (_, freshest) = leaf.get_extension::<FreshestCrl>().unwrap().expect("a delta");
        assert_eq!(freshest.0.len(), 1);
        let (_, access) = leaf.get_extension::<AuthorityInfoAccessSyntax>().unwrap().unwrap();
        let urls = access.0.iter().map(|description| match &description.access_location {
            GeneralName::UniformResourceIdentifier(url) => url.to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(urls.collect::<Vec<_>>(), profile.ocsp);
        assert_eq!(Serial::from(0).to_string(), "00");
        assert_ne!(Serial::random().unwrap(), Serial::random().unwrap());
    }
}
