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
