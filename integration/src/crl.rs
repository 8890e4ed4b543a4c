//! Certificate revocation lists, signed by the real `openssl ca -gencrl`.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;

use crate::certificates::Authority;
use crate::openssl::{OpenSsl, Revoked, index_line, time_text};

/// Which certificates a CRL says that it is about (RFC 5280 §5.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scope {
    UserCertificates,
    AuthorityCertificates,
    AttributeCertificates,
}

/// What a CRL says. The default is an empty complete CRL, number 1, made an hour ago and good for a day.
#[derive(Clone, Debug)]
pub struct CrlProfile {
    /// When it was made, in whole seconds.
    pub this_update: SystemTime,
    /// When the next is due, in whole seconds. openssl makes no CRL without it.
    pub next_update: SystemTime,
    /// Its number (RFC 5280 §5.2.3).
    pub number: u64,
    /// What it revokes.
    pub revoked: Vec<Revoked>,
    /// The number of the complete CRL that it adds to; a delta CRL has one (RFC 5280 §5.2.4).
    pub base: Option<u64>,
    /// The address of its delta CRL (RFC 5280 §5.2.6).
    pub freshest_crl: Option<String>,
    /// The address in its issuing distribution point (RFC 5280 §5.2.5).
    pub issuing_point: Option<String>,
    /// Its scope, in the issuing distribution point.
    pub scope: Option<Scope>,
    /// Whether it lists certificates of other issuers too, in the issuing distribution point.
    pub indirect: bool,
    /// The only reasons that it covers, in the issuing distribution point: `keyCompromise,CACompromise`.
    pub only_reasons: Option<String>,
    /// Further extensions, as openssl's configuration has them: `1.2.3.4 = critical,ASN1:NULL`.
    pub extensions: Vec<String>,
}

impl Default for CrlProfile {
    fn default() -> Self {
        let now = SystemTime::now();
        Self {
            this_update: now - Duration::from_secs(60 * 60),
            next_update: now + Duration::from_secs(24 * 60 * 60),
            number: 1,
            revoked: vec![],
            base: None,
            freshest_crl: None,
            issuing_point: None,
            scope: None,
            indirect: false,
            only_reasons: None,
            extensions: vec![],
        }
    }
}

impl CrlProfile {
    /// The default with these revocations.
    pub fn revoking(revoked: impl IntoIterator<Item = Revoked>) -> Self {
        Self {
            revoked: revoked.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The same, long expired: made two days ago, replaced yesterday.
    pub fn expired(self) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now();
        Self {
            this_update: now - 2 * day,
            next_update: now - day,
            ..self
        }
    }

    /// The same with this number.
    pub fn number(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The same as a delta to the complete CRL with this number.
    pub fn delta_to(self, base: u64) -> Self {
        Self {
            base: Some(base),
            ..self
        }
    }

    /// openssl's configuration (openssl-ca(1), x509v3_config(5)).
    fn configuration(&self) -> String {
        let mut extensions = vec!["authorityKeyIdentifier = keyid:always".to_owned()];
        // There is no name for it: by its object identifier then.
        extensions.extend(
            self.base
                .map(|base| format!("2.5.29.27 = critical,ASN1:INTEGER:0x{base:x}")),
        );
        extensions.extend(self.freshest_crl.iter().map(|url| format!("freshestCRL = URI:{url}")));
        let scope = self.scope.map(|scope| match scope {
            Scope::UserCertificates => "onlyuser = TRUE".to_owned(),
            Scope::AuthorityCertificates => "onlyCA = TRUE".to_owned(),
            Scope::AttributeCertificates => "onlyAA = TRUE".to_owned(),
        });
        let point: Vec<_> = [
            self.issuing_point.as_ref().map(|url| format!("fullname = URI:{url}")),
            scope,
            self.indirect.then(|| "indirectCRL = TRUE".to_owned()),
            self.only_reasons
                .as_ref()
                .map(|reasons| format!("onlysomereasons = {reasons}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !point.is_empty() {
            extensions.push("issuingDistributionPoint = critical,@point".into());
        }
        extensions.extend(self.extensions.iter().cloned());
        format!(
            "[ca]\ndefault_ca = issuer\n\
             [issuer]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha256\ncrl_extensions = extensions\n\
             [extensions]\n{}\n[point]\n{}\n",
            extensions.join("\n"),
            point.join("\n"),
        )
    }
}

/// A signed CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// In DER, as a distribution point serves it.
    pub der: Vec<u8>,
}

impl Crl {
    /// Has `authority` sign what `profile` says. For one that somebody else signed in its name, see
    /// [`Authority::impersonated_by`].
    ///
    /// # Errors
    ///
    /// openssl refuses; the error is what it said.
    pub async fn sign(openssl: &OpenSsl, authority: &Authority, profile: &CrlProfile) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-crl-").tempdir()?;
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text);
        let lines = profile.revoked.iter().map(|one| index_line(&one.serial, Some(one)));
        write("index.txt", lines.collect::<Result<_>>()?)?;
        // Otherwise two certificates may not share the subject that all lines have.
        write("index.txt.attr", "unique_subject = no\n".into())?;
        // Hexadecimal with an even number of digits.
        write("number", format!("{:016X}\n", profile.number))?;
        write("configuration", profile.configuration())?;
        write("key.pem", authority.key_pem())?;
        write("certificate.pem", authority.certificate_pem())?;
        let (this_update, next_update) = (time_text(profile.this_update)?, time_text(profile.next_update)?);
        let arguments = ["ca", "-gencrl", "-config", "configuration"]
            .into_iter()
            .chain(["-keyfile", "key.pem", "-cert", "certificate.pem"])
            .chain(["-crl_lastupdate", &this_update, "-crl_nextupdate", &next_update])
            .chain(["-out", "list.pem"]);
        openssl.run(folder.path(), &arguments.collect::<Vec<_>>()).await?;
        let list = CertificateRevocationListDer::from_pem_file(folder.path().join("list.pem"));
        let list = list.context("openssl wrote no CRL")?;
        Ok(Self { der: list.to_vec() })
    }
}
