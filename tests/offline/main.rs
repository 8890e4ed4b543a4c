//! Images whose evidence was seen before, on a node whose registry is away.

mod indexes;
mod lab;
mod stored;
