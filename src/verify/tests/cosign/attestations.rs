//! Attestations that a rule asks for.
