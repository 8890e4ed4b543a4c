//! Which children of an image index a node could run (OCI image specification: image-index.md).
//!
//! Where a signature on the index is missing, a rule may accept one on each of these. So the list errs towards too many:
//! what the node probably never runs needs a signature, rather than what it may run needing none.
//!
//! containerd reads the same bytes with Go's decoder: it compares keys without case, lets the last of several win and
//! drops what it does not know (Go: encoding/json#Unmarshal). A `Platform` behind a `platform` would be ignored here and
//! believed there. So an index counts only where every key that containerd reads is spelled exactly and there once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Digest;
use crate::document::fold_key;
use crate::envelope::{EnvelopeError, json};
use crate::limits::{MAX_INDEX_VALUES, MAX_MANIFEST_SIZE, MAX_RUNNABLE_CHILDREN};
use crate::manifest::{Index, ParseManifestError};
use crate::untrusted::Untrusted;

/// The keys of an index: those of the OCI specification, and those by which containerd tells documents apart.
const INDEX_KEYS: [&str; 12] = [
    "annotations",
    "artifactType",
    "blobs",
    "config",
    "fsLayers",
    "history",
    "layers",
    "manifests",
    "mediaType",
    "schemaVersion",
    "signatures",
    "subject",
];

/// The keys of an entry (OCI image specification: descriptor.md).
const ENTRY_KEYS: [&str; 8] = [
    "annotations",
    "artifactType",
    "data",
    "digest",
    "mediaType",
    "platform",
    "size",
    "urls",
];

/// The keys of a platform (OCI image specification: image-index.md; `features` is Docker's).
const PLATFORM_KEYS: [&str; 6] = ["architecture", "features", "os", "os.features", "os.version", "variant"];

/// What a node runs, in Go's words: `linux`, `amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlatform {
    os: Box<str>,
    architecture: Box<str>,
}

/// The children of one index that a node could run: at least one, each once. Only the index' own bytes make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnableChildren {
    index: Descriptor,
    children: Vec<Descriptor>,
}

/// Why an index has no children that signatures could stand for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunnableChildrenError {
    /// The bytes are not the index.
    #[error("the bytes are not those of the index {0}")]
    WrongBytes(Digest),
    /// Not an index, or malformed.
    #[error(transparent)]
    Index(#[from] ParseManifestError),
    /// Not JSON that means one thing to every reader.
    #[error("the index is malformed: {0}")]
    Malformed(Untrusted),
    /// More values than the limit.
    #[error("the index has more than {MAX_INDEX_VALUES} values")]
    TooManyValues,
    /// A key that containerd takes for another one.
    #[error("the index has the key {found}, which containerd reads as {read_as}")]
    AmbiguousKey {
        /// The key.
        found: Untrusted,
        /// What it is taken for.
        read_as: &'static str,
    },
    /// An entry is malformed, so it is not known what it leads to.
    #[error("the index has a malformed entry")]
    MalformedEntry,
    /// Nothing that the node could run.
    #[error("the index has nothing that this node could run")]
    Nothing,
    /// More than [`MAX_RUNNABLE_CHILDREN`].
    #[error("the index has {0} children that this node could run, more than {MAX_RUNNABLE_CHILDREN}")]
    TooMany(usize),
}

/// What an entry says it is for; empty where it does not say.
struct Platform<'a> {
    os: &'a str,
    architecture: &'a str,
}

impl NodePlatform {
    /// A platform by the names of Rust's `std::env::consts` or of Go.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.to_ascii_lowercase().into(),
            architecture: canonical(architecture).into(),
        }
    }

    /// Whether the node could run what an index says is for this platform. containerd falls back to the 32-bit
    /// architecture of the same family, so it counts. BuildKit marks attestations with `unknown/unknown`, which no
    /// platform matches; whatever else is not said is taken for runnable. So is what is not ASCII: Go's lower case turns
    /// `l\u{130}nux` into `linux`.
    fn could_run(&self, platform: &Platform<'_>) -> bool {
        if !platform.os.is_ascii() || !platform.architecture.is_ascii() {
            return true;
        }
        let (os, architecture) = (platform.os.to_ascii_lowercase(), canonical(platform.architecture));
        if os == "unknown" && architecture == "unknown" {
            return false;
        }
        let same_family = match &*self.architecture {
            "amd64" => ["amd64", "386"].contains(&&*architecture),
            "arm64" => ["arm64", "arm"].contains(&&*architecture),
            own => own == architecture,
        };
        (os.is_empty() || os == *self.os) && (architecture.is_empty() || same_family)
    }
}

