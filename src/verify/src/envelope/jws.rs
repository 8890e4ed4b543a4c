//! JWS envelopes (notation spec: signature-envelope-jws.md; RFC 7515).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    AUTHENTIC_SIGNING_TIME, AttributeName, AttributeValue, EXPIRY, Envelope, EnvelopeError, Headers, SIGNING_SCHEME,
    SIGNING_TIME, TIMESTAMP_SIGNATURE, VERIFICATION_PLUGIN, VERIFICATION_PLUGIN_MIN_VERSION, certificates, json,
};
use crate::Timestamp;
use crate::crypto::EnvelopeAlgorithm;
use crate::limits::{MAX_ATTRIBUTES, MAX_CHAIN_LENGTH};

pub(super) fn parse(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    let document = json::parse(bytes)?;
    let document = object(&document, "the envelope")?;
    // RFC 7515 §7.2.2: the flattened syntax has no "signatures". Other unknown members are ignored (§7.2.1).
    if document.contains_key("signatures") {
        return Err(EnvelopeError::Malformed("it is not in the flattened syntax".into()));
    }
    let payload = text(document, "payload")?;
    let protected = text(document, "protected")?;
    let signature = decode(text(document, "signature")?, "signature")?;
    let unprotected = object(
        document.get("header").ok_or(EnvelopeError::Missing("header"))?,
        "header",
    )?;
    let headers = json::parse(&decode(protected, "protected")?)?;
    let headers = object(&headers, "protected")?;
    if headers.len() > MAX_ATTRIBUTES || unprotected.len() > MAX_ATTRIBUTES {
        return Err(EnvelopeError::TooManyAttributes);
    }
    // RFC 7515 §7.2.1: the names in the two headers must be disjoint.
    if let Some(name) = unprotected.keys().find(|name| headers.contains_key(*name)) {
        return Err(EnvelopeError::DuplicateHeader(name.as_str().into()));
    }
    let algorithm = text(headers, "alg")?;
    Ok(Envelope {
        algorithm: EnvelopeAlgorithm::from_name(algorithm).ok_or_else(|| EnvelopeError::Algorithm(algorithm.into()))?,
        certificates: chain(unprotected)?,
        // RFC 7515 §5.1 step 8: what is signed is the text as it came.
        signed: [protected.as_bytes(), b".", payload.as_bytes()].concat(),
        signature,
        attributes: read(headers)?.check()?,
        payload: decode(payload, "payload")?,
        timestamp_token: unprotected
            .get(TIMESTAMP_SIGNATURE)
            .map(|value| standard(value, TIMESTAMP_SIGNATURE))
            .transpose()?,
    })
}

fn read(protected: &Map<String, Value>) -> Result<Headers, EnvelopeError> {
    let mut headers = Headers::default();
    for (name, value) in protected {
        match name.as_str() {
            "alg" => {}
            "cty" => headers.content_type = Some(string(value, "cty")?.to_owned()),
            "crit" => headers.critical = critical(value)?,
            SIGNING_SCHEME => headers.scheme = Some(string(value, SIGNING_SCHEME)?.to_owned()),
            SIGNING_TIME => headers.signing_time = Some(time(value, SIGNING_TIME)?),
            AUTHENTIC_SIGNING_TIME => headers.authentic_signing_time = Some(time(value, AUTHENTIC_SIGNING_TIME)?),
            EXPIRY => headers.expiry = Some(time(value, EXPIRY)?),
            VERIFICATION_PLUGIN => headers.plugin = Some(string(value, VERIFICATION_PLUGIN)?.to_owned()),
            VERIFICATION_PLUGIN_MIN_VERSION => {
                let version = string(value, VERIFICATION_PLUGIN_MIN_VERSION)?;
                headers.plugin_minimum_version = Some(version.to_owned());
            }
            _ => {
                headers.extended.insert(name.as_str().into(), attribute_value(value));
            }
        }
    }
    Ok(headers)
}

fn attribute_value(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null,
        Value::Bool(value) => AttributeValue::Boolean(*value),
        Value::Number(number) => AttributeValue::Number(number.clone()),
        Value::String(text) => AttributeValue::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => AttributeValue::Composite,
    }
}

fn critical(value: &Value) -> Result<Vec<AttributeName>, EnvelopeError> {
    let names = value.as_array().ok_or(EnvelopeError::Type {
        name: "crit",
        expected: "an array of text",
    })?;
    names
        .iter()
        .map(|name| string(name, "crit").map(AttributeName::from))
        .collect()
}

