//! Standard input: the descriptor of what will be unpacked.

use std::{collections::HashMap, io, os::fd::AsFd, time::Instant};

use assay_proto::v1::Descriptor;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::read,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    limits::MAX_STDIN,
    verdict::{Code, Denied},
};

/// What containerd 2.0 and later writes: the descriptor of the resolved, top-level target as one JSON document.
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";

/// A wider document that containerd has been offered (containerd #12541): the descriptor, the operation (pull or run)
/// and annotations.
const INPUT: &str = "application/vnd.containerd.image-verifier.input.v1+json";

/// What standard input said.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Input {
    /// The descriptor, unless standard input has a form that this hook does not know.
    pub(crate) descriptor: Option<Descriptor>,
    /// What else it said, for [`assay_proto::v1::VerifyRequest::context`].
    pub(crate) context: HashMap<String, String>,
}

/// An OCI content descriptor, as far as the daemon wants it (OCI image-spec, descriptor.md). Other fields are allowed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorDocument {
    media_type: String,
    digest: String,
    size: u64,
}

/// Annotations are left out: nothing names them yet, and they are the image author's words.
#[derive(Deserialize)]
struct InputDocument {
    descriptor: DescriptorDocument,
    operation: Option<String>,
}

impl From<DescriptorDocument> for Descriptor {
    fn from(document: DescriptorDocument) -> Self {
        Self {
            media_type: document.media_type,
            digest: document.digest,
            size: document.size,
        }
    }
}

/// Reads what `media_type` announces. Standard input of another form, or of none, is left alone.
pub(crate) fn read_input(media_type: Option<&str>, stdin: impl AsFd, deadline: Instant) -> Result<Input, Denied> {
    match media_type {
        Some(DESCRIPTOR) => {
            let document: DescriptorDocument = read_document(stdin, deadline)?;
            Ok(Input {
                descriptor: Some(document.into()),
                context: HashMap::new(),
            })
        }
        Some(INPUT) => {
            let document: InputDocument = read_document(stdin, deadline)?;
            let context = document
                .operation
                .map(|operation| ("operation".to_owned(), operation))
                .into_iter()
                .collect();
            Ok(Input {
                descriptor: Some(document.descriptor.into()),
                context,
            })
        }
        _ => Ok(Input::default()),
    }
}

/// Reads one JSON document. It ends where its last brace is: whoever writes it may keep the other end open.
fn read_document<T: DeserializeOwned>(stdin: impl AsFd, deadline: Instant) -> Result<T, Denied> {
    let mut document = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = read_before(&stdin, &mut chunk, deadline)?;
        document.extend(chunk.iter().take(count));
        if document.len() > MAX_STDIN {
            return Err(malformed(format!("standard input is longer than {MAX_STDIN} bytes")));
        }
        let ended = count == 0;
        if !ended && !document.trim_ascii_end().ends_with(b"}") {
            continue;
        }
        match serde_json::from_slice(&document) {
            Ok(document) => return Ok(document),
            Err(error) if error.is_eof() && !ended => {}
            // serde_json names the place and the field, and quotes at most a value of the wrong type.
            Err(error) => return Err(malformed(format!("standard input is not a descriptor: {error}"))),
        }
    }
}

/// One read that waits no longer than the deadline. Without a thread, and so without tokio's standard input.
fn read_before(stdin: impl AsFd, chunk: &mut [u8], deadline: Instant) -> Result<usize, Denied> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => {
                return Err(Denied::new(
                    Code::Deadline,
                    "standard input did not deliver the descriptor in time",
                ));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(unreadable(error)),
        }
        match read(&stdin, chunk) {
            Ok(count) => return Ok(count),
            // EAGAIN: the other end made the pipe non-blocking, and someone else read first.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

fn unreadable(error: Errno) -> Denied {
    malformed(format!("standard input cannot be read: {}", io::Error::from(error)))
}

fn malformed(reason: impl Into<String>) -> Denied {
    Denied::new(Code::RequestMalformed, reason)
}