/// containerd's normalisation of architectures. Rust has one name for both byte orders, so here they are one.
fn canonical(architecture: &str) -> String {
    let lower = architecture.to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" | "armel" => "arm",
        "i386" | "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" | "ppc64" => "ppc64le",
        "mipsle" => "mips",
        "mips64le" => "mips64",
        other => other,
    }
    .to_owned()
}

impl RunnableChildren {
    /// Reads them from the bytes of `index`. Children without a platform, of an unknown type, and nested indexes count.
    ///
    /// # Errors
    ///
    /// When the bytes are not the index, malformed in any entry, or there are none or too many.
    pub fn of(index: &Descriptor, json: &[u8], node: &NodePlatform) -> Result<Self, RunnableChildrenError> {
        if json.len() > MAX_MANIFEST_SIZE || !index.describes(json) {
            return Err(RunnableChildrenError::WrongBytes(index.digest.clone()));
        }
        let tree = json::parse_within(json, MAX_INDEX_VALUES).map_err(|error| match error {
            EnvelopeError::TooManyValues => RunnableChildrenError::TooManyValues,
            EnvelopeError::Malformed(reason) => RunnableChildrenError::Malformed(reason),
            other => RunnableChildrenError::Malformed(other.to_string().into()),
        })?;
        let said = platforms(&tree)?;
        let parsed = Index::parse(&index.media_type, json)?;
        // A listing of referrers leaves malformed entries out; here one could be what the node unpacks.
        if parsed.entries.len() != said.len() {
            return Err(RunnableChildrenError::MalformedEntry);
        }
        let mut children = BTreeMap::new();
        for (entry, said) in parsed.entries.into_iter().zip(said) {
            let manifest = [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST]
                .iter()
                .any(|known| entry.descriptor.media_type == *known);
            let runnable = match said {
                Some(platform) if manifest => node.could_run(&platform),
                _ => true,
            };
            if runnable
                && children
                    .insert(entry.descriptor.digest.clone(), entry.descriptor.clone())
                    .is_some_and(|other| other != entry.descriptor)
            {
                return Err(RunnableChildrenError::MalformedEntry);
            }
        }
        match children.len() {
            0 => Err(RunnableChildrenError::Nothing),
            count if count > MAX_RUNNABLE_CHILDREN => Err(RunnableChildrenError::TooMany(count)),
            _ => Ok(Self {
                index: index.clone(),
                children: children.into_values().collect(),
            }),
        }
    }

    /// The index.
    pub fn index(&self) -> &Descriptor {
        &self.index
    }

    /// The children.
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }
}

/// The platform that each entry states, in order.
fn platforms(index: &Value) -> Result<Vec<Option<Platform<'_>>>, RunnableChildrenError> {
    let index = exactly_spelled(index, &INDEX_KEYS)?;
    let Some(Value::Array(entries)) = index.get("manifests") else {
        return Err(RunnableChildrenError::Malformed("it has no list of manifests".into()));
    };
    let platform = |entry| match exactly_spelled(entry, &ENTRY_KEYS)?.get("platform") {
        None | Some(Value::Null) => Ok(None),
        Some(platform) => {
            let platform = exactly_spelled(platform, &PLATFORM_KEYS)?;
            Ok(Some(Platform {
                os: text(platform, "os")?,
                architecture: text(platform, "architecture")?,
            }))
        }
    };
    entries.iter().map(platform).collect()
}

/// The object, where each of its keys that is one of `known` to Go is also spelled like it. That none is there twice, the
/// parser saw to.
fn exactly_spelled<'a>(
    value: &'a Value,
    known: &[&'static str],
) -> Result<&'a Map<String, Value>, RunnableChildrenError> {
    let Value::Object(object) = value else {
        return Err(RunnableChildrenError::MalformedEntry);
    };
    for key in object.keys() {
        let folded = fold_key(key);
        if let Some(read_as) = known.iter().find(|known| **known != key && fold_key(known) == folded) {
            return Err(RunnableChildrenError::AmbiguousKey {
                found: key.as_str().into(),
                read_as,
            });
        }
    }
    Ok(object)
}

