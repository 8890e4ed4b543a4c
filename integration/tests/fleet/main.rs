//! The life of a fleet's node: the real daemon with its hook under the real containerd, signatures by the real notation and
//! cosign, a policy repository that the real nginx serves, and a network that goes away.

mod break_glass;
mod denials;
mod expiry;
mod lab;
mod outage;
mod policies;
mod repositories;

#[path = "../../../tests/policy_repository/mod.rs"]
mod policy_repository;
