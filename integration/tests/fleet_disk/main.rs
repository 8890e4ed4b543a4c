//! A node of a fleet whose process is killed, whose disk is full or may only be read, and whose clock is wrong: it has the old
//! policy or the new one, never none and never an older one, and what it cannot keep it says.

#[path = "../../../tests/policy_repository/mod.rs"]
mod policy_repository;

mod clock;
mod daemon;
mod full;
mod kill;
mod node;
mod random;
