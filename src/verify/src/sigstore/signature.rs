//! The judgement of one signature under the terms of an authority, whatever format it came in.
//!
//! Each step leaves a token that only this module can make, and [`Verified`] is made of all of them: a step that is left
//! out does not compile. A step that the terms do not ask for is a variant of its token.
//!
//! The order puts what costs little first. It decides only which of several faults is told.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::authority::{Authority, Signers};
use super::bundle::{self, BundleError};
use super::dsse::{self, IN_TOTO};
use super::fulcio::{self, CertificateError, Holder};
use super::key::{Message, VerificationKey};
use super::log::{self, LogError, Logged, LoggedSigner};
use super::material::{ClaimedSigner, Content, Format, Material};
use super::second_opinion::{self, Opinion};
use super::signed_certificate_timestamp::{self, ScTimestampError};
use super::simple_signing::{self, Payload, SimpleSigningError};
use super::statement::{COSIGN_SIGNATURE, Statement, StatementError};
use super::timestamp;
use crate::Timestamp;
use crate::circumstances::Circumstances;
use crate::code::Code;
use crate::crypto::Hash;
use crate::deny_list::{Entry, Made, SignerFacts};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, hex};
use crate::evidence::{Signature, SignatureFormat, SignatureId};
use crate::limits::{MAX_CLOCK_SKEW, MAX_LOG_ENTRIES, MAX_REFUSED_TIMESTAMPS, MAX_TIMESTAMPS};
use crate::notation::steps::Interval;
use crate::policy::Conditions;
use crate::timestamp::TimestampError;
use crate::untrusted::Untrusted;
use crate::x509::certificate::Certificate;

/// What a signature has to be, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose signature, and what has to vouch for it.
    pub authority: &'a Authority,
    /// What has to be signed.
    pub artifact: Artifact<'a>,
    /// What it has to say.
    pub purpose: Purpose<'a>,
    /// What the rule asks of every signature.
    pub conditions: &'a Conditions,
}

/// Where a signature came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// The digest of its manifest; none where it is a file.
    pub manifest: Option<&'a Digest>,
    /// The digest of its bundle, envelope or payload.
    pub blob: Option<&'a Digest>,
    /// The bytes that it was parsed from, where they are a bundle: another implementation reads them again.
    pub bundle: Option<&'a [u8]>,
}

impl<'a> Origin<'a> {
    /// That of a signature beside an image.
    pub fn of(signature: &'a Signature) -> Self {
        Self {
            manifest: Some(signature.manifest().digest()),
            blob: Some(&signature.layer().descriptor.digest),
            bundle: signature.bundle(),
        }
    }

    /// The digests by which a deny-list may name the signature.
    fn digests(&self) -> impl Iterator<Item = &'a Digest> {
        self.manifest.into_iter().chain(self.blob)
    }
}

/// What has to be signed.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// An image.
    Image(&'a Descriptor),
    /// A file, by its digests; its SHA-256 among them.
    Blob(&'a [FileDigest]),
}

/// One digest of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// With which hash.
    pub hash: Hash,
    /// The digest.
    pub bytes: Box<[u8]>,
}

/// What a signature has to say.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// That the image is signed: a simple-signing payload, or a statement with the predicate type of a signature. An
    /// attestation is none, whoever made it.
    ImageSignature,
    /// A statement with this predicate type.
    Attestation {
        /// The predicate type, a URI.
        predicate_type: &'a str,
    },
    /// That the file is signed: a signature over its bytes. A statement about a file may say anything of it, also that it
    /// failed a review, so it is none.
    FileSignature,
    /// Whatever is signed, as long as it is of the artifact. Who asks has to show what it was.
    Any,
}

/// The steps, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// It is parsed.
    Format,
    /// It says what is asked for.
    Content,
    /// It is of the artifact.
    Subject,
    /// The signature is one of a key that is trusted, or of its certificate's.
    Integrity,
    /// What logs say about it holds.
    TransparencyLog,
    /// What timestamp authorities say about it holds.
    Timestamp,
    /// Enough of them vouch for it.
    RequiredEvidence,
    /// Somebody says when it was signed, and nobody that this is still to come.
    VerifiedTime,
    /// The certificate leads to a trusted authority and was valid at every verified time.
    Authenticity,
    /// The certificate was logged.
    CertificateTransparency,
    /// The signer is one of those who are asked for.
    Identity,
    /// No entry of the deny-list names the signature, a certificate that it rests on, or its signer.
    DenyList,
    /// It has the annotations that are asked for.
    Annotations,
    /// It was made late enough.
    SigningTime,
    /// Another implementation agrees, where it knows the shape.
    SecondOpinion,
}

impl Step {
    /// Every step, in the order in which they are taken.
    pub const ALL: [Self; 15] = [
        Self::Format,
        Self::Content,
        Self::Subject,
        Self::Integrity,
        Self::TransparencyLog,
        Self::Timestamp,
        Self::RequiredEvidence,
        Self::VerifiedTime,
        Self::Authenticity,
        Self::CertificateTransparency,
        Self::Identity,
        Self::DenyList,
        Self::Annotations,
        Self::SigningTime,
        Self::SecondOpinion,
    ];

    /// The step's name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Content => "content",
            Self::Subject => "subject",
            Self::Integrity => "integrity",
            Self::TransparencyLog => "transparencyLog",
            Self::Timestamp => "timestamp",
            Self::Authenticity => "authenticity",
            Self::CertificateTransparency => "certificateTransparency",
            Self::RequiredEvidence => "requiredEvidence",
            Self::VerifiedTime => "verifiedTime",
            Self::Identity => "identity",
            Self::DenyList => "denyList",
            Self::Annotations => "annotations",
            Self::SigningTime => "signingTime",
            Self::SecondOpinion => "secondOpinion",
        }
    }
}

