//! Every bound of the hook, each with its reason. They are constants on purpose: nothing in the environment can make the
//! hook wait longer or read more.

use std::time::Duration;

/// How long the hook takes at most, from start to exit. containerd kills a verifier after 10 s (its default
/// `per_verifier_timeout`) and then reports an error without a reason; 2 s are left for a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(8);

/// The same in observe mode, where waiting is all the harm that the hook can still do.
pub(crate) const OBSERVE_DEADLINE: Duration = Duration::from_secs(2);

/// How often the question is put at most, when the connection breaks before there is an answer. The first time is a daemon
/// that stops or falls over; the others are for one that does so again.
pub(crate) const MAX_QUESTIONS: u32 = 3;

/// Bytes of standard input. A descriptor takes some 200 bytes, and several KiB with annotations.
pub(crate) const MAX_STDIN: usize = 64 << 10;

/// Bytes of one answer of the daemon. Its reason is at most 512 bytes and everything else is shorter.
pub(crate) const MAX_ANSWER: usize = 16 << 10;

/// Bytes of the bootstrap list: more than a thousand lines, for a list of the dozen images that a node needs to start.
pub(crate) const MAX_BOOTSTRAP_LIST: u64 = 256 << 10;

/// Bytes of the observe flag. Only that it exists counts; the room is for a remark about who set it.
pub(crate) const MAX_OBSERVE_FLAG: u64 = 4 << 10;

/// Bytes of the line on standard output, its newline included. It ends up in the events of a pod.
pub(crate) const MAX_LINE: usize = 512;

/// Bytes shown of a short field of an answer: a rule's name, a revision, a decision's identifier (36 bytes).
pub(crate) const MAX_FIELD: usize = 64;

/// Bytes shown of a note about a file: its path, a line number and what is wrong.
pub(crate) const MAX_NOTE: usize = 256;
