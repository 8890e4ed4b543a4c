//! The children of an index that a node could run.

use std::collections::BTreeSet;
use std::fmt;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::limits::MAX_RUNNABLE_CHILDREN;
use assay_verify::platform::{NodePlatform, RunnableChildren};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{Target, seeds, shown};

/// Indexes of an image.
pub const TARGET: Target = Target {
    name: "platform",
    seeds: || {
        let entry = |number: u8, more: &str| {
            let digest = format!("{number:02x}").repeat(32);
            format!(
                r#"{{"mediaType":"{}","digest":"sha256:{digest}","size":2{more}}}"#,
                MediaType::OCI_MANIFEST
            )
        };
        let (one, two) = (
            entry(1, r#","platform":{"os":"linux","architecture":"amd64","variant":"v2"}"#),
            entry(
                2,
                r#","platform":{"os":"windows","architecture":"amd64","os.version":"10"}"#,
            ),
        );
        let evil = entry(
            3,
            r#","platform":{"os":"windows"},"Platform":{"os":"linux","architecture":"amd64"}"#,
        );
        let (bare, unknown) = (
            entry(4, ""),
            entry(5, r#","platform":{"os":"unknown","architecture":"unknown"}"#),
        );
        let index = |children: &[&String]| {
            let children: Vec<_> = children.iter().map(|child| child.as_str()).collect();
            format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","))
        };
        seeds::texts(&[
            &index(&[&one]),
            &index(&[&one, &two, &unknown]),
            &index(&[&two, &bare]),
            &index(&[&one, &evil]),
            &index(&[&one, &two]).replace("windows", "l\u{130}nux"),
            &index(&[&one, &bare]).replace(
                "\"manifests\"",
                "\"mediaType\":\"\",\"annotations\":{\"A\":\"b\"},\"manifests\"",
            ),
        ])
    },
    words: &[
        b"\"platform\":{},",
        b"\"Platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},",
        b"\"platform\":null,",
        b"\"platform\":[\"linux\",\"amd64\"],",
        b"\"os\":\"linux\",",
        b"\"oS\":\"linux\",",
        "\"o\u{17f}\":\"linux\",".as_bytes(),
        b"\"o\\u017f\":\"linux\",",
        "l\u{130}nux".as_bytes(),
        b"\"os\":\"\",",
        b"\"Architecture\":\"amd64\",",
        b"\"Manifests\":[],",
        b"\"digesT\":\"\",",
        b"\"mediatype\":\"a/b\",",
        b"\"config\":{},",
        b"{},",
        b"\\u0061",
        b"[[",
        b"\xef\xbb\xbf",
        b"\xff",
    ],
    check,
    inputs: 3_000,
};

/// JSON with all keys of an object, in order, also those that are there twice.
pub(super) enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    Text(String),
    Other,
}

/// Whatever is accepted spells its keys in one way, each once, and leaves out no child that a decoder which ignores case,
/// takes the last of several keys, and lower-cases as Go does, would run on linux/amd64.
pub fn check(input: &[u8]) -> String {
    let index = Descriptor {
        media_type: MediaType::parse(MediaType::OCI_INDEX).expect("a media type"),
        digest: Digest::sha256(input),
        size: input.len() as u64,
    };
    let children = match RunnableChildren::of(&index, input, &NodePlatform::new("linux", "amd64")) {
        Ok(children) => children,
        Err(error) => return shown::error(&error).replace('"', ""),
    };
    assert!((1..=MAX_RUNNABLE_CHILDREN).contains(&children.children().len()));
    let tree: Tree = serde_json::from_slice(input).expect("what is accepted is JSON");
    exact(
        &tree,
        &[
            "schemaVersion",
            "manifests",
            "mediaType",
            "config",
            "layers",
            "fsLayers",
        ],
    );
    let manifests = tree.last("manifests").expect("an index has manifests");
    let Tree::Array(entries) = manifests else {
        panic!("manifests is no list");
    };
    for entry in entries {
        exact(entry, &["mediaType", "digest", "size", "platform"]);
        let platform = entry.last("platform");
        if let Some(platform) = platform.filter(|platform| !matches!(platform, Tree::Other)) {
            exact(
                platform,
                &["os", "architecture", "variant", "os.version", "os.features"],
            );
            let os = platform.text("os");
            if !["", "linux"].contains(&os.as_str())
                || !["amd64", "x86_64", "x86-64", "386", "i386"].contains(&platform.text("architecture").as_str())
            {
                continue;
            }
        }
        let digest = entry.text("digest");
        assert!(
            children
                .children()
                .iter()
                .any(|child| child.digest.to_string() == digest),
            "{digest} could be run"
        );
    }
    format!("{} of {}", children.children().len(), entries.len())
}

/// Asserts that an object has each of the known keys at most once, in the one spelling.
fn exact(tree: &Tree, known: &[&str]) {
    let Tree::Object(entries) = tree else {
        panic!("not an object");
    };
    let mut seen = BTreeSet::new();
    for (key, _) in entries {
        let read_as = known.iter().find(|known| fold(known) == fold(key));
        assert!(read_as.is_none_or(|known| known == key), "{key:?} is accepted");
        assert!(read_as.is_none() || seen.insert(key), "{key:?} is accepted twice");
    }
}

pub(super) fn fold(key: &str) -> String {
    lower(key).replace('\u{17f}', "s")
}

fn lower(text: &str) -> String {
    let lower = |character: char| match character {
        '\u{130}' => 'i',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    text.chars().map(lower).collect()
}

impl Tree {
    fn last(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries
                .iter()
                .rev()
                .find(|(key, _)| fold(key) == fold(name))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> String {
        match self.last(name) {
            Some(Self::Text(text)) => lower(text),
            _ => String::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Tree::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Tree::Object(object))
    }
}
