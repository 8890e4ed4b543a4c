//! `assayctl verify-blob`: a file, its detached signature, and notation's configuration folder; or its sigstore bundle.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::artifact::{Blob, BlobHasher};
use assay_verify::attestation::PredicateType;
use assay_verify::crypto::Hash;
use assay_verify::envelope::Format;
use assay_verify::limits::{MAX_ANNOTATION_LENGTH, MAX_ATTRIBUTES, MAX_ENVELOPE_SIZE};
use assay_verify::notation::signature::StepReport;
use assay_verify::notation::steps;
use assay_verify::policy::Conditions;
use assay_verify::untrusted::Untrusted;
use clap::{Args, ValueEnum};

use super::bundle::{self, Trusted};
use super::{DONE, Failure, Output, denied, render};
use crate::admission::blob::{BlobOutcome, BlobRespondents, BlobTerms, judge};
use crate::daemon::config::Config;
use crate::fetch::revocation::{AnswerMemory, Client};
use crate::plugin::Plugins;
use crate::trust;

/// Bytes of a file that are read at once.
const PIECE: usize = 256 * 1024;

#[derive(Args)]
pub(super) struct VerifyBlob {
    /// The file
    file: PathBuf,
    /// Its signature, as notation writes it: FILE.jws.sig or FILE.cose.sig
    #[arg(short, long, value_name = "SIG", required_unless_present = "bundle")]
    signature: Option<PathBuf>,
    /// Its sigstore bundle, as cosign writes it; then say who has to have signed it
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = BESIDE_SIGNATURES)]
    bundle: Option<PathBuf>,
    /// An attestation of this predicate type has to be in the bundle, a URI or cosign's short name [default: a signature]
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: Option<PredicateType>,
    #[command(flatten)]
    trusted: Trusted,
    /// The encoding of the signature [default: by its name]
    #[arg(long, value_enum, value_name = "FORMAT")]
    signature_format: Option<SignatureFormat>,
    /// The folder of trustpolicy.blob.json and truststore/; CRLs and OCSP responses from files lie beside it, in revocation/
    #[arg(long, value_name = "DIR", default_value = "/etc/assayd/notation")]
    config: PathBuf,
    /// The statement of the trust policy to judge by [default: the global one]
    #[arg(long, value_name = "NAME")]
    policy_name: Option<String>,
    /// What the file has to be signed as
    #[arg(long, value_name = "TYPE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    media_type: Option<String>,
    /// What the signature has to say about the file; may be given more than once
    #[arg(short = 'm', long, value_name = "KEY=VALUE", value_parser = key_value)]
    user_metadata: Vec<(Box<str>, Box<str>)>,
    /// Accept a statement that verifies nothing, or that only logs that the signer is not authentic
    #[arg(long)]
    accept_unverified: bool,
    /// Ask nobody: neither revocation endpoints nor plugins
    #[arg(long)]
    offline: bool,
    /// The time to judge at offline or by a bundle, e.g. 2026-11-21T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The daemon's configuration, for its revocation endpoints and plugins [default: /etc/assayd/config.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    daemon_config: Option<PathBuf>,
}

/// What has a meaning beside a signature of the Notary Project alone.
const BESIDE_SIGNATURES: [&str; 8] = [
    "signature",
    "signature_format",
    "config",
    "policy_name",
    "media_type",
    "user_metadata",
    "accept_unverified",
    "daemon_config",
];

/// The encoding of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SignatureFormat {
    Jws,
    Cose,
}

impl From<SignatureFormat> for Format {
    fn from(format: SignatureFormat) -> Self {
        match format {
            SignatureFormat::Jws => Self::Jws,
            SignatureFormat::Cose => Self::Cose,
        }
    }
}

/// What became of a file's signature, for printing.
pub(super) struct JudgedBlob<'a> {
    pub(super) outcome: &'a BlobOutcome,
    pub(super) steps: &'a [StepReport],
    pub(super) file: String,
    pub(super) blob: &'a Blob,
    /// What the signer says that the file is, where the signature is admitted.
    pub(super) media_type: Option<String>,
    /// What the signer says about the file, where the signature is admitted.
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) statement: String,
    pub(super) signature: String,
}

