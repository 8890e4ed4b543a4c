//! assayd's gRPC interface, and the part of CRI that assayctl and the integration tests speak. The code is generated from `assayd/v1/*.proto` and
//! `runtime/v1/cri.proto`, committed, and guarded by `tests/generated.rs`, so that building needs no protoc.

#![forbid(unsafe_code)]

/// The messages and services of `assayd.v1`, documented in the `.proto` files.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub mod v1 {
    include!("generated/assayd.v1.rs");
}

/// The Kubernetes Container Runtime Interface, as far as assayctl and the integration tests ask containerd by it.
#[cfg(feature = "cri")]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub mod cri {
    include!("generated/runtime.v1.rs");
}
