//! Where things lie in a policy repository: shared by those who publish it and those who follow it.

pub use crate::trust::layout::{
    CHANNELS_FOLDER, DENY_LIST_FILE, EXCEPTIONS_FILE, EXCEPTIONS_FOLDER, POLICY_FILE, REVOCATION_FOLDER,
};

/// The delegated role that signs deny-lists and relayed revocation data. It can only deny: nothing outside
/// [`REVOCATION_FOLDER`] is taken from it.
pub const REVOCATIONS_ROLE: &str = "revocations";

/// The delegated role that signs exceptions. Nothing outside [`EXCEPTIONS_FOLDER`] is taken from it.
pub const EXCEPTIONS_ROLE: &str = "exceptions";

/// The field of the timestamp metadata that says when it was signed, in RFC 3339. TUF has none of its own, and lets
/// metadata carry more fields (TUF specification §4.1); it is covered by the signature.
pub const SIGNED_AT_FIELD: &str = "x-assayd-signed-at";

/// The folder in which the targets of a repository lie, each with its SHA-256 before its file name.
pub const TARGETS_FOLDER: &str = "targets";

/// The artifact type of a repository that is kept in a registry: an OCI image manifest whose layers are the repository's
/// files.
pub const REPOSITORY_ARTIFACT: &str = "application/vnd.assayd.policy-repository.v1+json";

/// The media type of each such layer. It says nothing about the file, whose place is in its
/// [`FILE_ANNOTATION`].
pub const REPOSITORY_LAYER: &str = "application/octet-stream";

/// The annotation with the path of a layer's file, relative to the repository's base (OCI image specification:
/// annotations.md).
pub const FILE_ANNOTATION: &str = "org.opencontainers.image.title";
