//! A layout in a tar: where its blobs are, and its two fixed files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_LAYOUT_TAR_ENTRIES, MAX_MANIFEST_SIZE, MAX_TAR_NAME_LENGTH};

use super::{LayoutError, Source, read_at};

/// What a tar holds: its blobs, `oci-layout` and `index.json`.
pub(super) type Scanned = (Source, Option<Vec<u8>>, Option<Vec<u8>>);

/// Finds the blobs of a tar, and reads its two fixed files.
pub(super) fn scan(path: &Path, file: File) -> Result<Scanned, LayoutError> {
    let malformed = |error: io::Error| LayoutError::NotALayout {
        path: path.to_owned(),
        cause: format!("reading it as a tar: {error}").into(),
    };
    let mut blobs = HashMap::new();
    let (mut marker, mut index) = (None, None);
    // Raw, because otherwise the tar crate reads extension headers of any size into memory.
    let mut archive = tar::Archive::new(&file);
    let mut long_name = None;
    for (count, entry) in archive.entries_with_seek().map_err(malformed)?.raw(true).enumerate() {
        if count >= MAX_LAYOUT_TAR_ENTRIES {
            return Err(LayoutError::TooManyEntries {
                path: path.to_owned(),
                limit: MAX_LAYOUT_TAR_ENTRIES,
            });
        }
        let mut entry = entry.map_err(malformed)?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let mut extension = Vec::new();
            entry
                .by_ref()
                .take(MAX_TAR_NAME_LENGTH)
                .read_to_end(&mut extension)
                .map_err(malformed)?;
            let name = if kind.is_gnu_longname() {
                extension.split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
            } else {
                tar::PaxExtensions::new(&extension)
                    .flatten()
                    .find(|extension| extension.key_bytes() == b"path")
                    .map(|extension| extension.value_bytes().to_vec())
            };
            long_name = name.or(long_name);
            continue;
        }
        if kind.is_gnu_longlink() || kind.is_pax_global_extensions() {
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        if !kind.is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&name);
        let name = name.strip_prefix("./").unwrap_or(&name);
        let place = (entry.raw_file_position(), entry.size());
        let fixed = match name {
            "oci-layout" => &mut marker,
            "index.json" => &mut index,
            _ => {
                let digest = name
                    .strip_prefix("blobs/")
                    .and_then(|rest| rest.replacen('/', ":", 1).parse::<Digest>().ok());
                if let Some(digest) = digest {
                    blobs.entry(digest).or_insert(place);
                }
                continue;
            }
        };
        if fixed.replace(place).is_some() {
            return Err(LayoutError::NotALayout {
                path: path.to_owned(),
                cause: format!("it holds {name} twice").into(),
            });
        }
    }
    let read = |place: Option<(u64, u64)>| {
        place
            .map(|(offset, size)| read_at(&file, offset, size, MAX_MANIFEST_SIZE))
            .transpose()
            .map_err(malformed)
    };
    let (marker, index) = (read(marker)?, read(index)?);
    Ok((Source::Tar { file, blobs }, marker, index))
}
