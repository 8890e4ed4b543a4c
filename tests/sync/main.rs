//! The client of the policy repository, against repositories that attack it, over every way to one.

mod attacks;
mod disk;
mod lab;
#[path = "../policy_repository/mod.rs"]
mod policy_repository;
mod recovery;
mod roles;
mod roots;
mod web;
