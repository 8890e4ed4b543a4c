//! Getting, keeping and refreshing revocation answers, against endpoints that misbehave on demand.

mod client;
mod endpoint;
mod kept;
mod refresh;
mod store;
mod words;
