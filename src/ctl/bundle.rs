//! Sigstore bundles of files: `assayctl verify-blob --bundle`, and the protocol of sigstore's conformance suite.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::attestation::PredicateType;
use assay_verify::circumstances::Circumstances;
use assay_verify::crypto::Hash;
use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_ATTESTATION_SIZE, MAX_KEY_SIZE};
use assay_verify::policy::cosign::ShippedRoot;
use assay_verify::policy::{AuthorityName, Conditions};
use assay_verify::sigstore::authority::{Authority, RequiredEvidence, Signers};
use assay_verify::sigstore::identity::{AnchoredRegex, IdentityMatcher, TextMatcher};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::second_opinion::SecondOpinion;
use assay_verify::sigstore::signature::{self, Artifact, Asked, FileDigest, Judged, Origin, Purpose, Rejected, Signed};
use assay_verify::sigstore::trusted_root::TrustedRoot;
use assay_verify::sigstore::{bundle, report};
use assay_verify::untrusted::Untrusted;
use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{DONE, Failure, Output, denied};
use crate::trust;

/// Bytes of a file that are read at once.
const PIECE: usize = 256 * 1024;

/// Who has to have signed, and what has to vouch for it.
#[derive(Args)]
pub(super) struct Trusted {
    /// An authority of the policy, of the type cosign
    #[arg(long, value_name = "NAME", conflicts_with_all = BESIDE_AUTHORITIES)]
    authority: Option<AuthorityName>,
    /// The policy that describes the authority
    #[arg(
        long,
        value_name = "FILE",
        requires = "authority",
        conflicts_with_all = BESIDE_AUTHORITIES,
        default_value = "/etc/assayd/policy.toml"
    )]
    policy: PathBuf,
    /// The public key that has to have signed, as PEM
    #[arg(long, value_name = "PEM", conflicts_with_all = OF_CERTIFICATES)]
    key: Option<PathBuf>,
    /// The subject alternative name of the signer's certificate
    #[arg(long, value_name = "NAME", requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,
    /// The same, as a regular expression for the whole name
    #[arg(
        long,
        value_name = "REGEX",
        requires = "certificate_oidc_issuer",
        conflicts_with = "certificate_identity"
    )]
    certificate_identity_regexp: Option<String>,
    /// The identity provider that the signer's certificate names
    #[arg(long, value_name = "URL")]
    certificate_oidc_issuer: Option<String>,
    /// The trusted root: a file, or public-good or github [default: public-good for certificates, none for keys]
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

/// What an authority of the policy says itself.
const BESIDE_AUTHORITIES: [&str; 5] = [
    "key",
    "certificate_identity",
    "certificate_identity_regexp",
    "certificate_oidc_issuer",
    "trusted_root",
];

/// What has no meaning beside a key.
const OF_CERTIFICATES: [&str; 3] = [
    "certificate_identity",
    "certificate_identity_regexp",
    "certificate_oidc_issuer",
];

/// What sigstore's conformance suite asks of a client (sigstore-conformance: docs/cli_protocol.md). It is a protocol of
/// tests and no command for people, so it does not show in the help.
#[derive(Args)]
pub(super) struct VerifyBundle {
    /// The bundle
    #[arg(long)]
    bundle: PathBuf,
    /// The staging instance, whose trusted root assayd does not bring along: name it with --trusted-root
    #[arg(long, requires = "trusted_root")]
    staging: bool,
    /// The signer's certificate names this
    #[arg(long, requires = "certificate_oidc_issuer", conflicts_with = "key")]
    certificate_identity: Option<String>,
    /// The signer's certificate names this identity provider
    #[arg(long, conflicts_with = "key")]
    certificate_oidc_issuer: Option<String>,
    /// The key that signed
    #[arg(long)]
    key: Option<PathBuf>,
    /// The trusted root
    #[arg(long)]
    trusted_root: Option<PathBuf>,
    /// The file, or its digest as sha256:…
    file_or_digest: String,
}

/// Verifies as sigstore's conformance suite asks for it: the exit code is the verdict.
pub(super) fn conformance(output: Output, asked: &VerifyBundle) -> Result<u8, Failure> {
    let trusted = Trusted {
        authority: None,
        policy: PathBuf::new(),
        key: asked.key.clone(),
        certificate_identity: asked.certificate_identity.clone(),
        certificate_identity_regexp: None,
        certificate_oidc_issuer: asked.certificate_oidc_issuer.clone(),
        // The suite expects every signature in the log, a key's as well.
        trusted_root: asked
            .trusted_root
            .clone()
            .or_else(|| Some(ShippedRoot::PublicGood.as_str().into())),
    };
    let digests = match asked.file_or_digest.parse::<Digest>() {
        Ok(digest) => vec![named(&digest)?],
        Err(_) => digests(Path::new(&asked.file_or_digest))?,
    };
    let (authority, _) = trusted.authority(Timestamp::now())?;
    judge(
        output,
        &asked.bundle,
        &digests,
        &authority,
        &asked.file_or_digest,
        // The suite asks whether a bundle verifies, whatever it says, and its exit code says nothing else.
        Purpose::Any,
        Timestamp::now(),
    )
}

