//! An image index, and every digest that it names (OCI image specification: image-index.md).
//!
//! A verdict about an index is one about its children: a deny-list may name any of them. So the list of them errs towards
//! too many. Whatever Go's decoder, with which containerd reads the same bytes, may take for the digest of an entry counts: it
//! compares keys without case (Go: encoding/json#Unmarshal). What it could read in two ways, because a key is there twice, is
//! refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use crate::code::Code;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::document::fold_key;
use crate::envelope::{EnvelopeError, json};
use crate::limits::{MAX_INDEX_CHILDREN, MAX_INDEX_VALUES, MAX_MANIFEST_SIZE};
use crate::platform::{NodePlatform, RunnableChildren, RunnableChildrenError};
use crate::untrusted::Untrusted;

/// The bytes of an index, proved by its digest, and the digests that they name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageIndex {
    descriptor: Descriptor,
    bytes: Arc<[u8]>,
    children: BTreeSet<Digest>,
}

/// Why bytes are no index whose children are known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAnIndex {
    /// Another media type.
    #[error("{0} is not the media type of an index")]
    MediaType(Untrusted),
    /// The bytes are not the ones that the descriptor describes, or more than an index may have.
    #[error("the bytes are not those of the index {0}")]
    WrongBytes(Digest),
    /// Not JSON that means one thing to every reader, or without a list of manifests.
    #[error("the index is malformed: {0}")]
    Malformed(Untrusted),
    /// More values than the limit.
    #[error("the index has more than {MAX_INDEX_VALUES} values")]
    TooManyValues,
    /// More children than the limit.
    #[error("the index names {0} digests, more than {MAX_INDEX_CHILDREN}")]
    TooManyChildren(usize),
}

impl NotAnIndex {
    /// The code of a denial for this reason. The image itself is at fault: no retry mends it.
    pub fn code(&self) -> Code {
        match self {
            Self::MediaType(_) | Self::WrongBytes(_) | Self::Malformed(_) => Code::RequestMalformed,
            Self::TooManyValues | Self::TooManyChildren(_) => Code::LimitExceeded,
        }
    }
}

impl ImageIndex {
    /// Proves the bytes of an index, and reads which digests it names: those of nested indexes too, not those that they name
    /// in turn.
    ///
    /// # Errors
    ///
    /// When they are other bytes, do not mean one thing, or name too much.
    pub fn open(descriptor: &Descriptor, bytes: Arc<[u8]>) -> Result<Self, NotAnIndex> {
        if !descriptor.media_type.is_index() {
            return Err(NotAnIndex::MediaType(descriptor.media_type.as_str().into()));
        }
        if bytes.len() > MAX_MANIFEST_SIZE || !descriptor.describes(&bytes) {
            return Err(NotAnIndex::WrongBytes(descriptor.digest.clone()));
        }
        let tree = json::parse_within(&bytes, MAX_INDEX_VALUES).map_err(|error| match error {
            EnvelopeError::TooManyValues => NotAnIndex::TooManyValues,
            EnvelopeError::Malformed(reason) => NotAnIndex::Malformed(reason),
            other => NotAnIndex::Malformed(other.to_string().into()),
        })?;
        let mut lists = values(&tree, "manifests").peekable();
        if lists.peek().is_none() {
            return Err(NotAnIndex::Malformed("it has no list of manifests".into()));
        }
        let entries = lists.filter_map(Value::as_array).flatten();
        let digests = entries.flat_map(|entry| values(entry, "digest"));
        // What is no digest here is none that a deny-list can name.
        let children: BTreeSet<Digest> = digests.filter_map(|digest| digest.as_str()?.parse().ok()).collect();
        if children.len() > MAX_INDEX_CHILDREN {
            return Err(NotAnIndex::TooManyChildren(children.len()));
        }
        Ok(Self {
            descriptor: descriptor.clone(),
            bytes,
            children,
        })
    }

    /// Which index it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Every digest that it names.
    pub fn children(&self) -> &BTreeSet<Digest> {
        &self.children
    }

    /// Those of its children that a node could run: see [`RunnableChildren::of`].
    ///
    /// # Errors
    ///
    /// When there are none, too many, or it is not known which.
    pub fn runnable(&self, node: &NodePlatform) -> Result<RunnableChildren, RunnableChildrenError> {
        RunnableChildren::of(&self.descriptor, &self.bytes, node)
    }
}

