//! The hook links nothing of the daemon's and has bounds of its own. Where both have one, it is the same.

#[path = "../src/verifier/src/limits.rs"]
#[allow(dead_code, reason = "others of the hook's bounds are its alone")]
mod hook;

use assay_verify::limits;

#[test]
fn the_hook_and_the_daemon_have_the_same_bounds() {
    assert_eq!(hook::DEADLINE, limits::HOOK_DEADLINE);
    assert_eq!(hook::MAX_BOOTSTRAP_LIST, limits::MAX_BOOTSTRAP_LIST_SIZE);
    assert_eq!(hook::MAX_OBSERVE_FLAG, limits::MAX_OBSERVE_FLAG_SIZE);
    // An answer has to arrive before the hook gives up.
    assert!(limits::VERIFY_DEADLINE < hook::DEADLINE);
}
