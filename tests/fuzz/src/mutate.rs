//! Turns inputs into others.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// No input is longer: the time of a run goes into many, not into long ones.
const MAX_LENGTH: usize = 64 * 1024;

/// xorshift64*: small, repeatable, and good enough to choose mutations.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        match end {
            0 => 0,
            _ => (self.next() >> 16) as usize % end,
        }
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Start and end of a piece, mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length + 1);
        let longest = if self.below(8) == 0 { length } else { 32.min(length) };
        (start, (start + self.below(longest + 1)).min(length))
    }
}

/// A few mutations of `input`; `other` is what pieces are taken from.
pub(crate) fn mutate(random: &mut Random, input: &[u8], other: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        step(random, &mut bytes, other, words, true);
    }
    bytes.truncate(MAX_LENGTH);
    bytes
}

fn step(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], outer: bool) {
    let at = random.below(bytes.len() + 1);
    match random.below(16) {
        0 | 1 => {
            let bit = 1 << random.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bit;
            }
        }
        2 => {
            let value = *random.pick(b"\0\x01\x7f\x80\xff\"\\,:{}[]=/@*.-+ \n").unwrap_or(&0);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        3 => bytes.insert(at, random.next() as u8),
        4 => {
            let (start, end) = random.range(bytes.len());
            bytes.drain(start..end);
        }
        5 => bytes.truncate(at),
        6 => {
            let (start, end) = random.range(bytes.len());
            let piece = bytes[start..end].to_vec();
            bytes.splice(at..at, piece);
        }
        // Nesting and lists beyond every limit.
        7 => {
            let (start, end) = random.range(bytes.len());
            let word = random.pick(words).copied().unwrap_or_default().to_vec();
            let piece = if random.below(2) == 0 {
                word
            } else {
                bytes[start..end].to_vec()
            };
            let most = [2, 8, 80, 400, 20_000][random.below(5)];
            let count = random.below(most).min(MAX_LENGTH / piece.len().max(1));
            bytes.splice(at..at, piece.repeat(count));
        }
        8 => {
            let (start, end) = random.range(other.len());
            let (from, to) = random.range(bytes.len());
            bytes.splice(from..to, other[start..end].iter().copied());
        }
        // The head of one and the tail of the other.
        9 => {
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        10 => {
            let word = random.pick(words).copied().unwrap_or_default();
            let end = if random.below(2) == 0 {
                at
            } else {
                (at + word.len()).min(bytes.len())
            };
            bytes.splice(at..end, word.iter().copied());
        }
        // Lengths that lie: one off, or one of the borders of their encodings, in 1, 2, 4 or 8 bytes.
        11 => {
            let old = bytes.get(at).copied().unwrap_or(0);
            let number = match random.below(4) {
                0 => u64::from(old.wrapping_add(1)),
                1 => u64::from(old.wrapping_sub(1)),
                2 => 1_u64 << random.below(64),
                _ => (1_u64 << random.below(64)).wrapping_sub(1),
            };
            let width = 1 << random.below(4);
            let end = (at + width).min(bytes.len());
            bytes.splice(at..end, number.to_be_bytes()[8 - width..].iter().copied());
        }
        12 | 13 if outer => inside_base64(random, bytes, other, words),
        14 if outer => inside_byte_string(random, bytes, other, words),
        15 if outer => {
            if let Some(changed) = inside_der(random, bytes, other, words) {
                *bytes = changed;
            }
        }
        _ => {}
    }
    bytes.truncate(MAX_LENGTH);
}

/// Mutates what a piece of base64 holds: headers and certificates of a JWS would otherwise only break.
fn inside_base64(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let ours = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/=".contains(byte);
    let mut pieces = Vec::new();
    let mut start = 0;
    for piece in bytes.chunk_by(|one, next| ours(one) == ours(next)) {
        if piece.len() >= 16 && piece.iter().all(ours) {
            pieces.push(start..start + piece.len());
        }
        start += piece.len();
    }
    let Some(range) = random.pick(&pieces).cloned() else {
        return;
    };
    let text = &bytes[range.clone()];
    let alphabet = if text.iter().any(|byte| b"+/".contains(byte)) {
        STANDARD
    } else {
        URL_SAFE
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_encode_padding(text.ends_with(b"="));
    let base64 = GeneralPurpose::new(&alphabet, config);
    if let Ok(mut inner) = base64.decode(text) {
        match inside_der(random, &inner, other, words).filter(|_| random.below(2) == 0) {
            Some(changed) => inner = changed,
            None => step(random, &mut inner, other, words, false),
        }
        bytes.splice(range, base64.encode(inner).into_bytes());
    }
}

/// Mutates a CBOR byte string (RFC 8949 §3.1) and corrects its head: headers and certificates of COSE are such.
fn inside_byte_string(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let content = |at: usize| {
        let (head, length) = match (bytes.get(at)?, bytes.get(at + 1), bytes.get(at + 2)) {
            (byte @ 0x48..=0x57, _, _) => (1, usize::from(byte - 0x40)),
            (0x58, Some(length), _) => (2, usize::from(*length)),
            (0x59, Some(high), Some(low)) => (3, usize::from(u16::from_be_bytes([*high, *low]))),
            _ => return None,
        };
        let start = at + head;
        (start + length <= bytes.len()).then_some((at, start, start + length))
    };
    let found: Vec<(usize, usize, usize)> = (0..bytes.len()).filter_map(content).collect();
    let Some((at, start, end)) = random.pick(&found).copied() else {
        return;
    };
    let mut inner = bytes[start..end].to_vec();
    if random.below(2) == 0 {
        inner = inside_der(random, &inner, other, words).unwrap_or(inner);
    } else {
        step(random, &mut inner, other, words, false);
    }
    let length = inner.len();
    let mut encoded = match length {
        0..24 => vec![0x40 + length as u8],
        24..256 => vec![0x58, length as u8],
        256..65_536 => vec![0x59, (length >> 8) as u8, length as u8],
        _ => return,
    };
    encoded.append(&mut inner);
    bytes.splice(at..end, encoded);
}

/// Mutates one value of DER (X.690 §8.1) and corrects the lengths around it. Nothing, where it is not DER.
fn inside_der(random: &mut Random, bytes: &[u8], other: &[u8], words: &[&[u8]]) -> Option<Vec<u8>> {
    let elements = elements(bytes)?;
    let (start, end) = random.pick(&elements).copied()?;
    let (head, body) = bytes
        .get(start..end)
        .map(|element| element.split_at(head_length(element).unwrap_or(0)))?;
    let tag = *head.first()?;
    // Constructed values, and the values of extensions, which are DER in an OCTET STRING.
    let deeper = (tag & 0x20 != 0 || tag == 0x04) && random.below(8) != 0;
    let inner = match deeper.then(|| inside_der(random, body, other, words)).flatten() {
        Some(inner) => inner,
        None => {
            let mut inner = body.to_vec();
            step(random, &mut inner, other, words, false);
            inner
        }
    };
    let mut changed = bytes[..start].to_vec();
    changed.push(tag);
    match inner.len() {
        length @ 0..128 => changed.push(length as u8),
        length @ 128..256 => changed.extend([0x81, length as u8]),
        length @ 256..65_536 => changed.extend([0x82, (length >> 8) as u8, length as u8]),
        _ => return None,
    }
    changed.extend(inner);
    changed.extend_from_slice(&bytes[end..]);
    Some(changed)
}

/// Where each element starts and ends.
fn elements(bytes: &[u8]) -> Option<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let element = bytes.get(at..)?;
        let head = head_length(element)?;
        let length = element
            .get(2..head)?
            .iter()
            .fold(0, |length, byte| (length << 8) | usize::from(*byte));
        let length = if head == 2 { usize::from(element[1]) } else { length };
        let end = at + head + length;
        if end > bytes.len() {
            return None;
        }
        found.push((at, end));
        at = end;
    }
    Some(found)
}

/// Tag and length, for lengths below 64 KiB.
fn head_length(element: &[u8]) -> Option<usize> {
    match element.get(1)? {
        0..=0x7f => Some(2),
        0x81 => Some(3),
        0x82 => Some(4),
        _ => None,
    }
}
