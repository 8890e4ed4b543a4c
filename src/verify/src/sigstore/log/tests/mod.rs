//! Entries made here, with logs whose keys are made here: each as it should be, and then wrong in one thing.

mod attacks;
mod bindings;
mod checkpoints;
mod evidence;
mod fixture;
mod trees;
