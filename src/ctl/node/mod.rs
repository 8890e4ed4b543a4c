//! What a node runs and how it is set up: containerd's effective configuration, the folder of image verifiers, the hook's
//! files, and CRI. Read by `hook`, `doctor` and `bootstrap`; nothing here changes the node but [`place`].

pub(super) mod command;
pub(super) mod containerd;
pub(super) mod cri;
pub(super) mod effective;
pub(super) mod hook_files;
pub(super) mod imports;
pub(super) mod place;
pub(super) mod verifiers;
pub(super) mod version;