fn text<'a>(platform: &'a Map<String, Value>, key: &str) -> Result<&'a str, RunnableChildrenError> {
    match platform.get(key) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(RunnableChildrenError::MalformedEntry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(name: &str, media_type: &str, platform: &str) -> String {
        let digest = Digest::sha256(name.as_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1{platform}}}"#)
    }

    fn platform(os: &str, architecture: &str) -> String {
        format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
    }

    fn runnable(children: &[String]) -> Result<usize, RunnableChildrenError> {
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","));
        let index = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            digest: Digest::sha256(json.as_bytes()),
            size: json.len() as u64,
        };
        let node = NodePlatform::new("linux", "x86_64");
        RunnableChildren::of(&index, json.as_bytes(), &node).map(|found| found.children().len())
    }

    #[test]
    fn counts_what_the_node_could_run_and_what_is_not_known() {
        for (media_type, platform, counts) in [
            (MediaType::OCI_MANIFEST, platform("linux", "amd64"), true),
            (MediaType::OCI_MANIFEST, platform("Linux", "X86_64"), true),
            (MediaType::DOCKER_MANIFEST, platform("linux", "386"), true),
            (MediaType::OCI_MANIFEST, platform("linux", "arm64"), false),
            (MediaType::OCI_MANIFEST, platform("windows", "amd64"), false),
            (MediaType::OCI_MANIFEST, platform("unknown", "unknown"), false),
            (MediaType::OCI_MANIFEST, platform("", "amd64"), true),
            (MediaType::OCI_MANIFEST, platform("linux", ""), true),
            (MediaType::OCI_MANIFEST, String::new(), true),
            (MediaType::OCI_MANIFEST, r#","platform":null"#.to_owned(), true),
            (MediaType::OCI_INDEX, platform("windows", "amd64"), true),
            ("application/x", platform("windows", "amd64"), true),
        ] {
            let expected = if counts {
                Ok(1)
            } else {
                Err(RunnableChildrenError::Nothing)
            };
            assert_eq!(
                runnable(&[child("a", media_type, &platform)]),
                expected,
                "{media_type} {platform}"
            );
        }
    }

    #[test]
    fn a_malformed_entry_hides_nothing() {
        let good = child("a", MediaType::OCI_MANIFEST, "");
        let bad = r#"{"mediaType":"application/x","digest":"md5:1","size":1}"#.to_owned();
        assert_eq!(
            runnable(&[good.clone(), bad]),
            Err(RunnableChildrenError::MalformedEntry)
        );
        let twice = child("a", MediaType::DOCKER_MANIFEST, "");
        assert_eq!(
            runnable(&[good.clone(), twice]),
            Err(RunnableChildrenError::MalformedEntry)
        );
        assert_eq!(runnable(&[good.clone(), good]), Ok(1));
    }

    #[test]
    fn an_index_has_few_children_for_one_node() {
        let children: Vec<_> = (0..=MAX_RUNNABLE_CHILDREN)
            .map(|number| child(&number.to_string(), MediaType::OCI_MANIFEST, ""))
            .collect();
        assert_eq!(
            runnable(&children),
            Err(RunnableChildrenError::TooMany(MAX_RUNNABLE_CHILDREN + 1))
        );
        assert_eq!(runnable(&children[1..]), Ok(MAX_RUNNABLE_CHILDREN));
    }

    #[test]
    fn only_the_bytes_of_the_index_count() {
        let index = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            digest: Digest::sha256(b"other"),
            size: 2,
        };
        let node = NodePlatform::new("linux", "amd64");
        assert_eq!(
            RunnableChildren::of(&index, b"{}", &node),
            Err(RunnableChildrenError::WrongBytes(index.digest.clone()))
        );
    }

    const GOOD: &str = r#""mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5"#;
    const WINDOWS: &str = r#""os":"windows","architecture":"amd64""#;

    fn read(json: &str) -> Result<usize, RunnableChildrenError> {
        let index = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            digest: Digest::sha256(json.as_bytes()),
            size: json.len() as u64,
        };
        let node = NodePlatform::new("linux", "amd64");
        RunnableChildren::of(&index, json.as_bytes(), &node).map(|found| found.children().len())
    }

    /// An index with a good child, then one with more keys at each of the three levels.
    fn with(top: &str, entry: &str, platform: &str) -> Result<usize, RunnableChildrenError> {
        read(&format!(
            r#"{{"schemaVersion":2,"manifests":[{{{GOOD}}},{{{GOOD},"platform":{{{WINDOWS}{platform}}}{entry}}}]{top}}}"#
        ))
    }

    #[test]
    fn refuses_a_key_that_containerd_takes_for_another() {
        assert_eq!(with("", "", ""), Ok(1));
        for (level, known) in [(0, &INDEX_KEYS[..]), (1, &ENTRY_KEYS), (2, &PLATFORM_KEYS)] {
            for key in known {
                let mut variants = vec![
                    key.to_ascii_uppercase(),
                    key[..1].to_ascii_uppercase() + &key[1..],
                    key.replacen('s', "\u{17f}", 1),
                    key.replacen('s', "\\u017F", 1),
                    key.replacen('k', "\u{212a}", 1),
                    key.to_ascii_lowercase(),
                    key[..1].to_owned() + &key[1..].to_ascii_uppercase(),
                ];
                variants.retain(|variant| variant != key);
                for variant in variants {
                    let extra = format!(r#","{variant}":null"#);
                    let found = match level {
                        0 => with(&extra, "", ""),
                        1 => with("", &extra, ""),
                        _ => with("", "", &extra),
                    };
                    assert!(
                        matches!(found, Err(RunnableChildrenError::AmbiguousKey { read_as, .. }) if read_as == *key),
                        "{extra}: {found:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn refuses_the_windows_child_that_is_for_linux_where_containerd_reads_it() {
        let evil = r#","Platform":{"os":"linux","architecture":"amd64"}"#;
        assert!(matches!(
            with("", evil, ""),
            Err(RunnableChildrenError::AmbiguousKey {
                read_as: "platform",
                ..
            })
        ));
    }

    #[test]
    fn refuses_a_key_that_is_there_twice() {
        let platform = format!(r#","platform":{{{WINDOWS}}}"#);
        for (top, entry, platform) in [
            (r#","manifests":[]"#, "", ""),
            (r#","m\u0061nifests":[]"#, "", ""),
            (r#","schemaVersion":2"#, "", ""),
            ("", platform.as_str(), ""),
            ("", r#","size":5"#, ""),
            ("", "", r#","os":"linux""#),
            ("", "", r#","\u006fs":"linux""#),
        ] {
            let found = with(top, entry, platform);
            assert!(
                matches!(&found, Err(RunnableChildrenError::Malformed(reason)) if reason.to_string().contains("duplicate")),
                "{top}{entry}{platform}: {found:?}"
            );
        }
    }

    #[test]
    fn ignores_keys_that_containerd_ignores_too() {
        assert_eq!(
            with(
                r#","x":{"Manifests":1},"annotations":{"Digest":"x"}"#,
                r#","x":[],"annotations":{"OS":"x"}"#,
                r#","oſ ":1,"os.Version.":"x""#
            ),
            Ok(1)
        );
    }

    #[test]
    fn refuses_what_is_not_one_value_of_strict_json() {
        let good = format!(r#"{{"schemaVersion":2,"manifests":[{{{GOOD}}}]}}"#);
        assert_eq!(read(&good), Ok(1));
        for json in [
            format!("\u{feff}{good}"),
            format!("{good}{{}}"),
            format!("{good}\0"),
            good.replace("]}", "],}"),
            good.replace("]}", "],\"x\":\"\\ud800\"}"),
            good.replace("]}", &format!("],\"x\":{}1{}}}", "[".repeat(100), "]".repeat(100))),
        ] {
            let found = read(&json);
            assert!(
                matches!(found, Err(RunnableChildrenError::Malformed(_))),
                "{json}: {found:?}"
            );
        }
        let json = [&b"{\"x\":\"\xff\","[..], &good.as_bytes()[1..]].concat();
        let index = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            digest: Digest::sha256(&json),
            size: json.len() as u64,
        };
        assert!(matches!(
            RunnableChildren::of(&index, &json, &NodePlatform::new("linux", "amd64")),
            Err(RunnableChildrenError::Malformed(_))
        ));
    }

    #[test]
    fn refuses_other_values_than_objects_and_text() {
        for json in [
            r#"[2,"",[]]"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"manifests":{{{GOOD}}}}}"#),
            r#"{"schemaVersion":2,"manifests":null}"#.to_owned(),
            r#"{"schemaVersion":2,"manifests":[null]}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"manifests":[{{{GOOD},"platform":["windows","amd64"]}},{{{GOOD}}}]}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[{{{GOOD},"platform":{{"os":null}}}}]}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[{{{GOOD},"platform":{{"architecture":1}}}}]}}"#),
        ] {
            let found = read(&json);
            assert!(
                matches!(
                    found,
                    Err(RunnableChildrenError::MalformedEntry | RunnableChildrenError::Malformed(_))
                ),
                "{json}: {found:?}"
            );
        }
    }

    #[test]
    fn an_index_has_few_values() {
        let values = |count: usize| {
            let padding = "1,".repeat(count);
            read(&format!(
                r#"{{"x":[{padding}1],"schemaVersion":2,"manifests":[{{{GOOD}}}]}}"#
            ))
        };
        assert_eq!(values(MAX_INDEX_VALUES - 100), Ok(1));
        assert_eq!(values(MAX_INDEX_VALUES), Err(RunnableChildrenError::TooManyValues));
    }

    #[test]
    fn takes_a_platform_for_runnable_that_go_turns_into_the_nodes() {
        for (os, architecture) in [
            ("l\u{130}nux", "amd64"),
            ("linux", "amd\u{2006}64"),
            ("l\\u0130NUX", "arm64"),
        ] {
            let entry = child("a", MediaType::OCI_MANIFEST, &platform(os, architecture));
            assert_eq!(runnable(&[entry]), Ok(1), "{os}/{architecture}");
        }
    }
}
