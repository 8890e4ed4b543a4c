//! Where things lie: beside a node's own policy, and in a policy repository, which has the same names.

/// Holds a folder for each channel of a policy repository, which has the shape of `/etc/assayd`.
pub const CHANNELS_FOLDER: &str = "channels";

/// Holds the deny-list, CRLs and OCSP responses: of a repository the same for every channel, of a node its own.
pub const REVOCATION_FOLDER: &str = "revocation";

/// Holds exceptions for the whole fleet.
pub const EXCEPTIONS_FOLDER: &str = "exceptions";

/// The policy document, in the folder of its channel.
pub const POLICY_FILE: &str = "policy.toml";

/// The deny-list, in [`REVOCATION_FOLDER`].
pub const DENY_LIST_FILE: &str = "deny.json";

/// The exceptions, in [`EXCEPTIONS_FOLDER`] or, a node's own, beside its policy.
pub const EXCEPTIONS_FILE: &str = "break-glass.toml";
