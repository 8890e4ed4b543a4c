//! Images whose evidence was seen before, on a node whose registry is away.

mod bundles;
mod hostile;
mod indexes;
mod inventory;
mod lab;
mod stored;