/// Why a step was not passed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The bundle does not parse.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The layer of a v2 signature or attestation does not parse.
    #[error(transparent)]
    SimpleSigning(#[from] SimpleSigningError),
    /// The statement does not parse.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It is an attestation, and a signature is asked for.
    #[error("it is an attestation of the type {0}, which does not count as a signature")]
    NotASignature(Untrusted),
    /// An attestation of another type is asked for.
    #[error("it is {found}, not an attestation of the type {expected}")]
    OtherPredicate {
        /// What it is.
        found: Untrusted,
        /// What is asked for.
        expected: Box<str>,
    },
    /// The envelope's payload is not a statement.
    #[error("its payload is of the type {0}, not an in-toto statement")]
    PayloadType(Untrusted),
    /// A signature of a file, where one of an image is asked for; or the other way round.
    #[error("it is a signature of {0}")]
    OtherKind(&'static str),
    /// It is of something else.
    #[error("it is about {found}, not about {expected}")]
    OtherSubject {
        /// What it is about.
        found: Untrusted,
        /// What it should be about.
        expected: String,
    },
    /// It is a signature of none of the keys.
    #[error("it is not made with {0}")]
    NoKey(String),
    /// It is made with a key, where a certificate says who signs.
    #[error("it has no certificate that says who signed")]
    NoCertificate,
    /// The signature is not of the certificate's key.
    #[error("the signature does not verify with its certificate's key")]
    BadSignature,
    /// A log's entry does not hold.
    #[error(transparent)]
    Log(#[from] LogError),
    /// One entry twice.
    #[error("the log entry {0} is there twice")]
    DuplicateEntry(u64),
    /// More log entries or timestamps than the limit.
    #[error("it has {count} {what}, more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A verified time lies in the future.
    #[error("it was signed in the future: at {at}, and it is {now}")]
    Future {
        /// The time.
        at: Timestamp,
        /// The time of the judgement.
        now: Timestamp,
    },
    /// The certificate does not lead to a trusted authority, or not at every verified time.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No log promised to include the certificate.
    #[error(transparent)]
    ScTimestamp(#[from] ScTimestampError),
    /// Not enough logs.
    #[error("{found} of {needed} {what} vouch for it{}", .because.as_ref().map_or_else(String::new, |because| format!(" ({because})")))]
    TooFew {
        /// Of whom.
        what: &'static str,
        /// How many do.
        found: usize,
        /// How many are needed.
        needed: usize,
        /// Why one did not count.
        because: Option<Box<str>>,
        /// The code of what is lacking.
        code: Code,
    },
    /// Nothing says when it was signed.
    #[error("neither a log nor a timestamp authority says when it was signed{}", .because.as_ref().map_or_else(String::new, |because| format!(" ({because})")))]
    NoVerifiedTime {
        /// Why a timestamp did not count.
        because: Option<Box<str>>,
    },
    /// The signer is somebody else.
    #[error("it is signed by {0}")]
    OtherIdentity(Untrusted),
    /// An entry of the deny-list names it.
    #[error("{0}")]
    Denied(Box<Entry>),
    /// An annotation is missing or has another value.
    #[error("it lacks the annotation {key} = {value}")]
    Annotation {
        /// The annotation.
        key: Untrusted,
        /// Its value.
        value: Untrusted,
    },
    /// It was made too early, or nothing says when.
    #[error("{}, the minimum is {minimum}", .at.map_or_else(|| "nothing proves when it was made".to_owned(), |at| format!("it may have been made at {at}")))]
    TooOld {
        /// After which it was made.
        at: Option<Timestamp>,
        /// The minimum.
        minimum: Timestamp,
    },
    /// Our own steps hold, and another implementation refuses.
    #[error("a second implementation refuses it: {0}")]
    SecondOpinion(Untrusted),
}

/// Whether another implementation was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    /// It agrees.
    Agrees,
    /// It does not know what it would be asked about.
    NotAsked,
}

impl Failure {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Bundle(error) => error.code(),
            Self::SimpleSigning(error) => error.code(),
            Self::Statement(error) => error.code(),
            Self::BadSignature | Self::SecondOpinion(_) => Code::SignatureInvalid,
            // No signature by the authority: something else is attached to the image.
            Self::NotASignature(_) | Self::OtherKind(_) | Self::PayloadType(_) => Code::Unsigned,
            Self::OtherPredicate { .. } => Code::AttestationMissing,
            Self::OtherSubject { .. } => Code::SubjectMismatch,
            Self::NoKey(_) | Self::NoCertificate => Code::UntrustedSigner,
            Self::Log(error) => error.code(),
            Self::DuplicateEntry(_) => Code::LogEntryInvalid,
            Self::TooMany { .. } => Code::LimitExceeded,
            Self::Future { .. } => Code::TimestampInvalid,
            Self::Certificate(error) => error.code(),
            Self::ScTimestamp(error) => error.code(),
            Self::TooFew { code, .. } => *code,
            Self::NoVerifiedTime { because: None } => Code::TimestampRequired,
            Self::NoVerifiedTime { because: Some(_) } => Code::TimestampInvalid,
            Self::OtherIdentity(_) => Code::IdentityMismatch,
            Self::Denied(_) => Code::DeniedByList,
            Self::Annotation { .. } => Code::AnnotationMismatch,
            Self::TooOld { .. } => Code::SignatureTooOld,
        }
    }
}

