//! `TSTInfo`: what a timestamp authority signs (RFC 3161 §2.4.2). It is DER by that section, whatever surrounds it.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, GeneralizedTime, IntRef, OctetStringRef};
use der::{DateTime, FixedTag as _, Reader as _, Sequence, SliceReader, Tagged as _};
use x509_cert::spki::AlgorithmIdentifierRef;

use crate::Timestamp;
use crate::crypto::Hash;
use crate::limits::MAX_ATTRIBUTES;
use crate::timestamp::{TimestampError, elements, implicit};
use crate::untrusted::Untrusted;
use crate::x509::certificate::hash_algorithm;

/// ETSI EN 319 421's baseline policy: an authority that says nothing else is accurate to a second
/// (notation spec: trust-store-trust-policy.md#signature-verification-details, RFC 3628 §5.1).
const BASELINE_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.2023.1.1");
const BASELINE_ACCURACY: Duration = Duration::from_secs(1);

const PART: &str = "TSTInfo";

/// What a token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TstInfo<'a> {
    pub(super) hash: Hash,
    pub(super) imprint: &'a [u8],
    pub(super) generated_at: Timestamp,
    pub(super) accuracy: Duration,
}

/// `TSTInfo` up to its time; what follows is optional.
struct Wire<'a> {
    version: u8,
    policy: ObjectIdentifier,
    imprint: MessageImprint<'a>,
    generated_at: &'a [u8],
    accuracy: Option<Accuracy>,
    extensions: Option<&'a [u8]>,
}

#[derive(Sequence)]
struct MessageImprint<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    digest: &'a OctetStringRef,
}

#[derive(Sequence)]
struct Accuracy {
    #[asn1(optional = "true")]
    seconds: Option<u64>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    milliseconds: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    microseconds: Option<u16>,
}

#[derive(Sequence)]
struct Extension<'a> {
    id: ObjectIdentifier,
    #[asn1(default = "bool::default")]
    critical: bool,
    _value: &'a OctetStringRef,
}

impl<'a> Wire<'a> {
    fn read(der: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let wire = reader.sequence(|reader| {
            let version = reader.decode()?;
            let policy = reader.decode()?;
            let imprint = reader.decode()?;
            let _serial_number: IntRef<'a> = reader.decode()?;
            let generated_at: AnyRef<'a> = reader.decode()?;
            generated_at.tag().assert_eq(GeneralizedTime::TAG)?;
            let accuracy = reader.decode()?;
            let _ordering: Option<bool> = reader.decode()?;
            let _nonce: Option<IntRef<'a>> = reader.decode()?;
            let _tsa = implicit(reader, 0)?;
            let extensions = implicit(reader, 1)?;
            Ok::<_, der::Error>(Self {
                version,
                policy,
                imprint,
                generated_at: generated_at.value(),
                accuracy,
                extensions,
            })
        })?;
        reader.finish()?;
        Ok(wire)
    }
}

fn malformed(error: der::Error) -> TimestampError {
    TimestampError::Malformed {
        part: PART,
        cause: error.to_string().into(),
    }
}

impl<'a> TstInfo<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, TimestampError> {
        let wire = Wire::read(der).map_err(malformed)?;
        if wire.version != 1 {
            return Err(TimestampError::TstInfoVersion(wire.version));
        }
        let algorithm = &wire.imprint.algorithm;
        let hash = hash_algorithm(algorithm).ok_or(TimestampError::ImprintAlgorithm(algorithm.oid))?;
        let extensions = elements(wire.extensions.unwrap_or_default(), MAX_ATTRIBUTES)
            .map_err(malformed)?
            .ok_or(TimestampError::TooMany {
                what: "extensions",
                limit: MAX_ATTRIBUTES,
            })?;
        for extension in extensions {
            let extension = <Extension<'_> as der::Decode<'_>>::from_der(extension).map_err(malformed)?;
            if extension.critical {
                return Err(TimestampError::CriticalExtension(extension.id));
            }
        }
        let accuracy = match wire.accuracy {
            Some(accuracy) => accuracy.duration().ok_or(TimestampError::Accuracy)?,
            None => Duration::ZERO,
        };
        Ok(Self {
            hash,
            imprint: wire.imprint.digest.as_bytes(),
            generated_at: moment(wire.generated_at)
                .ok_or_else(|| TimestampError::GeneratedAt(Untrusted::from_bytes(wire.generated_at)))?,
            // No clock is perfect: an accuracy of nothing is none that was given.
            accuracy: match accuracy {
                Duration::ZERO if wire.policy == BASELINE_POLICY => BASELINE_ACCURACY,
                accuracy => accuracy,
            },
        })
    }
}

