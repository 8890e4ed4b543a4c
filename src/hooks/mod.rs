//! What asks for verdicts: the gRPC services on their unix sockets.

pub mod control;
pub mod evidence;
pub mod socket;
pub mod verifier;
