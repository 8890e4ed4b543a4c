//! PEM files (RFC 7468): where their blocks are.

/// The PEM blocks of a file: from a line that begins one to the end of the line that ends it, or of the file. Text
/// outside of them is ignored (RFC 7468 §2).
pub(crate) fn pem_blocks(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    let mut position = 0;
    std::iter::from_fn(move || {
        let mut start = None;
        for line in lines.by_ref() {
            if line.starts_with(b"-----BEGIN ") && start.is_none() {
                start = Some(position);
            }
            position += line.len();
            if start.is_some() && line.starts_with(b"-----END ") {
                break;
            }
        }
        start.and_then(|start| content.get(start..position))
    })
}
