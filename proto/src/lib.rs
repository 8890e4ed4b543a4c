//! assayd's gRPC interface. The code is generated from `assayd/v1/*.proto`, committed, and guarded by
//! `tests/generated.rs`, so that building needs no protoc.

#![forbid(unsafe_code)]

/// The messages and services of `assayd.v1`, documented in the `.proto` files.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub mod v1 {
    include!("generated/assayd.v1.rs");
}