/// Judges the signature of a file.
pub(super) async fn verify(output: Output, asked: &VerifyBlob) -> Result<u8, Failure> {
    let signature = match (&asked.bundle, &asked.signature) {
        (Some(bundle), _) => {
            let wanted = asked.predicate_type.as_ref();
            return bundle::verify(output, &asked.file, bundle, &asked.trusted, wanted, asked.at);
        }
        (None, Some(signature)) => signature,
        (None, None) => return Err(Failure::Input("give --signature or --bundle".to_owned())),
    };
    if asked.trusted.is_given() || asked.predicate_type.is_some() {
        let message = "--key, --authority, --certificate-…, --trusted-root and --type are for --bundle: who signs with notation says \
                       --config";
        return Err(Failure::Input(message.to_owned()));
    }
    if asked.at.is_some() && !asked.offline {
        return Err(Failure::Input(
            "--at needs --offline: whoever is asked answers for now".to_owned(),
        ));
    }
    let format = match asked.signature_format {
        Some(format) => format,
        None => format_of(signature).map_err(Failure::Input)?,
    };
    let terms = terms(asked)?;
    let user = nix::unistd::geteuid().as_raw();
    let trust = trust::load_blob(&asked.config, asked.policy_name.as_deref(), user).map_err(|diagnostics| {
        let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        Failure::Input(lines.join("\n"))
    })?;
    for warning in &trust.warnings {
        eprintln!("{warning}");
    }
    let respondents = if asked.offline { None } else { Some(respondents(asked)?) };
    let envelope = read_signature(signature).map_err(|error| unreadable(signature, &error))?;
    let opened = steps::open(format.into(), &envelope);
    // Only a signature that holds together says by which hash the file is named; for another one any will do.
    let hash = opened.as_ref().map_or(Hash::Sha256, |integrity| {
        integrity.envelope().chain().algorithm().hash()
    });
    let blob = File::open(&asked.file)
        .and_then(|file| digest(file, hash, asked.media_type.as_deref()))
        .map_err(|error| unreadable(&asked.file, &error))?;
    let now = asked.at.unwrap_or_else(Timestamp::now);
    let verdict = judge(&trust, &opened, &blob, &terms, respondents.as_ref(), now).await;

    let admitted = matches!(verdict.outcome, BlobOutcome::Admit { .. }) && !verdict.steps.is_empty();
    let said = opened.ok().filter(|_| admitted);
    let shown = |text: &str| Untrusted::new(text).to_string();
    let judged = JudgedBlob {
        outcome: &verdict.outcome,
        steps: &verdict.steps,
        file: shown(&asked.file.to_string_lossy()),
        blob: &blob,
        media_type: said
            .as_ref()
            .map(|integrity| shown(integrity.envelope().target().media_type())),
        annotations: said.as_ref().map_or_else(BTreeMap::new, |integrity| {
            let annotations = integrity.envelope().annotations();
            annotations
                .iter()
                .map(|(key, value)| (shown(key), shown(value)))
                .collect()
        }),
        statement: shown(&trust.statement.name),
        signature: shown(&signature.to_string_lossy()),
    };
    render::blob(output, &judged);
    Ok(match verdict.outcome {
        BlobOutcome::Admit { .. } => DONE,
        BlobOutcome::Deny { code, .. } => denied(code),
    })
}

/// notation's name for a signature says its format (notation: specs/cmd/blob.md).
fn format_of(signature: &Path) -> Result<SignatureFormat, String> {
    let name = signature
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase());
    let name = name.unwrap_or_default();
    let shown = Untrusted::new(&name);
    let Some(stem) = name.strip_suffix(".sig") else {
        return Err(format!(
            "invalid signature filename {shown}: the extension must be .sig, or give --signature-format"
        ));
    };
    match stem.rsplit_once('.') {
        Some((_, "jws")) => Ok(SignatureFormat::Jws),
        Some((_, "cose")) => Ok(SignatureFormat::Cose),
        Some((_, other)) => Err(format!(
            "signature format \"{}\" not supported: expected FILE.jws.sig or FILE.cose.sig, or give --signature-format",
            Untrusted::new(other)
        )),
        None => Err(format!(
            "invalid signature filename {shown}: expected FILE.jws.sig or FILE.cose.sig, or give --signature-format"
        )),
    }
}

