//! What the journal gets, in its native protocol (systemd: JOURNAL_NATIVE_PROTOCOL).
//!
//! Test machines have no journald, so the test listens where journald would and reads the datagrams as they are. Where a
//! journald runs, its socket is its own, and the test says so and fails rather than look elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Profile, SigningIdentity};
use assay_integration::envelope::EnvelopeSigner;
use assay_integration::{Assayd, Image, Question, Registry};

const SOCKET: &str = "/run/systemd/journal/socket";

/// The listener in journald's place; its socket goes with it.
struct Journal(UnixDatagram);

impl Journal {
    fn listen() -> Self {
        let path = Path::new(SOCKET);
        assert!(
            !path.exists(),
            "{SOCKET} exists: this test needs a machine without journald"
        );
        fs::create_dir_all(path.parent().expect("a folder")).expect("root makes the folder");
        let socket = UnixDatagram::bind(path).expect("root binds the socket");
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
        Self(socket)
    }

    /// The next entry with this message id.
    fn next(&self, message_id: &str) -> BTreeMap<String, String> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = self.0.recv(&mut buffer).expect("an entry within ten seconds");
            let entry = fields(&buffer[..length]);
            if entry.get("MESSAGE_ID").is_some_and(|id| id == message_id) {
                return entry;
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = fs::remove_file(SOCKET);
    }
}

/// The fields of an entry: `NAME=value`, or the name alone, a length of eight bytes and the value.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&entry[..end]).into_owned();
        entry = &entry[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
        } else if !line.is_empty() {
            let length = u64::from_le_bytes(entry[..8].try_into().expect("eight bytes"));
            let end = 8 + usize::try_from(length).expect("a length");
            fields.insert(line, String::from_utf8_lossy(&entry[8..end]).into_owned());
            entry = &entry[end + 1..];
        }
    }
    fields
}

#[tokio::test]
async fn every_decision_is_one_entry_with_the_fields_that_operators_search_for() {
    let journal = Journal::listen();
    let registry = Registry::start().await.expect("a registry");
    let image = Image::tiny("journal").expect("an image");
    image.store(registry.content(), "app", "v1");
    image.store(registry.content(), "unsigned", "v1");
    let signer = SigningIdentity::self_signed(&Profile::named("release")).expect("a signer");
    let envelope = EnvelopeSigner::new(&signer)
        .expect("a key")
        .sign(&image.descriptor(), SystemTime::now())
        .expect("an envelope");
    registry
        .content()
        .attach_signature("app", &image.descriptor(), "application/jose+json", &envelope);
    let host = registry.host();
    let policy = format!(
        "version = 1\nunmatched = \"deny\"\n\
         [authority.corp]\ntype = \"notation\"\ntrust_stores = [\"ca:corp\"]\ntrusted_identities = [\"*\"]\nlevel = \"strict\"\n\
         [[rule]]\nname = \"apps\"\nimages = [\"{host}/**\"]\nrequire = {{ all = [\"corp\"] }}\n"
    );
    let mut assayd = Assayd::builder()
        .policy(&policy)
        .file("notation/truststore/x509/ca/corp/release.pem", signer.chain_pem.clone())
        .plain_http(&host)
        .setting("log", "journald")
        .start()
        .await
        .expect("assayd");
    let loaded = journal.next("6f1d5c1ab3a04b3c9d0b7c5f2f0f7a20");
    let revision = &loaded["ASSAY_POLICY"];
    journal.next("6f1d5c1ab3a04b3c9d0b7c5f2f0f7a30");

    for (repository, id, verdict, code, priority) in [
        ("app", "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a10", "admit", "", "5"),
        ("unsigned", "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a12", "deny", "unsigned", "4"),
    ] {
        let question = Question::new(format!("{host}/{repository}:v1"), image.descriptor());
        let channel = assayd.channel().expect("a socket");
        let answer = question.grpc(channel).await.expect("an answer");
        let entry = journal.next(id);
        for (field, expected) in [
            ("SYSLOG_IDENTIFIER", "assayd"),
            ("PRIORITY", priority),
            ("ASSAY_IMAGE", &format!("{host}/{repository}")),
            ("ASSAY_DIGEST", image.digest()),
            ("ASSAY_VERDICT", verdict),
            ("ASSAY_CODE", code),
            ("ASSAY_RULE", "apps"),
            ("ASSAY_POLICY", revision),
            ("ASSAY_CACHE", "gathered"),
            ("ASSAY_DECISION_ID", &answer.decision_id),
            ("ASSAY_HOOK", "containerd-image-verifier"),
        ] {
            assert_eq!(
                entry.get(field).map(String::as_str),
                Some(expected),
                "{field} of {entry:?}"
            );
        }
        assert!(entry["ASSAY_DURATION_US"].parse::<u64>().expect("a number") > 0);
        assert!(entry["MESSAGE"].starts_with(verdict), "{}", entry["MESSAGE"]);
    }
    assayd.stop().await.expect("it stops");
    journal.next("6f1d5c1ab3a04b3c9d0b7c5f2f0f7a31");
}
