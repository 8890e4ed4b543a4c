//! COSE envelopes (notation spec: signature-envelope-cose.md; RFC 9052).

use ciborium::Value;
use coset::iana::EnumI64 as _;
use coset::{
    Algorithm, ContentType, CoseError, CoseSign1, Header, Label, RegisteredLabelWithPrivate,
    TaggedCborSerializable as _, iana,
};

use super::{
    AUTHENTIC_SIGNING_TIME, AttributeName, AttributeValue, EXPIRY, Envelope, EnvelopeError, Headers, SIGNING_SCHEME,
    SIGNING_TIME, TIMESTAMP_SIGNATURE, VERIFICATION_PLUGIN, VERIFICATION_PLUGIN_MIN_VERSION, cbor, certificates,
};
use crate::Timestamp;
use crate::crypto::EnvelopeAlgorithm;
use crate::limits::MAX_ATTRIBUTES;
use crate::x509::certificate::Certificate;

/// The first bytes of a tagged `COSE_Sign1`: tag 18 and an array of four. Heads are shortest, so there is no other form.
const SIGN1: [u8; 2] = [0xd2, 0x84];

/// `x5chain` (RFC 9360 §2).
const X5CHAIN: i64 = 33;

pub(super) fn parse(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    cbor::check(bytes)?;
    // The protected header is a byte string with CBOR of its own.
    let protected = bytes
        .strip_prefix(&SIGN1)
        .and_then(cbor::leading_byte_string)
        .ok_or_else(|| EnvelopeError::Malformed("it is not a tagged COSE_Sign1".into()))?;
    cbor::check(protected)?;

    let message = CoseSign1::from_tagged_slice(bytes).map_err(malformed)?;
    let (headers, unprotected) = (&message.protected.header, &message.unprotected);
    if headers.rest.len() > MAX_ATTRIBUTES || unprotected.rest.len() > MAX_ATTRIBUTES {
        return Err(EnvelopeError::TooManyAttributes);
    }
    check_disjoint(headers, unprotected)?;
    Ok(Envelope {
        algorithm: algorithm(headers)?,
        certificates: chain(unprotected)?,
        // RFC 9052 §4.4. The protected header goes in as it came: the library keeps its bytes.
        signed: message.tbs_data(&[]),
        attributes: read(headers)?.check()?,
        timestamp_token: find(unprotected, &Label::Text(TIMESTAMP_SIGNATURE.to_owned()))
            .map(|value| byte_string(value, TIMESTAMP_SIGNATURE))
            .transpose()?
            .map(<[u8]>::to_vec),
        payload: message.payload.ok_or(EnvelopeError::Missing("the payload"))?,
        signature: message.signature,
    })
}

fn malformed(error: CoseError) -> EnvelopeError {
    EnvelopeError::Malformed(error.to_string().into())
}

/// RFC 9052 §3: a label occurs once in both headers together. What decides how the message is read must be protected.
fn check_disjoint(protected: &Header, unprotected: &Header) -> Result<(), EnvelopeError> {
    let duplicate = |name: &str| Err(EnvelopeError::DuplicateHeader(name.into()));
    if unprotected.alg.is_some() {
        return duplicate("alg");
    }
    if !unprotected.crit.is_empty() {
        return duplicate("crit");
    }
    if unprotected.content_type.is_some() {
        return duplicate("content type");
    }
    match unprotected
        .rest
        .iter()
        .find(|(label, _)| find(protected, label).is_some())
    {
        Some((label, _)) => Err(EnvelopeError::DuplicateHeader((&name(label)).into())),
        None => Ok(()),
    }
}

fn algorithm(protected: &Header) -> Result<EnvelopeAlgorithm, EnvelopeError> {
    match &protected.alg {
        None => Err(EnvelopeError::Missing("alg")),
        Some(Algorithm::Assigned(iana::Algorithm::PS256)) => Ok(EnvelopeAlgorithm::Ps256),
        Some(Algorithm::Assigned(iana::Algorithm::PS384)) => Ok(EnvelopeAlgorithm::Ps384),
        Some(Algorithm::Assigned(iana::Algorithm::PS512)) => Ok(EnvelopeAlgorithm::Ps512),
        Some(Algorithm::Assigned(iana::Algorithm::ES256)) => Ok(EnvelopeAlgorithm::Es256),
        Some(Algorithm::Assigned(iana::Algorithm::ES384)) => Ok(EnvelopeAlgorithm::Es384),
        Some(Algorithm::Assigned(iana::Algorithm::ES512)) => Ok(EnvelopeAlgorithm::Es512),
        Some(other) => Err(EnvelopeError::Algorithm(format!("{other:?}").into())),
    }
}

