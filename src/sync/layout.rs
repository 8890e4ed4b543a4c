//! Where things lie in a policy repository: shared by those who publish it and those who follow it.

/// The delegated role that signs deny-lists and relayed revocation data. It can only deny: nothing outside
/// [`REVOCATION_FOLDER`] is taken from it.
pub const REVOCATIONS_ROLE: &str = "revocations";

/// The delegated role that signs exceptions. Nothing outside [`EXCEPTIONS_FOLDER`] is taken from it.
pub const EXCEPTIONS_ROLE: &str = "exceptions";

/// Holds a folder for each channel, which has the shape of `/etc/assayd`.
pub const CHANNELS_FOLDER: &str = "channels";

/// Holds the deny-list, CRLs and OCSP responses: the same for every channel.
pub const REVOCATION_FOLDER: &str = "revocation";

/// Holds exceptions for the whole fleet.
pub const EXCEPTIONS_FOLDER: &str = "exceptions";

/// The policy document, in the folder of its channel.
pub const POLICY_FILE: &str = "policy.toml";

/// The deny-list, in [`REVOCATION_FOLDER`].
pub const DENY_LIST_FILE: &str = "deny.json";

/// The exceptions, in [`EXCEPTIONS_FOLDER`].
pub const EXCEPTIONS_FILE: &str = "break-glass.toml";

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