/// Verifies the bundle of a file: that it is a signature over the file, or an attestation of this type.
pub(super) fn verify(
    output: Output,
    file: &Path,
    bundle: &Path,
    trusted: &Trusted,
    predicate_type: Option<&PredicateType>,
    at: Option<Timestamp>,
) -> Result<u8, Failure> {
    let purpose = match predicate_type {
        Some(predicate_type) => Purpose::Attestation {
            predicate_type: predicate_type.as_str(),
        },
        None => Purpose::FileSignature,
    };
    let now = at.unwrap_or_else(Timestamp::now);
    let (authority, warnings) = trusted.authority(now)?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    judge(
        output,
        bundle,
        &digests(file)?,
        &authority,
        &file.to_string_lossy(),
        purpose,
        now,
    )
}

impl Trusted {
    /// Whether anything is said about who has to have signed, or who may vouch for it.
    pub(super) fn is_given(&self) -> bool {
        self.authority.is_some()
            || self.key.is_some()
            || self.certificate_oidc_issuer.is_some()
            || self.trusted_root.is_some()
    }

    fn authority(&self, now: Timestamp) -> Result<(Arc<Authority>, Vec<String>), Failure> {
        if let Some(name) = &self.authority {
            return of_policy(&self.policy, name, now);
        }
        let signers = self.signers()?;
        let keyless = matches!(signers, Signers::Identities(_));
        let path = match (&self.trusted_root, keyless) {
            (Some(path), _) => Some(path.clone()),
            (None, true) => Some(ShippedRoot::PublicGood.as_str().into()),
            (None, false) => None,
        };
        let (root, second_opinion) = match path {
            None => (TrustedRoot::default(), None),
            Some(path) => {
                let json = super::trust::read(&path)?;
                let root = TrustedRoot::parse(&json);
                let root = root.map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
                (root, Some(Arc::new(SecondOpinion::new(&json))))
            }
        };
        let one = |any: bool| usize::from(any);
        let evidence = RequiredEvidence {
            log_entries: one(!root.logs.is_empty()),
            timestamps: 0,
            signed_certificate_timestamps: one(keyless && !root.certificate_logs.is_empty()),
            verified_time: keyless && !(root.logs.is_empty() && root.timestamp_authorities.is_empty()),
        };
        let authority = Authority {
            signers,
            root: Arc::new(root),
            second_opinion,
            evidence,
            annotations: BTreeMap::new(),
            accept_dsse_v0_0_2: false,
            repository: None,
        };
        Ok((Arc::new(authority), Vec::new()))
    }

    fn signers(&self) -> Result<Signers, Failure> {
        if let Some(path) = &self.key {
            let text = read_text(path, MAX_KEY_SIZE)?;
            let key = VerificationKey::from_pem(&text);
            let key = key.map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
            return Ok(Signers::Keys(vec![key]));
        }
        let subject = match (&self.certificate_identity, &self.certificate_identity_regexp) {
            (Some(name), _) => TextMatcher::Exact(name.as_str().into()),
            (None, Some(regex)) => TextMatcher::Pattern(
                AnchoredRegex::new(regex)
                    .map_err(|error| Failure::Input(format!("--certificate-identity-regexp: {error}")))?,
            ),
            (None, None) if self.certificate_oidc_issuer.is_some() => {
                return Err(Failure::Input(ISSUER_ALONE.to_owned()));
            }
            (None, None) => return Err(Failure::Input(WHO.to_owned())),
        };
        let issuer = self.certificate_oidc_issuer.as_deref();
        let issuer = issuer.ok_or_else(|| Failure::Input(WHO.to_owned()))?;
        Ok(Signers::Identities(vec![IdentityMatcher {
            issuer: TextMatcher::Exact(issuer.into()),
            subject,
            claims: BTreeMap::new(),
        }]))
    }
}

const WHO: &str = "say who has to have signed: --key, or --certificate-identity with --certificate-oidc-issuer, or \
                   --authority with --policy";

const ISSUER_ALONE: &str = "--certificate-oidc-issuer says who vouches for a name, and the name is missing: add \
                            --certificate-identity or --certificate-identity-regexp";

fn of_policy(policy: &Path, name: &AuthorityName, now: Timestamp) -> Result<(Arc<Authority>, Vec<String>), Failure> {
    let loaded = trust::load(policy, nix::unistd::geteuid().as_raw(), now).outcome;
    let snapshot = loaded.map_err(|diagnostics| {
        let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        Failure::Input(lines.join("\n"))
    })?;
    let authority = snapshot.cosign(name).cloned().ok_or_else(|| {
        let shown = policy.display();
        Failure::Input(format!("{shown} has no authority {name} of the type cosign"))
    })?;
    Ok((authority, snapshot.warnings.iter().map(ToString::to_string).collect()))
}