/// A signature that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// At which step.
    pub step: Step,
    /// Why.
    pub failure: Failure,
}

/// What was found about one signature.
#[derive(Clone, Debug)]
pub struct SignatureJudgement {
    /// Which.
    pub id: SignatureId,
    /// In which format it came.
    pub format: SignatureFormat,
    /// What was found.
    pub result: Result<Arc<Verified>, Rejected>,
}

/// What a signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// That an image or file is signed.
    Artifact,
    /// A statement about it.
    Statement {
        /// The predicate type, a URI.
        predicate_type: Box<str>,
    },
}

/// A signature that passed every step, with what it states.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The proof.
    pub verified: Verified,
    /// The statement, where it is one. It may be large, so it is not part of the proof, which is kept.
    pub statement: Option<Statement>,
}

/// What the content says it is, before anything of it is trusted.
enum Claimed {
    Artifact,
    Statement(Statement),
}

/// Who signed.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The holder of a key that the policy names.
    Key(VerificationKey),
    /// Whoever a certificate names.
    Certificate {
        /// Who.
        holder: Arc<Holder>,
        /// The chain, the leaf first and the anchor last.
        path: Vec<Certificate>,
    },
}

impl Signer {
    /// The SHA-256 of the key that signed, where the policy names keys.
    pub fn key_fingerprint(&self) -> Option<[u8; 32]> {
        match self {
            Self::Key(key) => Some(*key.fingerprint()),
            Self::Certificate { .. } => None,
        }
    }

    /// What a deny-list may know of him.
    fn facts(&self) -> SignerFacts {
        match self {
            Self::Key(key) => SignerFacts::of_key(key.fingerprint()),
            Self::Certificate { holder, path } => {
                let issuer = holder.issuer.as_deref();
                SignerFacts::of_chain(path, issuer.map(|issuer| (issuer, &*holder.subject)))
            }
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key sha256:{}", hex(key.fingerprint())),
            Self::Certificate { holder, .. } => match &holder.issuer {
                Some(issuer) => write!(f, "{} ({})", Untrusted::new(&holder.subject), Untrusted::new(issuer)),
                None => write!(f, "{}", Untrusted::new(&holder.subject)),
            },
        }
    }
}

/// A log that vouches for a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Who runs it.
    pub operator: Box<str>,
    /// The entry's position in the log, if a log it is.
    pub log_index: Option<u64>,
    /// When, if it says so.
    pub at: Option<Timestamp>,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Untrusted::new(&self.operator))?;
        if let Some(index) = self.log_index {
            write!(f, ", entry {index}")?;
        }
        match self.at {
            Some(at) => write!(f, ", {at}"),
            None => Ok(()),
        }
    }
}

/// The artifact that the payload names is the one that is asked for.
#[derive(Clone, Debug)]
struct SubjectMatch {
    /// The annotations of each subject that is the artifact: one of them has to have all that are asked for.
    annotations: Vec<Vec<(Box<str>, Box<str>)>>,
}

/// The signature verifies with this key or certificate.
#[derive(Clone, Debug)]
struct Integrity<'a> {
    signer: Verifying<'a>,
    /// With which hash.
    hash: Hash,
}

/// Whose key verifies a signature.
#[derive(Clone, Debug)]
enum Verifying<'a> {
    Key(VerificationKey),
    Certificate {
        leaf: &'a Certificate,
        intermediates: &'a [Certificate],
    },
}

/// The logs' entries that hold.
#[derive(Clone, Debug)]
struct Entries(Vec<Witness>);

/// The timestamps that hold.
#[derive(Clone, Debug)]
struct Timestamps {
    held: Vec<Witness>,
    certificates: Vec<Certificate>,
    /// The moment by which the earliest of them was made, its accuracy counted.
    by: Option<Timestamp>,
    /// The first that did not.
    first_error: Option<TimestampError>,
}

/// Every verified time, or that none is needed.
#[derive(Clone, Debug)]
enum Times {
    Verified(Vec<Timestamp>),
    /// Nobody says when it was signed, and nobody has to: the certificate has to be valid now.
    NotNeeded,
}

impl Times {
    fn earliest(&self) -> Option<Timestamp> {
        match self {
            Self::Verified(times) => times.iter().min().copied(),
            Self::NotNeeded => None,
        }
    }
}

/// The signer is who he says, at every verified time.
#[derive(Clone, Debug)]
struct Authentic(Signer);

/// The logs that promised to include the certificate, as many as are needed.
#[derive(Clone, Debug)]
struct Promised(Vec<Witness>);

/// Enough others vouch for the signature.
#[derive(Clone, Copy, Debug)]
struct Sufficient;

/// The signer is one who is asked for.
#[derive(Clone, Copy, Debug)]
struct Accepted;

/// No entry of the deny-list names it.
#[derive(Clone, Debug)]
struct NotDenied(SignerFacts);

/// It has the annotations that are asked for.
#[derive(Clone, Copy, Debug)]
struct Annotated;

/// It was made late enough.
#[derive(Clone, Copy, Debug)]
struct LateEnough;

/// A signature that passed every step.
#[derive(Clone, Debug)]
pub struct Verified {
    signed: Signed,
    _subject: SubjectMatch,
    entries: Entries,
    timestamps: Timestamps,
    times: Times,
    authentic: Authentic,
    promised: Promised,
    _sufficient: Sufficient,
    _accepted: Accepted,
    not_denied: NotDenied,
    _annotated: Annotated,
    _late_enough: LateEnough,
    agreement: Agreement,
}

