//! One way to judge for all of the tests: our own steps, and the second opinion of `sigstore-verify`.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::crypto::{Curve, Hash, KeyKind};
use assay_verify::policy::Conditions;
use assay_verify::sigstore::authority::{Authority, RequiredEvidence, Signers};
use assay_verify::sigstore::identity::{AnchoredRegex, IdentityMatcher, TextMatcher};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::material::{ClaimedSigner, Content, Material};
use assay_verify::sigstore::second_opinion::{self, Opinion, SecondOpinion};
use assay_verify::sigstore::signature::{self, Artifact, Asked, Origin, Purpose, Verified};
use assay_verify::sigstore::trusted_root::TrustedRoot;

/// When everything is judged: after the vectors were made, and while a certificate of years still counts.
pub(crate) fn now() -> Timestamp {
    "2026-11-21T13:00:00Z".parse().unwrap()
}

/// A trusted root, as both implementations read it.
pub(crate) struct Root {
    ours: Arc<TrustedRoot>,
    second: Arc<SecondOpinion>,
}

impl Root {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let ours = TrustedRoot::parse(json).map_err(|error| error.to_string())?;
        Ok(Self {
            ours: Arc::new(ours),
            second: Arc::new(SecondOpinion::new(json)),
        })
    }

    /// Why the second implementation does not take it.
    pub(crate) fn unusable(&self) -> Option<String> {
        self.second.unusable().map(ToString::to_string)
    }
}

/// Whose signatures count.
pub(crate) enum Who {
    /// The holder of a key.
    Key(VerificationKey),
    /// Exactly this identity.
    Identity { subject: String, issuer: String },
    /// Whoever has a certificate.
    Anybody,
}

/// The terms of a case.
pub(crate) struct Terms {
    pub(crate) who: Who,
    pub(crate) root: Option<Arc<Root>>,
    pub(crate) evidence: RequiredEvidence,
    pub(crate) annotations: BTreeMap<Box<str>, Box<str>>,
}

impl Terms {
    fn authority(&self) -> Authority {
        let exact = |text: &str| TextMatcher::Exact(text.into());
        let identity = |subject, issuer| IdentityMatcher {
            issuer,
            subject,
            claims: BTreeMap::new(),
        };
        let any = || TextMatcher::Pattern(AnchoredRegex::new("(?s).*").unwrap());
        Authority {
            signers: match &self.who {
                Who::Key(key) => Signers::Keys(vec![key.clone()]),
                Who::Identity { subject, issuer } => Signers::Identities(vec![identity(exact(subject), exact(issuer))]),
                Who::Anybody => Signers::Identities(vec![identity(any(), any())]),
            },
            root: self.root.as_ref().map(|root| root.ours.clone()).unwrap_or_default(),
            second_opinion: self.root.as_ref().map(|root| root.second.clone()),
            evidence: self.evidence,
            annotations: self.annotations.clone(),
            accept_dsse_v0_0_2: false,
            repository: None,
        }
    }
}

/// The judgement; with the second opinion where there are the bytes of a bundle, else by our own steps alone.
pub(crate) fn judge(
    material: &Material,
    bundle: Option<&[u8]>,
    terms: &Terms,
    artifact: Artifact<'_>,
    purpose: Purpose<'_>,
) -> Result<Verified, String> {
    let asked = Asked {
        authority: &terms.authority(),
        artifact,
        purpose,
        conditions: &Conditions::default(),
    };
    let origin = Origin {
        bundle,
        ..Origin::default()
    };
    signature::verify(material, &origin, &asked, &Circumstances::at(now()))
        .map(|judged| judged.verified)
        .map_err(|rejected| format!("{}: {}", rejected.step.as_str(), rejected.failure))
}

/// The second opinion; none without a trusted root.
pub(crate) fn second(
    bundle: &[u8],
    material: &Material,
    terms: &Terms,
    artifact: second_opinion::Artifact<'_>,
) -> Option<Opinion> {
    let root = terms.root.as_ref()?;
    let asked = second_opinion::Asked {
        artifact,
        key: match &terms.who {
            Who::Key(key) => Some(key),
            Who::Identity { .. } | Who::Anybody => None,
        },
        hash: hash(material, terms),
        log: terms.evidence.log_entries > 0,
        signed_certificate_timestamp: terms.evidence.signed_certificate_timestamps > 0,
        timestamps_held: true,
        now: Timestamp::MAX,
    };
    Some(root.second.ask(bundle, material, &asked))
}

/// The hash that the signature should be made with.
fn hash(material: &Material, terms: &Terms) -> Hash {
    if let Content::Message {
        digest: Some(digest), ..
    } = &material.content
    {
        return digest.algorithm;
    }
    let kind = match (&terms.who, &material.signer) {
        (Who::Key(key), _) => key.kind(),
        (_, ClaimedSigner::Certificate { leaf, .. }) => leaf.key_kind(),
        (_, ClaimedSigner::Key { .. }) => KeyKind::Other,
    };
    match kind {
        KeyKind::Ecdsa(Curve::P384) => Hash::Sha384,
        KeyKind::Ecdsa(Curve::P521) | KeyKind::Ed25519 => Hash::Sha512,
        _ => Hash::Sha256,
    }
}
