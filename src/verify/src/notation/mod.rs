//! The Notary Project's trust policy, trust stores and signatures.

pub mod statement;
