//! The harness: assayd and everything it works with, as a user would run them.
//!
//! - [`Peers`] fetches the real containerd, runc, notation, cosign and docker-registry.
//! - [`Containerd`] is a private containerd with image verifiers, pulled through over CRI; [`Cri`] pulls through any other.
//! - [`registry`] is a registry in memory that supports the referrers API, keeps an access log and misbehaves on
//!   demand; [`registry::Distribution`] is the real docker-registry, which knows no referrers API.
//! - [`Image`] makes small images; [`Notation`] signs and verifies them; [`certificates`] makes keys and chains, [`envelope`]
//!   signatures by the thousand.
//! - [`Cosign`] is the real cosign of either series; [`SigstoreServices`] is a Fulcio, Rekor v1 and v2 and a timestamp
//!   authority for it to sign with.
//! - [`TimestampAuthority`] and [`OcspResponder`] are openssl's, [`Crl`] lists are signed by it; [`WebServer`] serves what
//!   certificates point at.
//! - [`Strace`] kills a process at a system call of one's choice.
//! - [`Nginx`] is the real nginx, which serves a folder.
//! - [`PolicyServer`] serves a policy repository; [`Network`] is a network of a node's own that can be cut; [`Journal`] stands in
//!   for journald.
//! - [`Assayd`] is the daemon under test; [`measure`] has what a comparison prints.
//!
//! ```no_run
//! use assay_integration::certificates::{Profile, SigningIdentity};
//! use assay_integration::notation::Sign;
//! use assay_integration::{Assayd, Containerd, Image, Notation, Peers, Registry};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let peers = Peers::fetch()?;
//! let registry = Registry::start().await?;
//! let image = Image::busybox(&peers, "signed")?;
//! image.push(&registry.repository("app"), "v1").await?;
//!
//! let notation = Notation::new(&peers)?;
//! let release = SigningIdentity::self_signed(&Profile::named("release"))?;
//! notation.add_key("release", &release)?;
//! notation.sign(&format!("{}@{}", registry.repository("app"), image.digest()), &Sign::with("release")).await?;
//!
//! let policy = "…";
//! let assayd = Assayd::builder().policy(policy).plain_http(&registry.host()).start().await?;
//! let containerd = Containerd::builder(&peers).hook(&assayd)?.plain_http(&registry.host()).start().await?;
//! let reference = format!("{}:v1", registry.repository("app"));
//! if let Err(refused) = containerd.pull_cri(&reference).await {
//!     assert!(refused.is_denial(), "{refused}");
//!     assert!(registry.log().layer_requests().is_empty());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything that was started ends when its value is dropped. What cannot run here is an error that names what is
//! missing, never a skipped test. The tests need root, Debian and its archive, and Node.js with npm.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod assayd;
pub mod certificates;
pub mod containerd;
pub mod cosign;
pub mod cri;
pub mod crl;
pub mod envelope;
mod gate;
pub mod image;
pub mod journal;
pub mod measure;
mod network;
pub mod nginx;
pub mod notation;
pub mod ocsp;
mod openssl;
mod peers;
pub mod policy_server;
mod process;
mod question;
pub mod registry;
pub mod sigstore_services;
pub mod strace;
pub mod timestamp;
mod web;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use assayd::{Assayd, build_programs, program};
pub use containerd::Containerd;
pub use cosign::Cosign;
pub use cri::Cri;
pub use crl::Crl;
pub use gate::Gate;
pub use image::Image;
pub use journal::Journal;
pub use network::{Cut, Network};
pub use nginx::Nginx;
pub use notation::Notation;
pub use ocsp::OcspResponder;
pub use openssl::{OpenSsl, Reason, Revoked};
pub use peers::Peers;
pub use policy_server::PolicyServer;
pub use process::Finished;
pub use question::Question;
pub use registry::Registry;
pub use sigstore_services::SigstoreServices;
pub use strace::Strace;
pub use timestamp::TimestampAuthority;
pub use web::WebServer;

/// A client for plain HTTP on loopback: no proxy stands between this machine and itself.
pub(crate) fn http_client() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let new = || {
        // Whoever installed a provider before has chosen the same one: there is only aws-lc-rs.
        let _: Result<(), _> = rustls::crypto::aws_lc_rs::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap_or_default()
    };
    CLIENT.get_or_init(new).clone()
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
