//! What cosign signs and what sigstore's services say about it: keys, keyless certificates, v2 signatures, v3 bundles and
//! attestations.
//!
//! Every format is parsed into one [`material::Material`]: what is signed, by whom it says, and what logs and timestamp
//! authorities said about it. [`signature`] then takes the same steps for all of them, each leaving a token, under the
//! terms of an [`authority::Authority`].

pub mod authority;
pub mod bundle;
pub mod dsse;
pub mod fulcio;
pub mod identity;
pub mod json;
pub mod key;
pub mod log;
pub mod material;
pub mod report;
pub mod second_opinion;
pub mod signature;
pub mod signed_certificate_timestamp;
pub mod simple_signing;
pub mod statement;
pub mod timestamp;
pub mod trusted_root;
pub mod window;
mod wire;
