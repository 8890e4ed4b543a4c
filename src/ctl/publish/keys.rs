//! Keys of a policy repository's roles: public ones as text, private ones in files.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::OFlag;
use thiserror::Error;
use tough::async_trait;
use tough::key_source::KeySource;
use tough::schema::decoded::{Decoded, EcdsaFlex, Hex, RsaPem};
use tough::schema::key::{EcdsaKey, EcdsaScheme, Ed25519Key, Ed25519Scheme, Key, RsaKey, RsaScheme};
use tough::sign::{Sign, parse_keypair};

use assay_verify::crypto::{Curve, KeyKind};
use assay_verify::digest::hex;
use assay_verify::limits::MAX_KEY_SIZE;
use assay_verify::sigstore::key::{KeyError, VerificationKey as CheckedKey};

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";

/// What stands before the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410 §4).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why text or a file is not a key that can be used.
#[derive(Debug, Error)]
pub(super) enum BadKey {
    #[error("{0}")]
    Malformed(#[from] KeyError),
    #[error("a key {0}: expected Ed25519, ECDSA P-256 or RSA")]
    Kind(KeyKind),
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("its group or everyone may read it (mode {0:04o}): chmod go-rwx")]
    Readable(u32),
    #[error("it has more than {MAX_KEY_SIZE} bytes")]
    TooLarge,
    #[error("it is encrypted: decrypt it into memory, for example: openssl pkcs8 -in KEY -out /dev/shm/KEY")]
    Encrypted,
    #[error(
        "not a private key in PEM, PKCS #8, of Ed25519, ECDSA P-256 or RSA; openssl pkcs8 -topk8 -nocrypt converts others"
    )]
    NotPrivate,
    #[error("no key could be made: {0}")]
    NotMade(String),
}