impl Verified {
    /// What it says.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Who signed.
    pub fn signer(&self) -> &Signer {
        &self.authentic.0
    }

    /// The logs that vouch for it.
    pub fn log_entries(&self) -> &[Witness] {
        &self.entries.0
    }

    /// The timestamp authorities that vouch for it.
    pub fn timestamps(&self) -> &[Witness] {
        &self.timestamps.held
    }

    /// The certificate transparency logs that promised to include the signer's certificate, where that is asked for.
    pub fn certificate_promises(&self) -> &[Witness] {
        &self.promised.0
    }

    /// When it was signed, or before: the earliest verified time.
    pub fn signed_at(&self) -> Option<Timestamp> {
        self.times.earliest()
    }

    /// The moment after which it was made: see [`made_after`].
    pub fn made_after(&self) -> Option<Timestamp> {
        made_after(&self.times, &self.authentic)
    }

    /// Every certificate that it rests on.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let path = match self.signer() {
            Signer::Key(_) => &[],
            Signer::Certificate { path, .. } => path.as_slice(),
        };
        path.iter().chain(&self.timestamps.certificates)
    }

    /// What a later deny-list may name.
    pub fn facts(&self) -> &SignerFacts {
        &self.not_denied.0
    }

    /// Whether another implementation was asked, and agreed.
    pub fn is_agreed(&self) -> bool {
        self.agreement == Agreement::Agrees
    }

    /// When it counts. What a log or a timestamp authority says about a signature holds for ever; without their word, the
    /// certificate has to be valid.
    pub fn interval(&self) -> Interval {
        match (&self.times, self.signer()) {
            (Times::NotNeeded, Signer::Certificate { path, .. }) => Interval {
                not_before: path.iter().map(Certificate::not_before).max().unwrap_or(Timestamp::MIN),
                until: path.iter().map(Certificate::not_after).min().unwrap_or(Timestamp::MIN),
            },
            _ => Interval::ALWAYS,
        }
    }
}

/// Parses a signature, whatever its format. It does not depend on an authority.
///
/// # Errors
///
/// When it does not parse, or is none of those that cosign makes.
pub fn open(signature: &Signature) -> Result<Material, Rejected> {
    let envelope = signature.envelope();
    let material = match signature.layer().format {
        SignatureFormat::Bundle => bundle::parse(envelope).map_err(Failure::from),
        SignatureFormat::SimpleSigning => {
            simple_signing::signature(&signature.layer().annotations, envelope.clone()).map_err(Failure::from)
        }
        SignatureFormat::Attestation => {
            simple_signing::attestation(&signature.layer().annotations, envelope.clone()).map_err(Failure::from)
        }
        SignatureFormat::Notation => Err(Failure::OtherKind("the Notary Project")),
    };
    material.map_err(|failure| failure.at(Step::Format))
}

