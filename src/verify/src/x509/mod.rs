//! X.509 as the Notary Project profiles it: certificates, chains and names.

pub mod certificate;
pub mod chain;
pub mod distinguished_name;
pub mod timestamping;
