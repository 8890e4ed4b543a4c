//! Files that only root can have written. What they say is obeyed, so who wrote them is checked first.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

/// Permission bits by which others than the owner could write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads a regular file of root's in a directory of root's, at most `limit` bytes long.
///
/// `Ok(None)` where there is none. Everything is checked on the open descriptors, never on a path, so that nothing can be
/// exchanged between a check and its use; the file itself is no symbolic link. The error says what is wrong, for people.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("is not the path of a file".to_owned());
    };
    let directory = match OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_DIRECTORY.bits())
        .open(directory)
    {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("its directory cannot be opened: {error}")),
    };
    check_owner(&directory).map_err(|fault| format!("its directory {fault}"))?;

    // O_NONBLOCK: opening a pipe would wait for its writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP) => return Err("is a symbolic link".to_owned()),
        Err(error) => return Err(format!("cannot be opened: {}", io::Error::from(error))),
    };
    check_owner(&file)?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("is not a regular file".to_owned());
    }

    let mut content = Vec::new();
    match file.take(limit + 1).read_to_end(&mut content) {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(_) if content.len() as u64 > limit => Err(format!("is longer than {limit} bytes")),
        Ok(_) => Ok(Some(content)),
    }
}

fn check_owner(file: &File) -> Result<(), String> {
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be examined: {error}"))?;
    if metadata.uid() != 0 {
        return Err(format!("belongs to user {}, not to root", metadata.uid()));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "can be written by others (mode {:04o})",
            metadata.mode() & 0o7777
        ));
    }
    Ok(())
}
