//! What every format of a signature comes down to. Nothing in it is verified: that is [`super::signature`]'s work.

use std::sync::Arc;

use crate::Timestamp;
use crate::x509::certificate::Certificate;

/// A signature as it came, whatever its format.
#[derive(Clone, Debug)]
pub struct Material {
    /// Which format it came in.
    pub format: Format,
    /// What is signed, and the signature's bytes.
    pub content: Content,
    /// Who it says signed it.
    pub signer: ClaimedSigner,
    /// What transparency logs said about it.
    pub log_entries: Vec<LogEntry>,
    /// RFC 3161 timestamps: tokens (`ContentInfo`) or whole responses (`TimeStampResp`), as they came.
    pub timestamps: Vec<Box<[u8]>>,
}

/// The format that a signature came in: a few rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A layer of a cosign v2 image under the tags `.sig` or `.att`, or of a referrer of the same shape.
    Layer,
    /// A sigstore bundle.
    Bundle(BundleVersion),
}

/// The version of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BundleVersion {
    /// 0.1: a log's entry carries a signed entry timestamp.
    V0_1,
    /// 0.2: a log's entry carries an inclusion proof.
    V0_2,
    /// 0.3: one certificate and no chain.
    V0_3,
}

/// What is signed.
#[derive(Clone, Debug)]
pub enum Content {
    /// A simple-signing payload, signed as it is (cosign specs/SIGNATURE_SPEC.md).
    SimpleSigning {
        /// The payload's bytes.
        payload: Arc<[u8]>,
        /// The signature.
        signature: Box<[u8]>,
    },
    /// A DSSE envelope with one signature (dsse: envelope.md, protocol.md).
    Dsse {
        /// The envelope's `payloadType`.
        payload_type: Box<str>,
        /// The decoded payload.
        payload: Arc<[u8]>,
        /// The decoded signature.
        signature: Box<[u8]>,
        /// The envelope's own bytes, where it came as a blob and not inside a bundle: a v2 attestation's log entry and
        /// timestamp are of these.
        envelope: Option<Arc<[u8]>>,
    },
    /// The signature of a file that is known by its digest.
    Message {
        /// The digest that the bundle names, where it names one: a hint that must agree.
        digest: Option<MessageDigest>,
        /// The signature.
        signature: Box<[u8]>,
    },
}

/// The digest of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageDigest {
    /// With which hash.
    pub algorithm: crate::crypto::Hash,
    /// The digest.
    pub bytes: Box<[u8]>,
}

/// Who a signature says made it.
#[derive(Clone, Debug)]
pub enum ClaimedSigner {
    /// The holder of a certificate's key.
    Certificate {
        /// The certificate.
        leaf: Certificate,
        /// Certificates that may lead from it to a trusted one. They are hints of a stranger.
        intermediates: Vec<Certificate>,
    },
    /// The holder of a key that the verifier has to know.
    Key {
        /// A name of the key that decides nothing.
        hint: Option<Box<str>>,
    },
}

/// What a transparency log said about a signature.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The log's identifier, as it came.
    pub log_id: Box<[u8]>,
    /// The position in the log (in all its shards).
    pub log_index: u64,
    /// The time that the log's signed entry timestamp covers. Without that promise it means nothing.
    pub integrated_time: Option<Timestamp>,
    /// What the entry says its kind and version are: `hashedrekord`, `0.0.1`. None where the format names neither (v2
    /// signatures): then the body's own count.
    pub kind: Option<(Box<str>, Box<str>)>,
    /// The signed entry timestamp: the log's promise to include the entry.
    pub promise: Option<Box<[u8]>>,
    /// The proof that it is included.
    pub proof: Option<InclusionProof>,
    /// The entry's body: what the log holds.
    pub body: Box<[u8]>,
}

/// A proof that a leaf is in a tree (RFC 6962 §2.1.1), with the log's word on the tree.
#[derive(Clone, Debug)]
pub struct InclusionProof {
    /// The leaf's position in this tree.
    pub log_index: u64,
    /// The tree's size.
    pub tree_size: u64,
    /// The tree's root hash.
    pub root_hash: Box<[u8]>,
    /// The path from the leaf to the root.
    pub hashes: Vec<Box<[u8]>>,
    /// The log's signed note on the tree. Bundles may lack it until 0.1.
    pub checkpoint: Option<Box<str>>,
}

impl Content {
    /// The bytes of the signature.
    pub fn signature(&self) -> &[u8] {
        match self {
            Self::SimpleSigning { signature, .. } | Self::Dsse { signature, .. } | Self::Message { signature, .. } => {
                signature
            }
        }
    }
}
