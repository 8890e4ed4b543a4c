//! JWS envelopes made in this process: thousands in the time that notation takes for one, and ones with claims that
//! notation would refuse to make. What users run is [`crate::Notation`]; tests of admits use that.

use std::time::SystemTime;

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::certificates::SigningIdentity;
use crate::timestamp::TimestampAuthority;

/// The media type of JWS envelopes.
pub const JWS: &str = "application/jose+json";

/// Signs with a P-256 key (ES256).
#[derive(Debug)]
pub struct EnvelopeSigner {
    key: EcdsaKeyPair,
    chain: Vec<String>,
}

impl EnvelopeSigner {
    /// A signer with this identity.
    ///
    /// # Errors
    ///
    /// The key is not a P-256 key.
    pub fn new(identity: &SigningIdentity) -> Result<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(identity.key_pem.as_bytes()).context("no PKCS #8 key")?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der());
        let key = key.context("only P-256 keys sign here")?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes()).collect();
        let chain = chain
            .context("no certificate chain")?
            .iter()
            .map(|der| STANDARD.encode(der))
            .collect();
        Ok(Self { key, chain })
    }

    /// An envelope that says that the artifact of this descriptor was signed at `time`
    /// (signature-envelope-jws.md).
    ///
    /// # Errors
    ///
    /// The time is beyond what RFC 3339 can say.
    pub fn sign(&self, descriptor: &Value, time: SystemTime) -> Result<Vec<u8>> {
        let time = jiff::Timestamp::try_from(time)?.round(jiff::Unit::Second)?;
        let protected = json!({
            "alg": "ES256",
            "crit": ["io.cncf.notary.signingScheme"],
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": time.to_string(),
        });
        self.sign_claims(&protected, &json!({ "targetArtifact": descriptor }))
    }

    /// An envelope with any protected header and any payload, truly signed.
    ///
    /// # Errors
    ///
    /// The key cannot sign.
    pub fn sign_claims(&self, protected: &Value, payload: &Value) -> Result<Vec<u8>> {
        Ok(self.signed(protected, payload)?.envelope.to_string().into_bytes())
    }

    /// The same with a timestamp of the signature by `authority` (signature-specification.md#unsigned-attributes).
    ///
    /// # Errors
    ///
    /// The key cannot sign, or the authority refuses.
    pub async fn sign_timestamped(
        &self,
        protected: &Value,
        payload: &Value,
        authority: &TimestampAuthority,
    ) -> Result<Vec<u8>> {
        let Signed { signature, envelope } = self.signed(protected, payload)?;
        let token = authority.stamp(&signature, "sha256").await?;
        Ok(with_timestamp(envelope, &token).to_string().into_bytes())
    }

    fn signed(&self, protected: &Value, payload: &Value) -> Result<Signed> {
        let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
        let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
        let signature = self
            .key
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())?;
        let envelope = json!({
            "payload": payload,
            "protected": protected,
            "header": { "x5c": self.chain, "io.cncf.notary.signingAgent": "assay-integration" },
            "signature": URL_SAFE_NO_PAD.encode(signature),
        });
        Ok(Signed {
            signature: signature.as_ref().to_vec(),
            envelope,
        })
    }
}

/// An envelope, and the raw bytes of its signature, which a timestamp is about.
struct Signed {
    signature: Vec<u8>,
    envelope: Value,
}

/// Puts a timestamp token, in DER, into the unprotected header of a JWS envelope (signature-envelope-jws.md): its own, or
/// another signature's.
pub fn with_timestamp(mut envelope: Value, token: &[u8]) -> Value {
    envelope["header"]["io.cncf.notary.timestampSignature"] = json!(STANDARD.encode(token));
    envelope
}

/// The descriptor that a signature of a file is about: a blob without a registry (signature-specification.md).
pub fn blob_descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": crate::registry::sha256(content), "size": content.len() })
}
