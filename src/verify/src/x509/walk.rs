//! A walk over DER, element by element.
//!
//! CRLs have a hundred thousand entries and responses carry what strangers put there: what is not looked at costs no
//! memory. Whatever is read is strict DER: definite lengths in their shortest form, and nothing left over.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, GeneralizedTime};
use der::{Decode as _, Error, Reader as _, Result, SliceReader, Tag, TagNumber, Tagged as _};

use crate::Timestamp;

/// An element: its tag, its content, and both together as they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) any: AnyRef<'a>,
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    pub(super) fn tag(&self) -> Tag {
        self.any.tag()
    }

    pub(super) fn content(&self) -> &'a [u8] {
        self.any.value()
    }

    /// The elements inside, where the tag is the expected one.
    pub(super) fn inside(&self, tag: Tag) -> Result<Walk<'a>> {
        self.tag().assert_eq(tag)?;
        Ok(Walk::over(self.content()))
    }
}

/// The elements that lie one behind the other in a content.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    pub(super) const fn over(content: &'a [u8]) -> Self {
        Self { rest: content }
    }

    /// The elements of the one SEQUENCE that the bytes are.
    pub(super) fn sequence(bytes: &'a [u8]) -> Result<Self> {
        only(bytes)?.inside(Tag::Sequence)
    }

    /// The next element, which must be there.
    pub(super) fn required(&mut self) -> Result<Element<'a>> {
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
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<Element<'a>>> {
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
    pub(super) fn decode<T: der::Decode<'a, Error = Error>>(&mut self) -> Result<T> {
        T::from_der(self.required()?.whole)
    }

    /// There is nothing left.
    pub(super) fn finish(self) -> Result<()> {
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
pub(super) fn only(bytes: &[u8]) -> Result<Element<'_>> {
    let mut walk = Walk::over(bytes);
    let element = walk.required()?;
    walk.finish()?;
    Ok(element)
}

/// `[number]` around other elements.
pub(super) const fn constructed(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// `[number]` in place of a primitive element's own tag.
pub(super) const fn primitive(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: false,
        number: TagNumber(number),
    }
}

/// `BOOLEAN` content: one of two octets in DER.
pub(super) fn boolean(content: &[u8]) -> Result<bool> {
    match content {
        [0x00] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(Tag::Boolean.value_error().into()),
    }
}

/// `GeneralizedTime`, which has neither fractions nor zones here (RFC 5280 §4.1.2.5.2).
pub(super) fn generalized_time(element: &Element<'_>) -> Result<Timestamp> {
    let time = GeneralizedTime::from_der(element.whole)?;
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| Tag::GeneralizedTime.value_error().into())
}

/// An extension (RFC 5280 §4.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Extension<'a> {
    pub(super) id: ObjectIdentifier,
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Extension<'a> {
    pub(super) fn read(element: &Element<'a>) -> Result<Self> {
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
pub(super) fn integer<'a>(element: &Element<'a>) -> Result<&'a [u8]> {
    element.tag().assert_eq(Tag::Integer)?;
    match element.content() {
        [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(Tag::Integer.non_canonical_error().into()),
        octets => Ok(octets),
    }
}