/// A public key, as the metadata of a repository has it.
#[derive(Clone, Debug)]
pub(super) struct PublicKey {
    /// TUF's key id: the SHA-256 of the key's canonical form, in hexadecimal.
    pub(super) id: String,
    pub(super) key: Key,
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`, in PEM or in its base64 alone.
    pub(super) fn parse(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        let checked = if text.starts_with("-----BEGIN ") {
            CheckedKey::from_pem(text)?
        } else {
            let base64: String = text.chars().filter(|character| !character.is_whitespace()).collect();
            CheckedKey::from_spki(&STANDARD.decode(base64).map_err(|_| KeyError::NoPem)?)?
        };
        // Built from the key's bytes: equal keys have one id, whatever their text looked like.
        let unusable = || BadKey::Kind(checked.kind());
        let pem = pem(PUBLIC, checked.spki());
        let key = match checked.kind() {
            KeyKind::Ed25519 => {
                let bytes = checked.spki().strip_prefix(&ED25519_PREFIX).ok_or_else(unusable)?;
                ed25519(bytes)
            }
            KeyKind::Ecdsa(Curve::P256) => {
                let decoded: Decoded<EcdsaFlex> = pem.parse().map_err(|_| unusable())?;
                Key::Ecdsa {
                    keyval: EcdsaKey {
                        public: decoded.into_vec().into(),
                        _extra: HashMap::new(),
                    },
                    scheme: EcdsaScheme::EcdsaSha2Nistp256,
                    _extra: HashMap::new(),
                }
            }
            KeyKind::Rsa { .. } => {
                let decoded: Decoded<RsaPem> = pem.parse().map_err(|_| unusable())?;
                Key::Rsa {
                    keyval: RsaKey {
                        public: decoded.into_vec().into(),
                        _extra: HashMap::new(),
                    },
                    scheme: RsaScheme::RsassaPssSha256,
                    _extra: HashMap::new(),
                }
            }
            KeyKind::Ecdsa(_) | KeyKind::Other => return Err(unusable()),
        };
        Self::of(key)
    }

    fn of(key: Key) -> Result<Self, BadKey> {
        let id = key.key_id().map_err(|error| BadKey::NotMade(error.to_string()))?;
        Ok(Self { id: hex(&id), key })
    }

    /// The base64 of its `SubjectPublicKeyInfo`.
    pub(super) fn spki_base64(&self) -> Result<String, BadKey> {
        // What the metadata has is PEM, or the 32 bytes of RFC 8032.
        match &self.key {
            Key::Ed25519 { keyval, .. } => Ok(STANDARD.encode([&ED25519_PREFIX[..], &keyval.public].concat())),
            Key::Rsa { keyval, .. } => pem_text(&keyval.public).and_then(|text| spki_base64(&text)),
            Key::Ecdsa { keyval, .. } | Key::EcdsaOld { keyval, .. } => {
                pem_text(&keyval.public).and_then(|text| spki_base64(&text))
            }
        }
    }

    /// The id as metadata has it.
    pub(super) fn tuf_id(&self) -> Result<Decoded<Hex>, BadKey> {
        self.key.key_id().map_err(|error| BadKey::NotMade(error.to_string()))
    }
}

fn ed25519(bytes: &[u8]) -> Key {
    Key::Ed25519 {
        keyval: Ed25519Key {
            public: bytes.to_vec().into(),
            _extra: HashMap::new(),
        },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

/// A private key from a file. Nothing prints what is in it.
pub(super) struct PrivateKey {
    pub(super) path: PathBuf,
    pub(super) public: PublicKey,
    /// As [`parse_keypair`] takes it.
    encoded: Vec<u8>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("path", &self.path)
            .field("id", &self.public.id)
            .finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Reads a PEM file that only its owner may read.
    pub(super) fn read(path: &Path) -> Result<Self, BadKey> {
        // Without O_NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(BadKey::NotAFile);
        }
        const OTHERS: u32 = 0o077;
        if metadata.mode() & OTHERS != 0 {
            return Err(BadKey::Readable(metadata.mode() & 0o7777));
        }
        let mut text = String::new();
        file.take(MAX_KEY_SIZE as u64 + 1).read_to_string(&mut text)?;
        if text.len() > MAX_KEY_SIZE {
            return Err(BadKey::TooLarge);
        }
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, BadKey> {
        if text.contains("ENCRYPTED") {
            return Err(BadKey::Encrypted);
        }
        // Elliptic curves are taken as DER, and RSA as PEM.
        let candidates = [body(text, PRIVATE), Some(text.trim().as_bytes().to_vec())];
        for encoded in candidates.into_iter().flatten() {
            if let Ok(pair) = parse_keypair(&encoded) {
                let public = PublicKey::of(pair.tuf_key())?;
                return Ok(Self {
                    path: path.to_owned(),
                    public,
                    encoded,
                });
            }
        }
        Err(BadKey::NotPrivate)
    }

    /// The key for the one who signs.
    pub(super) fn source(&self) -> Box<dyn KeySource> {
        Box::new(Source(self.encoded.clone()))
    }
}

struct Source(Vec<u8>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

type BoxedError = Box<dyn StdError + Send + Sync + 'static>;

#[async_trait]
impl KeySource for Source {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, BoxedError> {
        Ok(Box::new(parse_keypair(&self.0)?))
    }

    async fn write(&self, _value: &str, _key_id_hex: &str) -> Result<(), BoxedError> {
        Err("keys are not written back".into())
    }
}

/// A new Ed25519 key: its private half as a PEM file, its public half as the base64 of a `SubjectPublicKeyInfo`.
pub(super) struct NewKey {
    pub(super) private_pem: String,
    pub(super) public: String,
}

impl NewKey {
    pub(super) fn generate() -> Result<Self, BadKey> {
        let failed = |error: aws_lc_rs::error::Unspecified| BadKey::NotMade(error.to_string());
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        // Version 1, which every OpenSSL reads.
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        let mut spki = ED25519_PREFIX.to_vec();
        spki.extend_from_slice(aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref());
        Ok(Self {
            private_pem: pem(PRIVATE, der.as_ref()),
            public: STANDARD.encode(spki),
        })
    }
}

/// The base64 of a public key's `SubjectPublicKeyInfo`, as publish.toml has it.
pub(super) fn spki_base64(text: &str) -> Result<String, BadKey> {
    Ok(STANDARD.encode(CheckedKey::from_pem(text)?.spki()))
}

/// The text that metadata has of a key.
fn pem_text(key: &impl serde::Serialize) -> Result<String, BadKey> {
    let value = serde_json::to_value(key).ok();
    value
        .and_then(|value| Some(value.as_str()?.to_owned()))
        .ok_or(BadKey::NotPrivate)
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII.
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The bytes of the first block with a label.
pub(super) fn body(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, after) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = after.split_once(&format!("-----END {label}-----"))?;
    let base64: String = body.chars().filter(|character| !character.is_whitespace()).collect();
    STANDARD.decode(base64).ok()
}
