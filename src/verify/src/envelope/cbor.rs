//! CBOR that means one thing (RFC 8949 §4.2): definite lengths, shortest heads, no duplicate key at any level, nothing
//! behind the end, bounded depth and number of values.
//!
//! The CBOR library accepts all of what is refused here. So the bytes are walked first, without allocating for what they
//! declare, and parsed after.

use thiserror::Error;

use super::EnvelopeError;
use crate::limits::{MAX_ENVELOPE_VALUES, MAX_NESTING};

/// Why bytes are not strict CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum NotStrict {
    #[error("CBOR ends too early")]
    End,
    #[error("CBOR has bytes behind its end")]
    Trailing,
    #[error("CBOR has an item of indefinite length")]
    Indefinite,
    #[error("CBOR has a reserved or unassigned item")]
    Reserved,
    #[error("CBOR has a number or length that is not in its shortest form")]
    NotShortest,
    #[error("CBOR has text that is not UTF-8")]
    Text,
    #[error("CBOR has a map with duplicate keys")]
    DuplicateKey,
}

impl From<NotStrict> for EnvelopeError {
    fn from(error: NotStrict) -> Self {
        Self::Malformed(error.to_string().into())
    }
}

/// Checks that `bytes` are exactly one strict item.
pub(super) fn check(bytes: &[u8]) -> Result<(), EnvelopeError> {
    let mut walk = Walk {
        rest: bytes,
        values: MAX_ENVELOPE_VALUES,
    };
    walk.item(0)?;
    if walk.rest.is_empty() {
        Ok(())
    } else {
        Err(NotStrict::Trailing.into())
    }
}

/// The content of the byte string that `bytes` start with, if they do.
pub(super) fn leading_byte_string(bytes: &[u8]) -> Option<&[u8]> {
    let mut walk = Walk { rest: bytes, values: 1 };
    match walk.head().ok()? {
        (Major::Bytes, length) => walk.take(length).ok(),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Major {
    Unsigned,
    Negative,
    Bytes,
    Text,
    Array,
    Map,
    Tag,
    SimpleOrFloat,
}

struct Walk<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Walk<'a> {
    fn item(&mut self, depth: usize) -> Result<(), EnvelopeError> {
        if depth > MAX_NESTING {
            return Err(EnvelopeError::TooDeep);
        }
        self.values = self.values.checked_sub(1).ok_or(EnvelopeError::TooManyValues)?;
        let (major, argument) = self.head()?;
        match major {
            Major::Unsigned | Major::Negative | Major::SimpleOrFloat => {}
            Major::Bytes => {
                self.take(argument)?;
            }
            Major::Text => {
                std::str::from_utf8(self.take(argument)?).map_err(|_| NotStrict::Text)?;
            }
            Major::Tag => self.item(depth + 1)?,
            Major::Array => {
                for _ in 0..argument {
                    self.item(depth + 1)?;
                }
            }
            Major::Map => {
                let mut keys = Vec::new();
                for _ in 0..argument {
                    keys.push(self.key(depth + 1)?);
                    self.item(depth + 1)?;
                }
                // Heads are shortest, so equal keys are equal bytes.
                keys.sort_unstable();
                if keys.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
                    return Err(NotStrict::DuplicateKey.into());
                }
            }
        }
        Ok(())
    }

    /// The bytes of one item.
    fn key(&mut self, depth: usize) -> Result<&'a [u8], EnvelopeError> {
        let start = self.rest;
        self.item(depth)?;
        let length = start.len() - self.rest.len();
        Ok(start.get(..length).unwrap_or_default())
    }

    /// The head of an item (RFC 8949 §3).
    fn head(&mut self) -> Result<(Major, u64), NotStrict> {
        let &[initial] = self.array::<1>()?;
        let major = match initial >> 5 {
            0 => Major::Unsigned,
            1 => Major::Negative,
            2 => Major::Bytes,
            3 => Major::Text,
            4 => Major::Array,
            5 => Major::Map,
            6 => Major::Tag,
            _ => Major::SimpleOrFloat,
        };
        let information = initial & 0x1f;
        // The least value that needs a form as long as the one it came in.
        let (argument, least) = match information {
            0..=23 => (u64::from(information), 0),
            24 => (u64::from(u8::from_be_bytes(*self.array()?)), 24),
            25 => (u64::from(u16::from_be_bytes(*self.array()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(*self.array()?)), 1 << 16),
            27 => (u64::from_be_bytes(*self.array()?), 1 << 32),
            31 => return Err(NotStrict::Indefinite),
            _ => return Err(NotStrict::Reserved),
        };
        match major {
            // 25 to 27 are floats of three widths, 24 a simple value in two bytes (§3.3).
            Major::SimpleOrFloat if information == 24 && argument < 32 => Err(NotStrict::Reserved),
            Major::SimpleOrFloat => Ok((major, argument)),
            _ if argument < least => Err(NotStrict::NotShortest),
            _ => Ok((major, argument)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], NotStrict> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(NotStrict::End)?;
        self.rest = rest;
        Ok(head)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], NotStrict> {
        let length = usize::try_from(length).map_err(|_| NotStrict::End)?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(NotStrict::End)?;
        self.rest = rest;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_items_in_their_one_form() {
        for bytes in [
            &b"\x00"[..],
            b"\x18\x18",
            b"\x19\x01\x00",
            b"\x1b\x00\x00\x00\x01\x00\x00\x00\x00",
            b"\x20",
            b"\x41\xff",
            b"\x61a",
            b"\x82\x01\x80",
            b"\xa2\x01\x02\x02\x01",
            b"\xc1\x1a\x63\x05\xc2\xc4",
            b"\xf4",
            b"\xf9\x3c\x00",
        ] {
            assert_eq!(check(bytes), Ok(()), "{bytes:x?}");
        }
    }

    #[test]
    fn refuses_items_that_could_be_read_in_two_ways() {
        for (bytes, expected) in [
            (&b""[..], NotStrict::End),
            (b"\x41", NotStrict::End),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", NotStrict::End),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", NotStrict::End),
            (b"\x00\x00", NotStrict::Trailing),
            (b"\x9f\xff", NotStrict::Indefinite),
            (b"\xbf\xff", NotStrict::Indefinite),
            (b"\x5f\x41\x00\xff", NotStrict::Indefinite),
            (b"\xff", NotStrict::Indefinite),
            (b"\x1c", NotStrict::Reserved),
            (b"\xf8\x10", NotStrict::Reserved),
            (b"\x18\x17", NotStrict::NotShortest),
            (b"\x58\x01\x00", NotStrict::NotShortest),
            (b"\x19\x00\xff", NotStrict::NotShortest),
            (b"\x1a\x00\x00\xff\xff", NotStrict::NotShortest),
            (b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", NotStrict::NotShortest),
            (b"\x61\xff", NotStrict::Text),
            (b"\xa2\x01\x00\x01\x00", NotStrict::DuplicateKey),
            (b"\x81\xa3\x61a\x00\x02\x00\x61a\x00", NotStrict::DuplicateKey),
        ] {
            assert_eq!(check(bytes), Err(expected.into()), "{bytes:x?}");
        }
    }

    #[test]
    fn stops_at_the_limits_of_depth_and_number() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0]].concat();
        assert_eq!(check(&nested(MAX_NESTING)), Ok(()));
        assert_eq!(check(&nested(MAX_NESTING + 1)), Err(EnvelopeError::TooDeep));
        let many = [vec![0x99, 0x04, 0x01], vec![0; 1025]].concat();
        assert_eq!(check(&many), Err(EnvelopeError::TooManyValues));
    }
}