fn named(digest: &Digest) -> Result<FileDigest, Failure> {
    let hash = match digest.algorithm() {
        assay_verify::digest::Algorithm::Sha256 => Hash::Sha256,
        assay_verify::digest::Algorithm::Sha512 => Hash::Sha512,
    };
    let bytes = (0..digest.hex().len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(digest.hex().get(at..at + 2)?, 16).ok())
        .collect();
    Ok(FileDigest { hash, bytes })
}

/// Every digest by which a bundle may name the file, in one reading.
fn digests(path: &Path) -> Result<Vec<FileDigest>, Failure> {
    let read = || -> io::Result<Vec<FileDigest>> {
        let mut file = File::open(path)?;
        let (mut sha256, mut sha384, mut sha512) = (Sha256::new(), Sha384::new(), Sha512::new());
        let mut piece = vec![0; PIECE];
        loop {
            let count = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = piece.get(..count).unwrap_or_default();
            sha256.update(bytes);
            sha384.update(bytes);
            sha512.update(bytes);
        }
        let of = |hash, bytes: &[u8]| FileDigest {
            hash,
            bytes: bytes.into(),
        };
        Ok(vec![
            of(Hash::Sha256, &sha256.finalize()),
            of(Hash::Sha384, &sha384.finalize()),
            of(Hash::Sha512, &sha512.finalize()),
        ])
    };
    read().map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

fn read_text(path: &Path, limit: usize) -> Result<String, Failure> {
    let unreadable = |error: io::Error| Failure::Input(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let mut file = File::open(path).map_err(unreadable)?.take(limit as u64 + 1);
    file.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > limit {
        return Err(Failure::Input(format!(
            "{}: it has more than {limit} bytes",
            path.display()
        )));
    }
    Ok(text)
}

fn judge(
    output: Output,
    path: &Path,
    digests: &[FileDigest],
    authority: &Authority,
    file: &str,
    purpose: Purpose<'_>,
    now: Timestamp,
) -> Result<u8, Failure> {
    let json = read_text(path, MAX_ATTESTATION_SIZE)?;
    let asked = Asked {
        authority,
        artifact: Artifact::Blob(digests),
        purpose,
        conditions: &Conditions::default(),
    };
    let parsed = bundle::parse(json.as_bytes()).map_err(|error| Rejected {
        step: signature::Step::Format,
        failure: error.into(),
    });
    let digest = Digest::sha256(json.as_bytes());
    let origin = Origin {
        manifest: None,
        blob: Some(&digest),
        bundle: Some(json.as_bytes()),
    };
    let result = parsed.and_then(|material| signature::verify(&material, &origin, &asked, &Circumstances::at(now)));
    render(output, &result, file);
    Ok(match result {
        Ok(_) => DONE,
        Err(rejected) => denied(rejected.failure.code()),
    })
}

fn render(output: Output, result: &Result<Judged, Rejected>, file: &str) {
    let file = Untrusted::new(file);
    let steps = report::steps(result.as_ref().map(|judged| &judged.verified));
    if output == Output::Json {
        let step = |step: &report::StepReport| {
            let (outcome, detail) = match &step.outcome {
                report::StepOutcome::Passed(found) => ("passed", found.as_str()),
                report::StepOutcome::Failed(why) => ("failed", why.as_str()),
                report::StepOutcome::NotReached => ("notReached", ""),
            };
            json!({ "step": step.step.as_str(), "outcome": outcome, "detail": detail })
        };
        let steps: Vec<_> = steps.iter().map(step).collect();
        let verdict = match result {
            Ok(judged) => json!({
                "verdict": "admit",
                "code": "",
                "reason": format!("signed by {}", judged.verified.signer()),
                "file": file.to_string(),
                "signer": judged.verified.signer().to_string(),
                "predicate_type": predicate_type(judged),
                "signed_at": judged.verified.signed_at().map(|at| at.to_string()),
                "steps": steps,
            }),
            Err(rejected) => json!({
                "verdict": "deny",
                "code": rejected.failure.code().as_str(),
                "reason": rejected.failure.to_string(),
                "file": file.to_string(),
                "steps": steps,
            }),
        };
        println!("{verdict}");
        return;
    }
    match result {
        Ok(judged) => {
            let verified = &judged.verified;
            println!("ADMIT {file}: signed by {}", verified.signer());
            if let Some(predicate_type) = predicate_type(judged) {
                println!("  attests    {predicate_type}");
            }
            if let Some(at) = verified.signed_at() {
                println!("  signed at  {at}");
            }
            for witness in verified.log_entries().iter().chain(verified.timestamps()) {
                println!("  vouched    {witness}");
            }
        }
        Err(rejected) => {
            println!("DENY {}: {file}: {}", rejected.failure.code(), rejected.failure);
            println!("  step       {}", rejected.step.as_str());
            if let signature::Failure::NotASignature(predicate_type) = &rejected.failure {
                println!("  to mend    if this attestation is what is asked for: --type {predicate_type}");
            }
        }
    }
}

fn predicate_type(judged: &Judged) -> Option<String> {
    match judged.verified.signed() {
        Signed::Artifact => None,
        Signed::Statement { predicate_type } => Some(Untrusted::new(predicate_type).to_string()),
    }
}
