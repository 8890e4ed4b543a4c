//! X.509 as the Notary Project profiles it: certificates and chains.

pub mod certificate;
pub mod chain;
