//! What the hook admits while assayd is away: lines of `repository@digest`, read by the hook's own rules.

use assay_verify::reference::Reference;

/// One line that says something.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// An image that the hook admits.
    Image(Reference),
    /// Not `repository@digest`: the hook passes over it.
    Malformed,
}

/// Reads the list: lines with their numbers, without empty ones and comments.
pub fn parse(content: &[u8]) -> Vec<(usize, Line)> {
    let line = |(number, line): (usize, &[u8])| {
        let Ok(text) = std::str::from_utf8(line) else {
            return Some((number, Line::Malformed));
        };
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return None;
        }
        let image = text.parse::<Reference>().ok().filter(|image| image.digest.is_some());
        Some((number, image.map_or(Line::Malformed, Line::Image)))
    };
    (1..)
        .zip(content.split(|byte| *byte == b'\n'))
        .filter_map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_image_with_its_digest_or_malformed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let list =
            format!("# pause\nregistry.k8s.io/pause:3.10@{digest} # why\n\nregistry.k8s.io/pause:3.10\n\u{e9}\n");
        let mut list = list.into_bytes();
        list.extend(b"\xff\n");
        let read = parse(&list);
        assert!(matches!(
            &read[..],
            [
                (2, Line::Image(_)),
                (4, Line::Malformed),
                (5, Line::Malformed),
                (6, Line::Malformed)
            ]
        ));
    }
}
