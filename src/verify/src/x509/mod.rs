//! X.509 as the Notary Project profiles it: certificates, chains, names and revocation.

pub mod certificate;
pub mod chain;
pub mod distinguished_name;
pub mod extensions;
pub(crate) mod pem;
pub mod revocation;
pub mod revocation_sources;
pub mod timestamping;
mod walk;
