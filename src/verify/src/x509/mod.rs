//! X.509: certificates, chains as the Notary Project profiles them, paths, names and revocation.

pub mod certificate;
pub mod chain;
pub mod distinguished_name;
pub mod extensions;
pub(crate) mod loose_name;
pub(crate) mod path;
pub(crate) mod pem;
pub mod revocation;
pub mod revocation_sources;
pub mod timestamping;
pub(crate) mod walk;
