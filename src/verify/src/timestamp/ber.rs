//! BER to DER, as far as CMS needs it: what a timestamp authority wrote with indefinite lengths, lengths that are longer
//! than needed, or octet strings in pieces (X.690 §8.1.3, §8.7.3) comes out as X.690 §10 prescribes. DER comes out as it
//! is.
//!
//! Deliberately absent: what would need to know the types. Pieces of a string behind an implicit tag stay in pieces, the
//! elements of sets stay in their order, and contents stay as they are. The reader of the structure refuses what is not
//! DER then; only the signed attributes are sorted, by who verifies them.

use crate::limits::MAX_NESTING;
use crate::timestamp::TimestampError;
use crate::x509::walk::write;

const CONSTRUCTED: u8 = 0x20;
const NUMBER: u8 = 0x1f;
const OCTET_STRING: u8 = 0x04;
const END_OF_CONTENTS: [u8; 2] = [0, 0];

/// Re-encodes exactly one element. The result is hardly longer than the input: a definite length takes no more than an
/// indefinite one with its end, but for one byte in contents above 64 KiB.
///
/// # Errors
///
/// When it is not BER, has a tag that CMS does not use, or nests too deep.
pub(super) fn to_der(ber: &[u8]) -> Result<Vec<u8>, TimestampError> {
    let mut reader = Reader(ber);
    let element = reader.element(0)?;
    if !reader.0.is_empty() {
        return Err(malformed("bytes follow it"));
    }
    let mut der = Vec::with_capacity(ber.len());
    element.write(&mut der);
    Ok(der)
}

fn malformed(cause: &str) -> TimestampError {
    TimestampError::Malformed {
        part: "encoding",
        cause: cause.into(),
    }
}

/// An element whose content is DER.
struct Element {
    tag: u8,
    content: Vec<u8>,
}

