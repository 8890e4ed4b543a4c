//! Timestamp tokens: real ones, and made ones with one defect at a time.

mod authorities;
#[path = "../shared/manifest.rs"]
mod manifest;
mod openssl;
#[path = "../notation/support.rs"]
#[allow(dead_code, reason = "the tests of notation need more of it")]
mod support;
mod token;
mod tokens;
mod vectors;
