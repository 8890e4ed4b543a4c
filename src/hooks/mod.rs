//! What asks for verdicts: the gRPC services on their unix sockets.

pub mod control;
pub mod evidence;
pub mod metrics;
mod node_images;
pub mod socket;
mod sync;
pub mod verifier;
