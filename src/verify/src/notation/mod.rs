//! The Notary Project's trust policy, trust stores and signatures.

pub mod blob_policy;
pub mod certificate_identity;
pub mod identity;
pub mod plugin;
pub mod signature;
pub mod statement;
pub mod steps;
pub mod trust_policy;
pub mod trust_store;
