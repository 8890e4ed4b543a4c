//! An index by the signatures on those of its children that a node could run.

use std::collections::BTreeSet;

use assay_verify::circumstances::Circumstances;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::index::ImageIndex;
use assay_verify::judge::{Judgement, Permit, Requirement, Subject, judge};
use assay_verify::platform::{NodePlatform, RunnableChildren, RunnableChildrenError};
use assay_verify::policy::Conditions;
use proptest::prelude::*;

use crate::support::*;

/// An image for linux/amd64, by a name instead of its bytes.
fn child(name: &str) -> Descriptor {
    Descriptor {
        digest: Digest::sha256(name.as_bytes()),
        ..image()
    }
}

fn children_in(json: &str) -> Result<RunnableChildren, RunnableChildrenError> {
    let index = Descriptor {
        media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
        digest: Digest::sha256(json.as_bytes()),
        size: json.len() as u64,
    };
    RunnableChildren::of(&index, json.as_bytes(), &NodePlatform::new("linux", "amd64"))
}

fn entry(child: &Descriptor) -> String {
    format!(
        r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
        child.media_type, child.digest, child.size
    )
}

fn index_of(children: &[Descriptor]) -> RunnableChildren {
    let entries: Vec<_> = children.iter().map(entry).collect();
    children_in(&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))).unwrap()
}