/// Judges a signature that was opened.
///
/// # Errors
///
/// At the first step that is not passed.
pub fn verify(
    material: &Material,
    origin: &Origin<'_>,
    asked: &Asked<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<Judged, Rejected> {
    let now = circumstances.now;
    let claimed = content(material, asked).map_err(|failure| failure.at(Step::Content))?;
    let subject = subject(material, &claimed, asked).map_err(|failure| failure.at(Step::Subject))?;
    let integrity = integrity(material, asked).map_err(|failure| failure.at(Step::Integrity))?;
    let (entries, logs) =
        transparency_log(material, &integrity, asked).map_err(|failure| failure.at(Step::TransparencyLog))?;
    let timestamps = timestamps(material, asked).map_err(|failure| failure.at(Step::Timestamp))?;
    let sufficient =
        required_evidence(&entries, &timestamps, asked).map_err(|failure| failure.at(Step::RequiredEvidence))?;
    let times = times(&entries, &logs, &timestamps, asked, now).map_err(|failure| failure.at(Step::VerifiedTime))?;
    let authentic = authenticity(&integrity, &times, asked, now).map_err(|failure| failure.at(Step::Authenticity))?;
    let promised =
        certificate_transparency(&authentic, asked).map_err(|failure| failure.at(Step::CertificateTransparency))?;
    let accepted = identity(&authentic, asked).map_err(|failure| failure.at(Step::Identity))?;
    let not_denied = deny_list(origin, &authentic, &entries, &timestamps, &times, circumstances)
        .map_err(|failure| failure.at(Step::DenyList))?;
    let annotated = annotations(&subject, asked).map_err(|failure| failure.at(Step::Annotations))?;
    let late_enough = signing_time(&times, &authentic, asked).map_err(|failure| failure.at(Step::SigningTime))?;
    let agreement = second_opinion(material, origin.bundle, &integrity, &timestamps, asked, now)
        .map_err(|failure| failure.at(Step::SecondOpinion))?;
    let (signed, statement) = match claimed {
        Claimed::Artifact => (Signed::Artifact, None),
        Claimed::Statement(statement) => {
            let predicate_type = statement.predicate_type.clone();
            (Signed::Statement { predicate_type }, Some(statement))
        }
    };
    let verified = Verified {
        signed,
        _subject: subject,
        entries,
        timestamps,
        times,
        authentic,
        promised,
        _sufficient: sufficient,
        _accepted: accepted,
        not_denied,
        _annotated: annotated,
        _late_enough: late_enough,
        agreement,
    };
    Ok(Judged { verified, statement })
}

impl Failure {
    fn at(self, step: Step) -> Rejected {
        Rejected { step, failure: self }
    }
}

/// What the signature says it is. Nothing of it is trusted yet, but what is not asked for needs no cryptography.
fn content(material: &Material, asked: &Asked<'_>) -> Result<Claimed, Failure> {
    let statement = match (&material.content, asked.artifact, asked.purpose) {
        (Content::SimpleSigning { .. }, Artifact::Image(_), Purpose::ImageSignature | Purpose::Any) => {
            return Ok(Claimed::Artifact);
        }
        (Content::Message { .. }, Artifact::Blob(_), Purpose::FileSignature | Purpose::Any) => {
            return Ok(Claimed::Artifact);
        }
        (Content::SimpleSigning { .. }, _, Purpose::Attestation { predicate_type }) => {
            return Err(Failure::OtherPredicate {
                found: "a signature".into(),
                expected: predicate_type.into(),
            });
        }
        (Content::SimpleSigning { .. }, ..) => return Err(Failure::OtherKind("an image")),
        (Content::Message { .. }, ..) => return Err(Failure::OtherKind("a file")),
        (
            Content::Dsse {
                payload_type, payload, ..
            },
            ..,
        ) => {
            if **payload_type != *IN_TOTO {
                return Err(Failure::PayloadType(payload_type.as_ref().into()));
            }
            Statement::parse(payload)?
        }
    };
    match asked.purpose {
        Purpose::FileSignature => Err(Failure::NotASignature(statement.predicate_type.as_ref().into())),
        // cosign counts any statement as a signature; an image with nothing but provenance is not signed.
        Purpose::ImageSignature if *statement.predicate_type != *COSIGN_SIGNATURE => {
            Err(Failure::NotASignature(statement.predicate_type.as_ref().into()))
        }
        // CVE-2022-35929, GHSA-w6c6-c85g-mmv6: the type is compared, whatever the format.
        Purpose::Attestation { predicate_type } if *statement.predicate_type != *predicate_type => {
            Err(Failure::OtherPredicate {
                found: statement.predicate_type.as_ref().into(),
                expected: predicate_type.into(),
            })
        }
        Purpose::ImageSignature | Purpose::Attestation { .. } | Purpose::Any => Ok(Claimed::Statement(statement)),
    }
}

/// The payload names the artifact by its digest.
fn subject(material: &Material, claimed: &Claimed, asked: &Asked<'_>) -> Result<SubjectMatch, Failure> {
    match (claimed, &material.content, asked.artifact) {
        (Claimed::Artifact, Content::SimpleSigning { payload, .. }, Artifact::Image(image)) => {
            let payload = Payload::parse(payload)?;
            if payload.digest != image.digest {
                return Err(Failure::OtherSubject {
                    found: payload.digest.to_string().into(),
                    expected: image.digest.to_string(),
                });
            }
            Ok(SubjectMatch {
                annotations: vec![payload.annotations],
            })
        }
        // A digest in the bundle is a hint, which must not lie; the signature itself is over the file.
        (Claimed::Artifact, Content::Message { digest, .. }, Artifact::Blob(digests)) => {
            let lies = digest.as_ref().is_some_and(|hint| {
                let known = digests.iter().find(|known| known.hash == hint.algorithm);
                known.is_none_or(|known| known.bytes != hint.bytes)
            });
            match digest {
                Some(hint) if lies => Err(Failure::OtherSubject {
                    found: hex(&hint.bytes).into(),
                    expected: "the file".to_owned(),
                }),
                // The bytes alone are signed: there are no annotations, and who asks for some does not get them.
                _ => Ok(SubjectMatch {
                    annotations: vec![Vec::new()],
                }),
            }
        }
        (Claimed::Statement(statement), _, artifact) => {
            let digests: Vec<Digest> = match artifact {
                Artifact::Image(image) => vec![image.digest.clone()],
                Artifact::Blob(digests) => digests.iter().filter_map(FileDigest::digest).collect(),
            };
            let matches = digests.iter().flat_map(|digest| statement.subjects_with(digest));
            let annotations: Vec<_> = matches.map(|subject| subject.annotations.clone()).collect();
            if annotations.is_empty() {
                return Err(Failure::OtherSubject {
                    found: subjects(statement).into(),
                    expected: match artifact {
                        Artifact::Image(image) => image.digest.to_string(),
                        Artifact::Blob(_) => "the file".to_owned(),
                    },
                });
            }
            Ok(SubjectMatch { annotations })
        }
        (Claimed::Artifact, ..) => Err(Failure::OtherKind("something else")),
    }
}

fn subjects(statement: &Statement) -> String {
    let digests = statement.subjects.iter().flat_map(|subject| &subject.digests);
    let names: Vec<_> = digests
        .map(|(algorithm, digits)| format!("{algorithm}:{digits}"))
        .take(2)
        .collect();
    match names.len() {
        0 => "nothing".to_owned(),
        _ => names.join(", "),
    }
}

impl FileDigest {
    /// The digest as statements name it; nothing for those that they do not.
    fn digest(&self) -> Option<Digest> {
        let name = match self.hash {
            Hash::Sha256 => "sha256",
            Hash::Sha512 => "sha512",
            Hash::Sha384 => return None,
        };
        format!("{name}:{}", hex(&self.bytes)).parse().ok()
    }
}

/// The signature verifies: with one of the authority's keys, or with the key of the certificate that came along.
fn integrity<'a>(material: &'a Material, asked: &Asked<'_>) -> Result<Integrity<'a>, Failure> {
    let encoded;
    let messages: Vec<Message<'_>> = match &material.content {
        Content::SimpleSigning { payload, .. } => vec![Message::Bytes(payload)],
        Content::Dsse {
            payload_type, payload, ..
        } => {
            encoded = dsse::pre_authentication_encoding(payload_type, payload);
            vec![Message::Bytes(&encoded)]
        }
        Content::Message { .. } => match asked.artifact {
            Artifact::Blob(digests) => digests
                .iter()
                .map(|known| Message::Digest(known.hash, &known.bytes))
                .collect(),
            Artifact::Image(_) => Vec::new(),
        },
    };
    let signature = material.content.signature();
    let verifies = |key: &VerificationKey| messages.iter().find_map(|message| key.verify(*message, signature).ok());
    match (&asked.authority.signers, &material.signer) {
        (Signers::Keys(keys), _) => {
            let found = keys.iter().find_map(|key| {
                let hash = verifies(key)?;
                let signer = Verifying::Key(key.clone());
                Some(Integrity { signer, hash })
            });
            found.ok_or_else(|| {
                Failure::NoKey(match keys.as_slice() {
                    [key] => format!("the key sha256:{}", hex(key.fingerprint())),
                    keys => format!("any of the {} keys", keys.len()),
                })
            })
        }
        (Signers::Identities(_), ClaimedSigner::Key { .. }) => Err(Failure::NoCertificate),
        (Signers::Identities(_), ClaimedSigner::Certificate { leaf, intermediates }) => {
            let key =
                VerificationKey::from_spki(leaf.subject_public_key_info_der()).map_err(|_| Failure::BadSignature)?;
            let hash = verifies(&key).ok_or(Failure::BadSignature)?;
            let signer = Verifying::Certificate { leaf, intermediates };
            Ok(Integrity { signer, hash })
        }
    }
}