/// The values of an object under a key, and under every other that Go takes for it.
fn values<'a>(object: &'a Value, name: &'static str) -> impl Iterator<Item = &'a Value> {
    let entries = object.as_object().into_iter().flatten();
    entries
        .filter(move |(key, _)| fold_key(key) == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::MediaType;

    fn open_as(media_type: &str, json: &str) -> Result<ImageIndex, NotAnIndex> {
        let descriptor = Descriptor {
            media_type: MediaType::parse(media_type).unwrap(),
            digest: Digest::sha256(json.as_bytes()),
            size: json.len() as u64,
        };
        ImageIndex::open(&descriptor, json.as_bytes().into())
    }

    fn open(json: &str) -> Result<ImageIndex, NotAnIndex> {
        open_as(MediaType::OCI_INDEX, json)
    }

    fn digest(name: impl ToString) -> Digest {
        Digest::sha256(name.to_string().as_bytes())
    }

    fn entry(name: impl ToString, more: &str) -> String {
        format!(r#"{{"mediaType":"a/b","digest":"{}","size":1{more}}}"#, digest(name))
    }

    fn index_of(entries: &[String]) -> String {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))
    }

    #[test]
    fn names_every_child_whatever_it_is_for() {
        let nested = entry("nested", "").replace("a/b", MediaType::OCI_INDEX);
        let other = entry("arm", r#","platform":{"os":"linux","architecture":"arm64"}"#);
        let unknown = entry(
            "attestation",
            r#","platform":{"os":"unknown","architecture":"unknown"}"#,
        );
        let json = index_of(&[nested, other, unknown, entry("arm", "")]);
        let expected = BTreeSet::from(["nested", "arm", "attestation"].map(digest));
        for media_type in [MediaType::OCI_INDEX, MediaType::DOCKER_INDEX] {
            assert_eq!(*open_as(media_type, &json).unwrap().children(), expected);
        }
        assert!(open(&index_of(&[])).unwrap().children().is_empty());
    }

    #[test]
    fn names_what_containerd_may_take_for_a_child() {
        let hidden = [
            format!(
                r#"{{"schemaVersion":2,"manifests":[],"Manifests":[{}]}}"#,
                entry("a", "")
            ),
            index_of(&[entry("b", "").replace("\"digest\"", "\"Digest\"")]),
            index_of(&[entry("c", &format!(r#","dige\u017ft":"{}""#, digest("d")))]),
        ];
        for (json, expected) in
            hidden
                .iter()
                .zip([vec![digest("a")], vec![digest("b")], vec![digest("c"), digest("d")]])
        {
            let expected: BTreeSet<_> = expected.into_iter().collect();
            assert_eq!(*open(json).unwrap().children(), expected, "{json}");
        }
    }

    #[test]
    fn refuses_what_is_no_index_or_could_be_read_in_two_ways() {
        let good = index_of(&[entry("a", "")]);
        for json in [
            "",
            "[]",
            "{}",
            &good.replace("\"size\":1", &format!(r#""size":1,"digest":"{}""#, digest("b"))),
            &good.replace("]}", "],\"manifests\":[]}"),
            &format!("{good}{{}}"),
        ] {
            assert!(matches!(open(json), Err(NotAnIndex::Malformed(_))), "{json}");
        }
        assert!(matches!(
            open_as(MediaType::OCI_MANIFEST, &good),
            Err(NotAnIndex::MediaType(_))
        ));
        let other = open(&good).unwrap().descriptor().clone();
        let opened = ImageIndex::open(&other, b"{}".as_slice().into());
        assert_eq!(opened, Err(NotAnIndex::WrongBytes(other.digest)));
    }

    #[test]
    fn an_index_names_so_many_digests_and_has_so_many_values() {
        let children = |count: usize| (0..count).map(|number| entry(number, "")).collect::<Vec<_>>();
        let most = open(&index_of(&children(MAX_INDEX_CHILDREN))).unwrap();
        assert_eq!(most.children().len(), MAX_INDEX_CHILDREN);
        let too_many = open(&index_of(&children(MAX_INDEX_CHILDREN + 1))).unwrap_err();
        assert_eq!(too_many, NotAnIndex::TooManyChildren(MAX_INDEX_CHILDREN + 1));
        let padding = "1,".repeat(MAX_INDEX_VALUES);
        let values = open(&format!(r#"{{"x":[{padding}1],"manifests":[]}}"#)).unwrap_err();
        assert_eq!(values, NotAnIndex::TooManyValues);
        for error in [too_many, values] {
            assert_eq!(error.code(), Code::LimitExceeded);
        }
    }
}