/// A permit by a signature that is good until `expiry`, with a certificate of its own.
fn permit(image: &Descriptor, expiry: &str) -> Permit {
    let chain = ChainParts::default().build();
    let mut jws = Jws::new(assay_verify::crypto::EnvelopeAlgorithm::Es256, &chain);
    jws.protected["io.cncf.notary.expiry"] = expiry.into();
    jws.payload = payload(image);
    let trust = Trust::anchored_by(&chain[1]);
    let repository = "registry.example/app".parse().unwrap();
    let requirement = Requirement {
        attestations: &[],
        needed: 1,
        authorities: &[("corp", trust.authority())],
        accept_unverified: false,
        conditions: &Conditions::default(),
    };
    let subject = Subject {
        repository: &repository,
        descriptor: image,
    };
    let evidence = [evidence(JWS, &jws.envelope(), image)];
    match judge(&evidence, &subject, &requirement, &Circumstances::at(now())) {
        Judgement::Admit(permit) => *permit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn permits_an_index_only_where_every_child_has_a_permit() {
    let (one, two, other) = (child("one"), child("two"), child("other"));
    let index = index_of(&[one.clone(), two.clone()]);
    let [one, two, other] = [one, two, other].map(|child| permit(&child, EXPIRY));
    for (permits, whole) in [
        (vec![], false),
        (vec![one.clone()], false),
        (vec![two.clone()], false),
        (vec![one.clone(), one.clone()], false),
        (vec![one.clone(), other.clone()], false),
        (vec![one.clone(), two.clone()], true),
        (vec![other, two, one], true),
    ] {
        let found = Permit::of_every_child(&index, &permits);
        assert_eq!(found.is_some(), whole, "{permits:?}");
        assert!(found.is_none_or(|permit| permit.subject() == index.index()));
    }
}

#[test]
fn a_permit_is_that_of_one_descriptor() {
    let image = child("one");
    let whole = [permit(&image, EXPIRY)];
    assert!(Permit::of_every_child(&index_of(std::slice::from_ref(&image)), &whole).is_some());
    for other in [
        Descriptor {
            size: 6,
            ..image.clone()
        },
        Descriptor {
            media_type: MediaType::parse(MediaType::DOCKER_MANIFEST).unwrap(),
            ..image
        },
    ] {
        assert!(Permit::of_every_child(&index_of(&[other]), &whole).is_none());
    }
}

#[test]
fn a_permit_of_an_index_rests_on_all_that_its_childrens_rest_on() {
    let (one, two) = (child("one"), child("two"));
    let index = index_of(&[one.clone(), two.clone()]);
    let early = permit(&one, "2026-06-15T00:00:00Z");
    let late = permit(&two, EXPIRY);
    let whole = Permit::of_every_child(&index, &[early.clone(), late.clone()]).unwrap();

    assert_ne!(early.interval(), late.interval());
    assert_eq!(whole.interval(), early.interval().intersect(late.interval()));
    assert_eq!(whole.interval().until, time("2026-06-15T00:00:00Z"));

    let mut digests: BTreeSet<_> = early
        .rests_on()
        .digests
        .union(&late.rests_on().digests)
        .cloned()
        .collect();
    assert!(digests.contains(&one.digest) && digests.contains(&two.digest));
    digests.insert(index.index().digest.clone());
    assert_eq!(whole.rests_on().digests, digests);
    let certificates: BTreeSet<_> = (early.rests_on().certificates)
        .union(&late.rests_on().certificates)
        .cloned()
        .collect();
    assert!(certificates.len() > early.rests_on().certificates.len());
    assert_eq!(whole.rests_on().certificates, certificates);
    assert_eq!(whole.rests_on().identities, early.rests_on().identities);
    assert_eq!(whole.grants().len(), 2);
}

#[test]
fn a_permit_of_an_index_rests_on_every_child_that_its_own_bytes_name_and_on_those_of_no_other() {
    let (run, other) = (child("run"), child("other"));
    let open = |children: &[&Descriptor]| {
        let entries: Vec<_> = children.iter().map(|child| entry(child)).collect();
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let descriptor = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            digest: Digest::sha256(json.as_bytes()),
            size: json.len() as u64,
        };
        ImageIndex::open(&descriptor, json.as_bytes().into()).unwrap()
    };
    let index = open(&[&run, &other]);
    let mut signed = permit(index.descriptor(), EXPIRY);
    let before = signed.rests_on().clone();
    assert!(!signed.rest_on_children(&open(&[&other])));
    assert_eq!(*signed.rests_on(), before);
    assert!(signed.rest_on_children(&index));
    let mut expected = before;
    expected.digests.extend([run.digest, other.digest]);
    assert_eq!(*signed.rests_on(), expected);
}

/// Keys and text of one platform.
type Fields = Vec<(&'static str, &'static str)>;
/// The platforms of one entry, under their keys.
type Platforms = Vec<(&'static str, Fields)>;

/// The lower case of Go's `strings.ToLower`, as far as it meets ASCII.
fn go_lower(text: &str) -> String {
    let lower = |character: char| match character {
        '\u{130}' => 'i',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    text.chars().map(lower).collect()
}

/// The key as Go's decoder compares it.
fn go_key(key: &str) -> String {
    go_lower(key).replace('\u{17f}', "s")
}

/// What Go's decoder makes of an entry's platforms, and containerd on linux/amd64 of that.
fn containerd_runs(platforms: &Platforms) -> bool {
    let mut read: Option<(String, String)> = None;
    for (key, fields) in platforms {
        if go_key(key) != "platform" {
            continue;
        }
        let (os, architecture) = read.get_or_insert_default();
        for (key, value) in fields {
            match go_key(key).as_str() {
                "os" => *os = go_lower(value),
                "architecture" => *architecture = go_lower(value),
                _ => {}
            }
        }
    }
    read.is_none_or(|(os, architecture)| {
        ["", "linux"].contains(&os.as_str())
            && ["amd64", "x86_64", "x86-64", "386", "i386"].contains(&architecture.as_str())
    })
}

fn is_plain(platforms: &Platforms) -> bool {
    let once = |keys: Vec<&str>| keys.iter().collect::<BTreeSet<_>>().len() == keys.len();
    let fields = |fields: &Fields| {
        let keys: Vec<_> = fields.iter().map(|(key, _)| *key).collect();
        keys.iter().all(|key| ["os", "architecture", "x"].contains(key)) && once(keys)
    };
    let keys: Vec<_> = platforms.iter().map(|(key, _)| *key).collect();
    keys.iter().all(|key| *key == "platform") && once(keys) && platforms.iter().all(|(_, found)| fields(found))
}

fn platforms() -> impl Strategy<Value = Platforms> {
    let field = (
        prop::sample::select(vec!["os", "os", "os", "OS", "o\u{17f}", "x"]),
        prop::sample::select(vec!["linux", "windows", "Linux", "l\u{130}nux", "unknown", ""]),
    );
    let other = (
        prop::sample::select(vec!["architecture", "architecture", "architecture", "Architecture"]),
        prop::sample::select(vec!["amd64", "arm64", "X86_64", "i386", "unknown", "", "amd\u{212a}"]),
    );
    let fields = (prop::collection::vec(field, 0..2), prop::collection::vec(other, 0..2));
    let fields = fields.prop_map(|(one, two)| [one, two].concat());
    let key = prop::sample::select(vec!["platform", "platform", "platform", "Platform", "PLATFORM"]);
    prop::collection::vec((key, fields), 0..3)
}

proptest! {
    #[test]
    fn what_containerd_could_run_is_never_left_out(entries in prop::collection::vec(platforms(), 1..5)) {
        let mut text = Vec::new();
        for (number, platforms) in entries.iter().enumerate() {
            let child = child(&number.to_string());
            let mut entry = format!(r#""mediaType":"{}","digest":"{}","size":5"#, child.media_type, child.digest);
            for (key, fields) in platforms {
                let fields: Vec<_> = fields.iter().map(|(key, value)| format!(r#""{key}":"{value}""#)).collect();
                entry += &format!(r#","{key}":{{{}}}"#, fields.join(","));
            }
            text.push(format!("{{{entry}}}"));
        }
        let found = children_in(&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, text.join(",")));
        let plain = entries.iter().all(is_plain);
        match found {
            Ok(found) => {
                prop_assert!(plain);
                for (number, platforms) in entries.iter().enumerate() {
                    let counted = found.children().contains(&child(&number.to_string()));
                    prop_assert!(counted || !containerd_runs(platforms), "{:?}", platforms);
                }
            }
            Err(RunnableChildrenError::Nothing) => prop_assert!(plain && !entries.iter().any(containerd_runs)),
            Err(error) => prop_assert!(!plain, "{}", error),
        }
    }
}