impl Accuracy {
    /// None when a part is out of its range of 1 to 999. A zero adds nothing, and is let pass.
    fn duration(&self) -> Option<Duration> {
        let part = |value: Option<u16>| value.or(Some(0)).filter(|value| *value <= 999).map(u64::from);
        let milliseconds = Duration::from_millis(part(self.milliseconds)?);
        let microseconds = Duration::from_micros(part(self.microseconds)?);
        Duration::from_secs(self.seconds.unwrap_or_default()).checked_add(milliseconds + microseconds)
    }
}

/// Reads `YYYYMMDDhhmmss[.s...]Z`: seconds are there, no zero ends the fraction, and the zone is Z. Fractions finer than
/// the clock type and leap seconds are refused.
fn moment(text: &[u8]) -> Option<Timestamp> {
    let (date_time, fraction) = text.strip_suffix(b"Z")?.split_at_checked(14)?;
    let number = |range: std::ops::Range<usize>| {
        let digits = date_time.get(range)?;
        digits.iter().try_fold(0_u16, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
        })
    };
    let two = |start: usize| u8::try_from(number(start..start + 2)?).ok();
    let seconds = DateTime::new(number(0..4)?, two(4)?, two(6)?, two(8)?, two(10)?, two(12)?)
        .ok()?
        .unix_duration()
        .as_secs();
    let nanoseconds = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) && !digits.ends_with(b"0") => {
            let value = digits.iter().try_fold(0_i32, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + i32::from(digit - b'0'))
            })?;
            (digits.len()..9).fold(value, |value, _| value * 10)
        }
        _ => return None,
    };
    Timestamp::new(i64::try_from(seconds).ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_with_their_fractions() {
        for (text, expected) in [
            ("20210917140910Z", "2021-09-17T14:09:10Z"),
            ("20250121091746.641Z", "2025-01-21T09:17:46.641Z"),
            ("20240229000000.000000001Z", "2024-02-29T00:00:00.000000001Z"),
            ("20240229235959.5Z", "2024-02-29T23:59:59.5Z"),
        ] {
            assert_eq!(moment(text.as_bytes()), Some(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn refuses_times_that_are_written_otherwise() {
        for text in [
            "",
            "Z",
            "2021091714Z",
            "202109171409Z",
            "20210917140910",
            "20210917140910z",
            "20210917140910+0000",
            "20210917140910.Z",
            "20210917140910.0Z",
            "20210917140910.50Z",
            "20210917140910,5Z",
            "20210917140910.1234567891Z",
            "20210917140910.-1Z",
            "20210917140910 Z",
            "+2021091714091Z",
            "20210229140910Z",
            "20211317140910Z",
            "20210917240000Z",
            "20210917235960Z",
            "210917140910Z",
        ] {
            assert_eq!(moment(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn adds_the_parts_of_an_accuracy() {
        let accuracy = |seconds, milliseconds, microseconds| {
            Accuracy {
                seconds,
                milliseconds,
                microseconds,
            }
            .duration()
        };
        assert_eq!(
            accuracy(Some(1), Some(2), Some(3)),
            Some(Duration::from_micros(1_002_003))
        );
        assert_eq!(accuracy(None, Some(500), None), Some(Duration::from_millis(500)));
        assert_eq!(accuracy(None, None, None), Some(Duration::ZERO));
        assert_eq!(accuracy(None, Some(1000), None), None);
        assert_eq!(accuracy(None, None, Some(1000)), None);
        assert!(accuracy(Some(u64::MAX), Some(999), Some(999)).is_some());
    }
}
