//! A walk over DER, element by element, and the one way to write an element.
//!
//! CRLs have a hundred thousand entries and responses carry what strangers put there: what is not looked at costs no
//! memory. Whatever is read is strict DER: definite lengths in their shortest form, and nothing left over.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, GeneralizedTime};
use der::{Decode as _, Error, Reader as _, Result, SliceReader, Tag, TagNumber, Tagged as _};

use crate::Timestamp;

/// An element: its tag, its content, and both together as they came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) any: AnyRef<'a>,
    pub(crate) whole: &'a [u8],
}

impl<'a> Element<'a> {
    pub(crate) fn tag(&self) -> Tag {
        self.any.tag()
    }

    pub(crate) fn content(&self) -> &'a [u8] {
        self.any.value()
    }

    /// The elements inside, where the tag is the expected one.
    pub(crate) fn inside(&self, tag: Tag) -> Result<Walk<'a>> {
        self.tag().assert_eq(tag)?;
        Ok(Walk::over(self.content()))
    }
}

/// The elements that lie one behind the other in a content.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    pub(crate) const fn over(content: &'a [u8]) -> Self {
        Self { rest: content }
    }

    /// The elements of the one SEQUENCE that the bytes are.
    pub(crate) fn sequence(bytes: &'a [u8]) -> Result<Self> {
        only(bytes)?.inside(Tag::Sequence)
    }

    /// The next element, which must be there.
    pub(crate) fn required(&mut self) -> Result<Element<'a>> {
        let mut reader = SliceReader::new(self.rest)?;
        let any: AnyRef<'a> = reader.decode()?;
        let length = usize::try_from(reader.position())?;
        let (whole, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| Error::incomplete(reader.input_len()))?;
        self.rest = rest;
        Ok(Element { any, whole })
    }

    /// The next element, where it has this tag.
    pub(crate) fn optional(&mut self, tag: Tag) -> Result<Option<Element<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut ahead = self.clone();
        let element = ahead.required()?;
        if element.tag() != tag {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(element))
    }

    /// The next element as something that `der` knows.
    pub(crate) fn decode<T: der::Decode<'a, Error = Error>>(&mut self) -> Result<T> {
        T::from_der(self.required()?.whole)
    }

    /// There is nothing left.
    pub(crate) fn finish(self) -> Result<()> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Tag::Sequence.length_error().into()),
        }
    }
}

/// Ends after the first error.
impl<'a> Iterator for Walk<'a> {
    type Item = Result<Element<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = self.required();
        if next.is_err() {
            self.rest = &[];
        }
        Some(next)
    }
}

/// The one element that the bytes are.
pub(crate) fn only(bytes: &[u8]) -> Result<Element<'_>> {
    let mut walk = Walk::over(bytes);
    let element = walk.required()?;
    walk.finish()?;
    Ok(element)
}

/// `[number]` around other elements.
pub(crate) const fn constructed(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// `[number]` in place of a primitive element's own tag.
pub(crate) const fn primitive(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: false,
        number: TagNumber(number),
    }
}

/// `BOOLEAN` content: one of two octets in DER.
pub(crate) fn boolean(content: &[u8]) -> Result<bool> {
    match content {
        [0x00] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(Tag::Boolean.value_error().into()),
    }
}

/// `GeneralizedTime`, which has neither fractions nor zones here (RFC 5280 §4.1.2.5.2).
pub(crate) fn generalized_time(element: &Element<'_>) -> Result<Timestamp> {
    let time = GeneralizedTime::from_der(element.whole)?;
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| Tag::GeneralizedTime.value_error().into())
}

/// An extension (RFC 5280 §4.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    pub(crate) id: ObjectIdentifier,
    pub(crate) critical: bool,
    pub(crate) value: &'a [u8],
}

impl<'a> Extension<'a> {
    pub(crate) fn read(element: &Element<'a>) -> Result<Self> {
        let mut parts = element.inside(Tag::Sequence)?;
        let id = parts.decode()?;
        let critical = match parts.optional(Tag::Boolean)? {
            Some(flag) => boolean(flag.content())?,
            None => false,
        };
        let value = parts.required()?;
        value.tag().assert_eq(Tag::OctetString)?;
        parts.finish()?;
        Ok(Self {
            id,
            critical,
            value: value.content(),
        })
    }
}