/// Every entry of a known log holds, and is about this signature. Entries of unknown logs are passed over.
fn transparency_log<'a>(
    material: &Material,
    integrity: &Integrity<'_>,
    asked: &'a Asked<'_>,
) -> Result<(Entries, Vec<log::VerifiedEntry<'a>>), Failure> {
    let count = material.log_entries.len();
    if count > MAX_LOG_ENTRIES {
        return Err(Failure::TooMany {
            what: "log entries",
            count,
            limit: MAX_LOG_ENTRIES,
        });
    }
    // What there is no log for cannot count.
    if asked.authority.root.logs.is_empty() {
        return Ok((Entries(Vec::new()), Vec::new()));
    }
    let signer = match (&integrity.signer, &material.signer) {
        (Verifying::Certificate { leaf, .. }, _) => LoggedSigner::Certificate(leaf.der()),
        // A key that is trusted may have signed through a certificate of its own: then that is what was logged.
        (Verifying::Key(key), ClaimedSigner::Certificate { leaf, .. })
            if leaf.subject_public_key_info_der() == key.spki() =>
        {
            LoggedSigner::Certificate(leaf.der())
        }
        (Verifying::Key(key), _) => LoggedSigner::Key(key.spki()),
    };
    let digests: Vec<(Hash, &[u8])> = match asked.artifact {
        Artifact::Blob(digests) => digests.iter().map(|known| (known.hash, &*known.bytes)).collect(),
        Artifact::Image(_) => Vec::new(),
    };
    let logged = Logged {
        content: &material.content,
        signer,
        message: &digests,
        accept_dsse_v0_0_2: asked.authority.accept_dsse_v0_0_2,
    };
    let (mut positions, mut bodies) = (BTreeSet::new(), BTreeSet::new());
    let mut entries = Vec::new();
    for entry in &material.log_entries {
        // The position of a Rekor v1 entry without a promise is nobody's word, so the body counts as well.
        if !positions.insert((&entry.log_id, entry.log_index)) || !bodies.insert((&entry.log_id, &entry.body)) {
            return Err(Failure::DuplicateEntry(entry.log_index));
        }
        match log::verify(entry, &logged, &asked.authority.root) {
            Ok(entry) => entries.push(entry),
            Err(error) if error.is_unknown() => {}
            // Nobody asks for a log.
            Err(_) if asked.authority.evidence.log_entries == 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
    let witnesses = entries.iter().map(|entry| Witness {
        operator: entry.log.operator.clone(),
        log_index: Some(entry.log_index),
        at: entry.integrated_at,
    });
    Ok((Entries(witnesses.collect()), entries))
}

/// The timestamps that hold. One that does not is passed over: whoever counts on timestamps says how many are needed.
fn timestamps(material: &Material, asked: &Asked<'_>) -> Result<Timestamps, Failure> {
    let count = material.timestamps.len();
    if count > MAX_TIMESTAMPS {
        return Err(Failure::TooMany {
            what: "timestamps",
            count,
            limit: MAX_TIMESTAMPS,
        });
    }
    // A bundle's timestamp is one of the signature. Of a v2 attestation cosign stamps the whole envelope.
    let message = match (&material.format, &material.content) {
        (
            Format::Layer,
            Content::Dsse {
                envelope: Some(envelope),
                ..
            },
        ) => envelope,
        (_, content) => content.signature(),
    };
    let mut found = Timestamps {
        held: Vec::new(),
        certificates: Vec::new(),
        by: None,
        first_error: None,
    };
    let mut refused = 0;
    for token in &material.timestamps {
        match timestamp::verify(token, message, &asked.authority.root.timestamp_authorities) {
            Ok(verified) => {
                found.held.push(Witness {
                    operator: verified.authority.operator.clone(),
                    log_index: None,
                    at: Some(verified.at),
                });
                found.certificates.extend(verified.chain);
                found.by = Some(found.by.map_or(verified.latest, |by| by.min(verified.latest)));
            }
            Err(error) => {
                refused += 1;
                found.first_error.get_or_insert(error);
            }
        }
        if refused > MAX_REFUSED_TIMESTAMPS {
            return Err(Failure::TooMany {
                what: "timestamps that do not hold",
                count: refused,
                limit: MAX_REFUSED_TIMESTAMPS,
            });
        }
    }
    Ok(found)
}

/// All verified times: none of them in the future, and each inside the window of every log that gives no time itself.
fn times(
    entries: &Entries,
    logs: &[log::VerifiedEntry<'_>],
    timestamps: &Timestamps,
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<Times, Failure> {
    let times: Vec<_> = entries
        .0
        .iter()
        .chain(&timestamps.held)
        .filter_map(|witness| witness.at)
        .collect();
    let latest = now.saturating_add(jiff::SignedDuration::from_secs(MAX_CLOCK_SKEW.as_secs() as i64));
    if let Some(at) = times.iter().find(|at| latest.as_ref().is_ok_and(|latest| *at > latest)) {
        return Err(Failure::Future { at: *at, now });
    }
    for entry in logs.iter().filter(|entry| entry.integrated_at.is_none()) {
        // Without any verified time, the log has to be trusted now.
        entry.check_window(if times.is_empty() {
            std::slice::from_ref(&now)
        } else {
            &times
        })?;
    }
    match (times.is_empty(), asked.authority.evidence.verified_time) {
        (false, _) => Ok(Times::Verified(times)),
        (true, false) => Ok(Times::NotNeeded),
        (true, true) => Err(Failure::NoVerifiedTime {
            because: timestamps.first_error.as_ref().map(|error| error.to_string().into()),
        }),
    }
}

/// The certificate leads to a trusted authority, and everything on the way was valid at every verified time
/// (CVE-2026-24122).
fn authenticity(
    integrity: &Integrity<'_>,
    times: &Times,
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<Authentic, Failure> {
    match &integrity.signer {
        Verifying::Key(key) => Ok(Authentic(Signer::Key(key.clone()))),
        Verifying::Certificate { leaf, intermediates } => {
            let moments = match times {
                Times::Verified(times) => times.as_slice(),
                Times::NotNeeded => std::slice::from_ref(&now),
            };
            let authorities = &asked.authority.root.certificate_authorities;
            let path = fulcio::find_path(leaf, intermediates, authorities, moments)?;
            Ok(Authentic(Signer::Certificate {
                holder: Arc::new(fulcio::holder(leaf)?),
                path: path.certificates,
            }))
        }
    }
}

/// Enough certificate transparency logs promised to include the certificate.
fn certificate_transparency(authentic: &Authentic, asked: &Asked<'_>) -> Result<Promised, Failure> {
    let needed = asked.authority.evidence.signed_certificate_timestamps;
    let Signer::Certificate { path, .. } = &authentic.0 else {
        return Ok(Promised(Vec::new()));
    };
    if needed == 0 {
        return Ok(Promised(Vec::new()));
    }
    let (Some(leaf), Some(issuer)) = (path.first(), path.get(1)) else {
        return Err(ScTimestampError::None.into());
    };
    let held = signed_certificate_timestamp::verify(leaf, issuer, &asked.authority.root.certificate_logs)?;
    let operators: BTreeSet<_> = held.iter().map(|timestamp| &timestamp.log.operator).collect();
    if operators.len() < needed {
        return Err(Failure::TooFew {
            what: "certificate transparency logs",
            found: operators.len(),
            needed,
            because: None,
            code: Code::UntrustedSigner,
        });
    }
    let witnesses = held.iter().map(|timestamp| Witness {
        operator: timestamp.log.operator.clone(),
        log_index: None,
        at: Some(timestamp.at),
    });
    Ok(Promised(witnesses.collect()))
}

/// As many logs and timestamp authorities as the authority asks for vouch for the signature. Operators are counted, not
/// entries: one that vouches twice counts once.
fn required_evidence(entries: &Entries, timestamps: &Timestamps, asked: &Asked<'_>) -> Result<Sufficient, Failure> {
    let evidence = asked.authority.evidence;
    let operators = |witnesses: &[Witness]| {
        let operators: BTreeSet<_> = witnesses.iter().map(|witness| &witness.operator).collect();
        operators.len()
    };
    let logs = operators(&entries.0);
    if logs < evidence.log_entries {
        return Err(Failure::TooFew {
            what: "transparency logs",
            found: logs,
            needed: evidence.log_entries,
            because: None,
            code: Code::LogEntryInvalid,
        });
    }
    let authorities = operators(&timestamps.held);
    if authorities < evidence.timestamps {
        let because = timestamps.first_error.as_ref();
        return Err(Failure::TooFew {
            what: "timestamp authorities",
            found: authorities,
            needed: evidence.timestamps,
            because: because.map(|error| error.to_string().into()),
            code: if because.is_some() {
                Code::TimestampInvalid
            } else {
                Code::TimestampRequired
            },
        });
    }
    Ok(Sufficient)
}

/// The signer is one of those who are asked for. Who signs with a key that the policy names is.
fn identity(authentic: &Authentic, asked: &Asked<'_>) -> Result<Accepted, Failure> {
    match (&authentic.0, &asked.authority.signers) {
        (Signer::Key(_), Signers::Keys(_)) => Ok(Accepted),
        (Signer::Certificate { holder, .. }, Signers::Identities(accepted))
            if accepted.iter().any(|matcher| matcher.accepts(holder)) =>
        {
            Ok(Accepted)
        }
        (signer, _) => Err(Failure::OtherIdentity(signer.to_string().into())),
    }
}

/// No entry of the deny-list names the signature, its signer, or a certificate of either chain that it rests on. All that is
/// known of the time counts.
fn deny_list(
    origin: &Origin<'_>,
    authentic: &Authentic,
    entries: &Entries,
    timestamps: &Timestamps,
    times: &Times,
    circumstances: &Circumstances<'_>,
) -> Result<NotDenied, Failure> {
    let logged = entries.0.iter().filter_map(|entry| entry.at).min();
    let by = logged.into_iter().chain(timestamps.by).min();
    let made = by.map(|by| Made {
        after: made_after(times, authentic).unwrap_or(Timestamp::MIN),
        by,
    });
    let facts = authentic.0.facts().vouched_for(&timestamps.certificates, made);
    match circumstances.denied.find(origin.digests(), [&facts]) {
        Some(entry) => Err(Failure::Denied(Box::new(entry.clone()))),
        None => Ok(NotDenied(facts)),
    }
}

/// The signed payload has every annotation that the authority and the rule ask for. What an attestation has to say is
/// asked of its predicate.
fn annotations(subject: &SubjectMatch, asked: &Asked<'_>) -> Result<Annotated, Failure> {
    if matches!(asked.purpose, Purpose::Attestation { .. }) {
        return Ok(Annotated);
    }
    let lacks = |has: &Vec<(Box<str>, Box<str>)>| {
        let mut wanted = asked.authority.annotations.iter().chain(&asked.conditions.annotations);
        wanted.find(|(key, value)| !has.iter().any(|(known, is)| known == *key && is == *value))
    };
    let mut closest = None;
    for has in &subject.annotations {
        match lacks(has) {
            None => return Ok(Annotated),
            Some(lacking) => closest = closest.or(Some(lacking)),
        }
    }
    let (key, value) = closest.map_or(("", ""), |(key, value)| (&**key, &**value));
    Err(Failure::Annotation {
        key: key.into(),
        value: value.into(),
    })
}

/// The moment after which a signature was made, as far as anything proves it.
///
/// A timestamp or a log says only that it existed by then: anybody can have an old signature stamped again. What is made with
/// a certificate's key, and vouched for inside the certificate's life, was made in that life; so it was made after the
/// certificate's beginning. Fulcio's live for ten minutes. Of a signature with a bare key nothing is known.
fn made_after(times: &Times, authentic: &Authentic) -> Option<Timestamp> {
    times.earliest()?;
    match &authentic.0 {
        Signer::Key(_) => None,
        Signer::Certificate { path, .. } => path.first().map(Certificate::not_before),
    }
}

/// It is proven to have been made late enough.
fn signing_time(times: &Times, authentic: &Authentic, asked: &Asked<'_>) -> Result<LateEnough, Failure> {
    let Some(minimum) = asked.conditions.minimum_signing_time else {
        return Ok(LateEnough);
    };
    let at = made_after(times, authentic);
    if at.is_some_and(|at| at >= minimum) {
        Ok(LateEnough)
    } else {
        Err(Failure::TooOld { at, minimum })
    }
}

/// Whether the signature is by one of the authority's signers, whatever it says and whoever vouches for it: for content that
/// cannot be looked into.
pub(crate) fn is_by_authority(material: &Material, asked: &Asked<'_>) -> bool {
    let Ok(integrity) = integrity(material, asked) else {
        return false;
    };
    let Verifying::Certificate { leaf, .. } = &integrity.signer else {
        return true;
    };
    // Any moment of its life: who signed matters, not whether it still counts.
    let then = Times::Verified(vec![leaf.not_before()]);
    authenticity(&integrity, &then, asked, leaf.not_before())
        .and_then(|authentic| identity(&authentic, asked))
        .is_ok()
}

/// Another implementation agrees on a bundle whose shape it knows.
fn second_opinion(
    material: &Material,
    bundle: Option<&[u8]>,
    integrity: &Integrity<'_>,
    timestamps: &Timestamps,
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<Agreement, Failure> {
    let (Some(bundle), Some(other)) = (bundle, &asked.authority.second_opinion) else {
        return Ok(Agreement::NotAsked);
    };
    let of_file;
    let digest = match asked.artifact {
        Artifact::Image(image) => &image.digest,
        Artifact::Blob(digests) => match digests
            .iter()
            .find(|known| known.hash == Hash::Sha256)
            .and_then(FileDigest::digest)
        {
            Some(digest) => {
                of_file = digest;
                &of_file
            }
            None => return Ok(Agreement::NotAsked),
        },
    };
    let asked = second_opinion::Asked {
        artifact: second_opinion::Artifact::Digest(digest),
        key: match &integrity.signer {
            Verifying::Key(key) => Some(key),
            Verifying::Certificate { .. } => None,
        },
        hash: integrity.hash,
        log: asked.authority.evidence.log_entries > 0,
        signed_certificate_timestamp: asked.authority.evidence.signed_certificate_timestamps > 0,
        timestamps_held: timestamps.first_error.is_none(),
        now,
    };
    match other.ask(bundle, material, &asked) {
        Opinion::Agrees { .. } => Ok(Agreement::Agrees),
        Opinion::NotItsShape(_) => Ok(Agreement::NotAsked),
        Opinion::Refuses(reason) => Err(Failure::SecondOpinion(reason)),
    }
}