fn key_value(text: &str) -> Result<(Box<str>, Box<str>), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("a key-value pair requires \"=\" as separator")?;
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    if key.len() > MAX_ANNOTATION_LENGTH || value.len() > MAX_ANNOTATION_LENGTH {
        return Err(format!("key or value has more than {MAX_ANNOTATION_LENGTH} bytes"));
    }
    Ok((key.into(), value.into()))
}

fn terms(asked: &VerifyBlob) -> Result<BlobTerms, Failure> {
    let mut annotations = BTreeMap::new();
    for (key, value) in &asked.user_metadata {
        // Two values for one key cannot both be there.
        if annotations.insert(key.clone(), value.clone()).is_some() {
            let message = format!("--user-metadata has the key {} twice", Untrusted::new(key));
            return Err(Failure::Input(message));
        }
    }
    if annotations.len() > MAX_ATTRIBUTES {
        let message = format!("--user-metadata is given more than {MAX_ATTRIBUTES} times");
        return Err(Failure::Input(message));
    }
    Ok(BlobTerms {
        conditions: Conditions {
            annotations,
            ..Conditions::default()
        },
        accept_unverified: asked.accept_unverified,
    })
}

fn respondents(asked: &VerifyBlob) -> Result<BlobRespondents, Failure> {
    let config = Config::load(asked.daemon_config.as_deref()).map_err(|error| Failure::Input(error.to_string()))?;
    let plugins = config.plugins().map_err(|error| Failure::Input(error.to_string()))?;
    let memory = AnswerMemory::default();
    Ok(BlobRespondents {
        revocation: Arc::new(Client::new(config.revocation_endpoints(), memory)),
        plugins: Plugins::new(plugins),
    })
}

/// Reads a signature, and one byte more than one may have: the parser says what is wrong with that.
fn read_signature(path: &Path) -> io::Result<Vec<u8>> {
    let mut envelope = Vec::new();
    File::open(path)?
        .take(MAX_ENVELOPE_SIZE as u64 + 1)
        .read_to_end(&mut envelope)?;
    Ok(envelope)
}

/// Digests a file of any size. What is judged are the bytes that are read here.
fn digest(mut file: impl Read, hash: Hash, media_type: Option<&str>) -> io::Result<Blob> {
    let mut hasher = BlobHasher::new(hash);
    let mut piece = vec![0; PIECE];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish(media_type)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(piece.get(..read).unwrap_or_default());
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Input(format!("{}: {error}", Untrusted::new(path.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_signature_says_its_format_as_notation_reads_it() {
        for (name, expected) in [
            ("sbom.json.jws.sig", Ok(SignatureFormat::Jws)),
            ("/tmp/sbom.json.cose.sig", Ok(SignatureFormat::Cose)),
            ("SBOM.COSE.SIG", Ok(SignatureFormat::Cose)),
            ("a.jws.invalid", Err("the extension must be .sig")),
            ("a.invalid.sig", Err("signature format \"invalid\" not supported")),
            ("a.sig", Err("expected FILE.jws.sig or FILE.cose.sig")),
            ("jws.sig", Err("expected FILE.jws.sig or FILE.cose.sig")),
            (".sig", Err("expected FILE.jws.sig or FILE.cose.sig")),
            ("..", Err("the extension must be .sig")),
        ] {
            match (format_of(Path::new(name)), expected) {
                (Ok(format), Ok(expected)) => assert_eq!(format, expected, "{name}"),
                (Err(message), Err(expected)) => assert!(message.contains(expected), "{name}: {message}"),
                (other, _) => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn user_metadata_is_a_key_and_a_value() {
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(key_value("a="), Ok(("a".into(), "".into())));
        assert!(
            key_value("invalid")
                .unwrap_err()
                .contains("requires \"=\" as separator")
        );
        assert!(key_value("=b").is_err());
    }

    #[test]
    fn digests_what_comes_in_pieces() {
        struct Dripping<'a>(&'a [u8]);
        impl Read for Dripping<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.0.len().min(7);
                (&mut self.0).read(&mut buffer[..count])
            }
        }
        let content = vec![42; 100];
        let whole = digest(content.as_slice(), Hash::Sha384, None).unwrap();
        assert_eq!(digest(Dripping(&content), Hash::Sha384, None).unwrap(), whole);
        assert_eq!(whole.size, 100);
    }
}
