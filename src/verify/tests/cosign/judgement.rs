//! The judgement of an image by signatures of cosign.