impl Element {
    fn write(&self, out: &mut Vec<u8>) {
        write(self.tag, &self.content, out);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, TimestampError> {
        let (byte, rest) = self.0.split_first().ok_or_else(|| malformed("it is cut short"))?;
        self.0 = rest;
        Ok(*byte)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], TimestampError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| malformed("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A length of content; none where its end is marked.
    fn length(&mut self) -> Result<Option<usize>, TimestampError> {
        match self.byte()? {
            0x80 => Ok(None),
            short @ 0..0x80 => Ok(Some(short.into())),
            long => {
                let mut length = 0_usize;
                for byte in self.take(usize::from(long & 0x7f))? {
                    // Nothing is that long here; a length that no number holds is not either.
                    length = length
                        .checked_mul(256)
                        .ok_or_else(|| malformed("it is cut short"))?
                        .saturating_add(usize::from(*byte));
                }
                Ok(Some(length))
            }
        }
    }

    /// The next element. Each level is a call: the depth is bounded.
    fn element(&mut self, depth: usize) -> Result<Element, TimestampError> {
        if depth == MAX_NESTING {
            return Err(TimestampError::TooDeep(MAX_NESTING));
        }
        let tag = self.byte()?;
        if tag == 0 {
            return Err(malformed("an end of contents has no begin"));
        }
        if tag & NUMBER == NUMBER {
            return Err(malformed("a tag has a number above 30"));
        }
        let length = self.length()?;
        if tag & CONSTRUCTED == 0 {
            let length = length.ok_or_else(|| malformed("a primitive element has no length"))?;
            let content = self.take(length)?.to_vec();
            return Ok(Element { tag, content });
        }
        let in_pieces = tag == OCTET_STRING | CONSTRUCTED;
        let mut content = Vec::new();
        let mut add = |element: Element| match (in_pieces, element.tag) {
            (false, _) => {
                element.write(&mut content);
                Ok(())
            }
            (true, OCTET_STRING) => {
                content.extend_from_slice(&element.content);
                Ok(())
            }
            (true, _) => Err(malformed("a piece of an octet string is something else")),
        };
        match length {
            Some(length) => {
                let mut inner = Reader(self.take(length)?);
                while !inner.0.is_empty() {
                    add(inner.element(depth + 1)?)?;
                }
            }
            None => {
                while !self.0.starts_with(&END_OF_CONTENTS) {
                    add(self.element(depth + 1)?)?;
                }
                self.take(END_OF_CONTENTS.len())?;
            }
        }
        let tag = if in_pieces { OCTET_STRING } else { tag };
        Ok(Element { tag, content })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(ber: &[u8], der: &[u8]) {
        assert_eq!(to_der(ber).as_deref(), Ok(der));
        assert_eq!(to_der(der).as_deref(), Ok(der), "DER comes out as it is");
    }

    #[test]
    fn makes_indefinite_lengths_definite() {
        check(
            &[0x30, 0x80, 0xa0, 0x80, 2, 1, 5, 0, 0, 0, 0],
            &[0x30, 5, 0xa0, 3, 2, 1, 5],
        );
        check(&[0x30, 0x80, 0, 0], &[0x30, 0]);
    }

    #[test]
    fn makes_lengths_as_short_as_they_can_be() {
        check(&[0x30, 0x84, 0, 0, 0, 4, 2, 0x81, 1, 5], &[0x30, 3, 2, 1, 5]);
        let long = [&[0x04, 0x82, 0, 0x80][..], &[7; 0x80]].concat();
        check(&long, &[&[0x04, 0x81, 0x80][..], &[7; 0x80]].concat());
        let longer = [&[0x04, 0x83, 0, 1, 0][..], &[7; 0x100]].concat();
        check(&longer, &[&[0x04, 0x82, 1, 0][..], &[7; 0x100]].concat());
    }

    #[test]
    fn joins_the_pieces_of_octet_strings() {
        check(&[0x24, 0x80, 4, 1, 1, 0x24, 5, 4, 1, 2, 4, 0, 0, 0], &[4, 2, 1, 2]);
        check(&[0x24, 0], &[4, 0]);
    }

    #[test]
    fn refuses_what_is_not_ber() {
        for ber in [
            &[][..],
            &[0x30],
            &[0x30, 2, 5],
            &[0x30, 0x80],
            &[0x30, 0x80, 0],
            &[0x30, 0x80, 5, 0],
            &[0x30, 3, 0x30, 0x80, 0],
            &[0x30, 2, 0, 0],
            &[0, 0],
            &[4, 0x80, 0, 0],
            &[4, 0xff],
            &[4, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0x24, 3, 2, 1, 1],
            &[0x1f, 1, 0],
            &[5, 0, 5, 0],
        ] {
            let error = to_der(ber).unwrap_err();
            assert!(matches!(error, TimestampError::Malformed { .. }), "{ber:?}: {error}");
        }
    }

    #[test]
    fn refuses_deep_nesting_before_the_stack_ends() {
        let nested = |depth| [[0x30, 0x80].repeat(depth), [0, 0].repeat(depth)].concat();
        assert!(to_der(&nested(MAX_NESTING)).is_ok());
        assert_eq!(
            to_der(&nested(MAX_NESTING + 1)),
            Err(TimestampError::TooDeep(MAX_NESTING))
        );
        assert_eq!(
            to_der(&[0x30, 0x80].repeat(30_000)),
            Err(TimestampError::TooDeep(MAX_NESTING))
        );
    }

    /// An element as DER, and the same as somebody may write it in BER.
    type Pair = (Vec<u8>, Vec<u8>);

    fn definite(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = Vec::new();
        write(tag, content, &mut der);
        der
    }

    /// An indefinite length, or one of four bytes.
    fn loose(tag: u8, content: &[u8], indefinite: bool) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        match indefinite {
            true => [&[tag, 0x80][..], content, &END_OF_CONTENTS].concat(),
            false => [&[tag, 0x84][..], &length, content].concat(),
        }
    }

    fn elements() -> impl Strategy<Value = Pair> {
        let primitive = (1_u8..31, vec(any::<u8>(), 0..200))
            .prop_map(|(tag, content)| (definite(tag, &content), loose(tag, &content, false)));
        let in_pieces = (vec(vec(any::<u8>(), 0..80), 0..4), any::<bool>()).prop_map(|(pieces, indefinite)| {
            let encoded: Vec<u8> = pieces.iter().flat_map(|piece| loose(4, piece, false)).collect();
            (definite(4, &pieces.concat()), loose(0x24, &encoded, indefinite))
        });
        prop_oneof![primitive, in_pieces].prop_recursive(6, 40, 4, |inner| {
            let tags = prop_oneof![Just(0x30_u8), Just(0x31), Just(0xa0), Just(0xa3), Just(0x7e)];
            (tags, vec(inner, 0..4), any::<bool>()).prop_map(|(tag, children, indefinite)| {
                let (der, ber): (Vec<_>, Vec<_>) = children.into_iter().unzip();
                (definite(tag, &der.concat()), loose(tag, &ber.concat(), indefinite))
            })
        })
    }

    proptest! {
        #[test]
        fn every_way_to_write_an_element_is_one((der, ber) in elements()) {
            prop_assert_eq!(to_der(&ber), Ok(der.clone()));
            prop_assert_eq!(to_der(&der), Ok(der.clone()));
        }

        #[test]
        fn a_result_is_der_and_hardly_longer(bytes in vec(any::<u8>(), 0..64)) {
            if let Ok(der) = to_der(&bytes) {
                prop_assert!(der.len() <= bytes.len());
                prop_assert_eq!(to_der(&der), Ok(der.clone()));
            }
        }
    }
}
