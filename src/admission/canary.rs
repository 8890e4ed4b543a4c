//! The canary: an image that is always denied, so that a denial of it proves that the hook is in the path of pulls.

use assay_verify::reference::Repository;

/// The repository's path, on whichever registry. No registry that is in use has it: `.invalid` is nobody's (RFC 2606).
pub const CANARY: &str = "assayd.invalid/canary";

/// What is said of it.
pub(super) const REASON: &str = "this is the canary of assayctl doctor, which is always denied";

/// Whether a repository is the canary's.
pub(super) fn is_canary(repository: &Repository) -> bool {
    repository.path() == CANARY
}