/// `x5c`: DER in base64, not base64url (RFC 7515 §4.1.6).
fn chain(unprotected: &Map<String, Value>) -> Result<Vec<crate::x509::certificate::Certificate>, EnvelopeError> {
    let chain = unprotected
        .get("x5c")
        .ok_or(EnvelopeError::Missing("x5c"))?
        .as_array()
        .ok_or(EnvelopeError::Type {
            name: "x5c",
            expected: "an array of text",
        })?;
    if chain.len() > MAX_CHAIN_LENGTH {
        return Err(EnvelopeError::TooManyCertificates(chain.len()));
    }
    let chain: Vec<_> = chain
        .iter()
        .map(|certificate| standard(certificate, "x5c"))
        .collect::<Result<_, _>>()?;
    certificates(chain.iter().map(Vec::as_slice))
}

fn object<'a>(value: &'a Value, name: &'static str) -> Result<&'a Map<String, Value>, EnvelopeError> {
    value.as_object().ok_or(EnvelopeError::Type {
        name,
        expected: "an object",
    })
}

fn text<'a>(object: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, EnvelopeError> {
    string(object.get(name).ok_or(EnvelopeError::Missing(name))?, name)
}

fn string<'a>(value: &'a Value, name: &'static str) -> Result<&'a str, EnvelopeError> {
    value.as_str().ok_or(EnvelopeError::Type { name, expected: "text" })
}

fn decode(text: &str, name: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| EnvelopeError::Base64(name))
}

fn standard(value: &Value, name: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD
        .decode(string(value, name)?)
        .map_err(|_| EnvelopeError::Base64(name))
}

/// A time of RFC 3339 §5.6, and nothing of what else the clock library reads. Leap seconds are refused: no instant of
/// Unix time is one.
fn time(value: &Value, name: &'static str) -> Result<Timestamp, EnvelopeError> {
    let text = string(value, name)?;
    if is_rfc_3339(text.as_bytes()) {
        text.parse().map_err(|_| EnvelopeError::Time(name))
    } else {
        Err(EnvelopeError::Time(name))
    }
}

fn is_rfc_3339(text: &[u8]) -> bool {
    let matches = |text: &[u8], pattern: &[u8]| {
        text.len() == pattern.len()
            && text.iter().zip(pattern).all(|(byte, expected)| match expected {
                b'0' => byte.is_ascii_digit(),
                _ => byte == expected,
            })
    };
    let Some((moment, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let offset = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            match fraction.split_at_checked(digits) {
                Some((_, offset)) if (1..=9).contains(&digits) => offset,
                _ => return false,
            }
        }
        _ => rest,
    };
    matches(moment, b"0000-00-00T00:00:00")
        && !moment.ends_with(b":60")
        && (offset == b"Z" || matches(offset, b"+00:00") || matches(offset, b"-00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_of_rfc_3339() {
        for (text, seconds) in [
            ("2022-08-29T13:50:00Z", 1_661_781_000),
            ("2022-08-29T15:50:00+02:00", 1_661_781_000),
            ("2022-08-29T13:50:00.000000001Z", 1_661_781_000),
        ] {
            let time = time(&Value::from(text), EXPIRY).unwrap();
            assert_eq!(time.as_second(), seconds, "{text}");
        }
    }

    #[test]
    fn refuses_times_that_are_almost_rfc_3339() {
        for text in [
            "",
            "2022-08-29",
            "2022-08-29T13:50Z",
            "2022-08-29T13:50:00",
            "2022-08-29 13:50:00Z",
            "2022-08-29t13:50:00z",
            "2022-08-29T13:50:00.Z",
            "2022-08-29T13:50:00,5Z",
            "2022-08-29T13:50:00+0200",
            "2022-08-29T13:50:00+02:00[Europe/Berlin]",
            "2022-02-30T13:50:00Z",
            "2022-08-29T24:00:00Z",
            "2016-12-31T23:59:60Z",
            "+002022-08-29T13:50:00Z",
            "2022-W35-1T13:50:00Z",
        ] {
            assert_eq!(
                time(&Value::from(text), EXPIRY),
                Err(EnvelopeError::Time(EXPIRY)),
                "{text}"
            );
        }
        assert!(time(&Value::from(1_661_781_000), EXPIRY).is_err());
    }
}