/// The octets of an `INTEGER` in two's complement. There is one encoding of a number, so numbers can be compared by it.
pub(crate) fn integer<'a>(element: &Element<'a>) -> Result<&'a [u8]> {
    element.tag().assert_eq(Tag::Integer)?;
    match element.content() {
        [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(Tag::Integer.non_canonical_error().into()),
        octets => Ok(octets),
    }
}

/// Encodes an element: a tag below 31, and what it contains.
pub(crate) fn write(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let length = length.get(significant..).unwrap_or_default();
    if content.len() >= 0x80 {
        // At most eight bytes of length.
        out.push(0x80 | length.len().to_le_bytes()[0]);
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
}

/// [`write`] into bytes of its own.
pub(crate) fn encoded(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 4);
    write(tag, content, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_elements_one_by_one_and_ends_after_the_first_that_is_none() {
        let tags = |content| -> Vec<Option<Tag>> {
            Walk::over(content)
                .map(|element| element.ok().map(|element| element.tag()))
                .collect()
        };
        assert_eq!(tags(&[]), []);
        assert_eq!(tags(&[5, 0, 2, 1, 1]), [Some(Tag::Null), Some(Tag::Integer)]);
        assert_eq!(tags(&[5, 0, 2, 9, 1]), [Some(Tag::Null), None]);
        // Lengths that are indefinite or longer than needed are not DER.
        assert_eq!(tags(&[0x30, 0x80, 0, 0]), [None]);
        assert_eq!(tags(&[0x04, 0x81, 0x01, 0]), [None]);
    }

    #[test]
    fn an_optional_element_of_another_tag_stays() {
        let mut walk = Walk::over(&[5, 0]);
        assert!(walk.optional(Tag::Integer).unwrap().is_none());
        assert!(walk.clone().finish().is_err());
        assert!(walk.optional(Tag::Null).unwrap().is_some());
        assert!(walk.optional(Tag::Null).unwrap().is_none());
        walk.finish().unwrap();
    }

    #[test]
    fn a_number_has_one_encoding() {
        let read = |content: &[u8]| {
            let bytes = [&[2, u8::try_from(content.len()).unwrap()], content].concat();
            integer(&only(&bytes).unwrap()).is_ok()
        };
        for good in [&[0][..], &[0x7f], &[0, 0x80], &[0x80], &[0xff], &[0xff, 0x7f]] {
            assert!(read(good), "{good:?}");
        }
        for bad in [&[][..], &[0, 0], &[0, 0x7f], &[0xff, 0x80], &[0xff, 0xff]] {
            assert!(!read(bad), "{bad:?}");
        }
        assert!(integer(&only(&[4, 1, 1]).unwrap()).is_err());
    }

    #[test]
    fn a_flag_is_one_of_two_octets() {
        assert_eq!((boolean(&[0]), boolean(&[0xff])), (Ok(false), Ok(true)));
        for bad in [&[][..], &[1], &[0xff, 0xff]] {
            assert!(boolean(bad).is_err());
        }
    }

    #[test]
    fn an_extension_has_an_id_a_flag_and_octets() {
        let read = |content: &[u8]| {
            let bytes = [&[0x30, u8::try_from(content.len()).unwrap()], content].concat();
            let extension = Extension::read(&only(&bytes).unwrap()).ok()?;
            Some((extension.critical, extension.value.to_vec()))
        };
        assert_eq!(read(&[6, 1, 0x2a, 4, 1, 7]), Some((false, vec![7])));
        assert_eq!(read(&[6, 1, 0x2a, 1, 1, 0xff, 4, 1, 7]), Some((true, vec![7])));
        for bad in [
            &[6, 1, 0x2a][..],
            &[6, 1, 0x2a, 4, 1, 7, 5, 0],
            &[6, 1, 0x2a, 1, 1, 1, 4, 1, 7],
            &[4, 1, 7],
            &[6, 1, 0x2a, 5, 0],
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