fn read(protected: &Header) -> Result<Headers, EnvelopeError> {
    let mut headers = Headers {
        content_type: match &protected.content_type {
            Some(ContentType::Text(text)) => Some(text.clone()),
            Some(ContentType::Assigned(number)) => Some(format!("{number:?}")),
            None => None,
        },
        critical: protected.crit.iter().map(critical_name).collect(),
        ..Headers::default()
    };
    for (label, value) in &protected.rest {
        match label {
            Label::Text(text) => match text.as_str() {
                SIGNING_SCHEME => headers.scheme = Some(string(value, SIGNING_SCHEME)?),
                SIGNING_TIME => headers.signing_time = Some(time(value, SIGNING_TIME)?),
                AUTHENTIC_SIGNING_TIME => {
                    headers.authentic_signing_time = Some(time(value, AUTHENTIC_SIGNING_TIME)?);
                }
                EXPIRY => headers.expiry = Some(time(value, EXPIRY)?),
                VERIFICATION_PLUGIN => headers.plugin = Some(string(value, VERIFICATION_PLUGIN)?),
                VERIFICATION_PLUGIN_MIN_VERSION => {
                    headers.plugin_minimum_version = Some(string(value, VERIFICATION_PLUGIN_MIN_VERSION)?);
                }
                _ => {
                    headers.extended.insert(name(label), attribute_value(value));
                }
            },
            Label::Int(_) => {
                headers.extended.insert(name(label), attribute_value(value));
            }
        }
    }
    Ok(headers)
}

fn name(label: &Label) -> AttributeName {
    match label {
        Label::Int(number) => AttributeName::Number(*number),
        Label::Text(text) => AttributeName::from(text.as_str()),
    }
}

/// Bytes are composite: notation tells them to plugins in base64, where they are not told from text.
fn attribute_value(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null,
        Value::Bool(value) => AttributeValue::Boolean(*value),
        Value::Text(text) => AttributeValue::Text(text.clone()),
        Value::Integer(integer) => serde_json::Number::from_i128(i128::from(*integer))
            .map_or(AttributeValue::Composite, AttributeValue::Number),
        Value::Float(float) => {
            serde_json::Number::from_f64(*float).map_or(AttributeValue::Composite, AttributeValue::Number)
        }
        _ => AttributeValue::Composite,
    }
}

fn critical_name(label: &RegisteredLabelWithPrivate<iana::HeaderParameter>) -> AttributeName {
    name(&match label {
        RegisteredLabelWithPrivate::Assigned(parameter) => Label::Int(parameter.to_i64()),
        RegisteredLabelWithPrivate::PrivateUse(number) => Label::Int(*number),
        RegisteredLabelWithPrivate::Text(text) => Label::Text(text.clone()),
    })
}

fn find<'a>(header: &'a Header, label: &Label) -> Option<&'a Value> {
    header
        .rest
        .iter()
        .find_map(|(other, value)| (other == label).then_some(value))
}

/// An array, even of one: the Notary Project does not use the short form of RFC 9360 §2.
fn chain(unprotected: &Header) -> Result<Vec<Certificate>, EnvelopeError> {
    let chain = find(unprotected, &Label::Int(X5CHAIN))
        .ok_or(EnvelopeError::Missing("x5chain"))?
        .as_array()
        .ok_or(EnvelopeError::Type {
            name: "x5chain",
            expected: "an array of byte strings",
        })?;
    let chain: Vec<_> = chain
        .iter()
        .map(|certificate| byte_string(certificate, "x5chain"))
        .collect::<Result<_, _>>()?;
    certificates(chain.into_iter())
}

fn byte_string<'a>(value: &'a Value, name: &'static str) -> Result<&'a [u8], EnvelopeError> {
    value.as_bytes().map(Vec::as_slice).ok_or(EnvelopeError::Type {
        name,
        expected: "a byte string",
    })
}

fn string(value: &Value, name: &'static str) -> Result<String, EnvelopeError> {
    value
        .as_text()
        .map(str::to_owned)
        .ok_or(EnvelopeError::Type { name, expected: "text" })
}

/// Tag 1 with whole seconds (RFC 8949 §3.4.2). Floats are refused: they round.
fn time(value: &Value, name: &'static str) -> Result<Timestamp, EnvelopeError> {
    match value {
        Value::Tag(1, inner) => inner
            .as_integer()
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        _ => None,
    }
    .ok_or(EnvelopeError::Time(name))
}
