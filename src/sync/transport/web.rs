//! A repository that a web server or a store serves.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{AsHeaderName, DATE, ETAG, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::fmt::rfc2822;
use reqwest::Response;
use tokio::time::timeout;
use url::Url;

use assay_verify::Timestamp;
use assay_verify::limits::{
    MAX_ERROR_BODY_SIZE, MAX_ETAG_LENGTH, MAX_NOT_MODIFIED, READ_IDLE_TIMEOUT, RESPONSE_HEAD_TIMEOUT,
};

use super::{Asked, Counters, TransportError};
use crate::fetch::{Client, ConfigError, innermost};

/// The folder that is served, and the connections to its server.
pub(super) struct WebRepository {
    base: Url,
    client: reqwest::Client,
    /// What was last read of the file that is read again and again.
    known: Mutex<Option<Known>>,
}

/// An answer and its validator (RFC 9110 §8.8.3).
#[derive(Clone)]
struct Known {
    etag: HeaderValue,
    body: Vec<u8>,
    /// How often in a row the server has said that it is so.
    believed: u32,
}

impl WebRepository {
    pub(super) fn new(base: &Url, extra_ca: &[Vec<u8>], clients: &Client) -> Result<Self, ConfigError> {
        Ok(Self {
            base: base.clone(),
            client: clients.web_client(base, extra_ca)?,
            known: Mutex::default(),
        })
    }

    pub(super) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn read(
        &self,
        path: &str,
        limit: usize,
        asked: Asked,
        counters: &Counters,
    ) -> Result<Option<Vec<u8>>, TransportError> {
        let known = (asked == Asked::Again).then(|| self.known().clone()).flatten();
        let known = known.filter(|known| known.believed < MAX_NOT_MODIFIED);
        let condition = known.as_ref().map(|known| &known.etag);
        let mut response = match self.send(path, condition, counters).await {
            // A server closes a connection that nobody uses, perhaps in the moment in which it is used again.
            Err(TransportError::Interrupted { .. }) => self.send(path, condition, counters).await?,
            sent => sent?,
        };
        let status = response.status();
        match status {
            StatusCode::OK => {
                let etag = (asked == Asked::Again).then(|| etag(response.headers())).flatten();
                let body = self.body(path, response, limit).await?;
                counters.came(body.len());
                if asked == Asked::Again {
                    *self.known() = etag.map(|etag| Known {
                        etag,
                        body: body.clone(),
                        believed: 0,
                    });
                }
                Ok(Some(body))
            }
            // Who was not asked whether something has changed cannot know to what.
            StatusCode::NOT_MODIFIED if known.is_some() => {
                counters.not_modified();
                if let Some(known) = &mut *self.known() {
                    known.believed += 1;
                }
                Ok(known.map(|known| known.body))
            }
            StatusCode::NOT_FOUND => {
                drain(path, &mut response).await;
                Ok(None)
            }
            // Stores say so of what they do not have to those who may not list it.
            StatusCode::FORBIDDEN if asked == Asked::Perhaps => {
                drain(path, &mut response).await;
                Ok(None)
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(TransportError::Busy {
                file: path.into(),
                status: status.as_u16(),
                retry_after: retry_after(response.headers()),
            }),
            _ if status.is_redirection() && status != StatusCode::NOT_MODIFIED => Err(TransportError::Redirected {
                file: path.into(),
                status: status.as_u16(),
            }),
            _ => Err(TransportError::Status {
                file: path.into(),
                status: status.as_u16(),
            }),
        }
    }

    /// Asks once, and waits for the head of the answer.
    async fn send(
        &self,
        path: &str,
        condition: Option<&HeaderValue>,
        counters: &Counters,
    ) -> Result<Response, TransportError> {
        let mut request = self.client.get(self.url(path));
        if let Some(etag) = condition {
            request = request.header(IF_NONE_MATCH, etag.clone());
        }
        counters.request();
        match timeout(RESPONSE_HEAD_TIMEOUT, request.send()).await {
            Ok(sent) => sent.map_err(|error| failure(path, &error)),
            Err(_) => Err(TransportError::Silent { file: path.into() }),
        }
    }

    /// The address of a file. Its segments are plain names, and become segments whatever they hold.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    /// Reads a whole answer of at most `limit` bytes. The declared length may refuse it early; it never allocates.
    async fn body(&self, path: &str, mut response: Response, limit: usize) -> Result<Vec<u8>, TransportError> {
        let too_large = || TransportError::TooLarge {
            file: path.into(),
            limit,
        };
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = next_chunk(path, &mut response).await? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Reads the little that is said of a file that is not there, so that the connection is used again.
async fn drain(path: &str, response: &mut Response) {
    let mut left = MAX_ERROR_BODY_SIZE;
    while let Ok(Some(chunk)) = next_chunk(path, response).await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            break;
        }
    }
}

async fn next_chunk(path: &str, response: &mut Response) -> Result<Option<bytes::Bytes>, TransportError> {
    match timeout(READ_IDLE_TIMEOUT, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(TransportError::Interrupted {
            file: path.into(),
            cause: innermost(&error).into(),
        }),
        Err(_) => Err(TransportError::Silent { file: path.into() }),
    }
}

fn failure(path: &str, error: &reqwest::Error) -> TransportError {
    let (file, cause) = (path.into(), innermost(error).into());
    if error.is_connect() {
        TransportError::Connect { file, cause }
    } else {
        TransportError::Interrupted { file, cause }
    }
}

/// The validator of an answer, if it can be sent back, and would be another if the file changed.
///
/// Some servers make it of the second in which the file was changed, and of the file's length. What is published twice in one
/// second then has one validator, so that of a file which was changed in the second of the answer says nothing.
fn etag(headers: &HeaderMap) -> Option<HeaderValue> {
    let etag = headers.get(ETAG).filter(|etag| etag.len() <= MAX_ETAG_LENGTH)?;
    let changed = headers.contains_key(LAST_MODIFIED);
    let before = !changed || time(headers, LAST_MODIFIED)? < time(headers, DATE)?;
    before.then(|| etag.clone())
}

/// A time in a header (RFC 9110 §5.6.7), to the second.
fn time(headers: &HeaderMap, name: impl AsHeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    Some(rfc2822::parse(text).ok()?.timestamp())
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). Its other form, a date, would need the server's clock to be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        headers.iter().map(header).collect()
    }

    #[test]
    fn a_validator_counts_if_a_later_change_gives_another() {
        const TAG: (&str, &str) = ("etag", "\"69299000-215\"");
        let changed = |time| ("last-modified", time);
        let answered = |time| ("date", time);
        for (headers, counts) in [
            (vec![TAG], true),
            (vec![TAG, answered("Sat, 28 Nov 2026 10:00:00 GMT")], true),
            (
                vec![
                    TAG,
                    changed("Sat, 28 Nov 2026 09:59:59 GMT"),
                    answered("Sat, 28 Nov 2026 10:00:00 GMT"),
                ],
                true,
            ),
            (
                vec![
                    TAG,
                    changed("Sat, 28 Nov 2026 10:00:00 GMT"),
                    answered("Sat, 28 Nov 2026 10:00:00 GMT"),
                ],
                false,
            ),
            (
                vec![
                    TAG,
                    changed("Sat, 28 Nov 2026 10:00:01 GMT"),
                    answered("Sat, 28 Nov 2026 10:00:00 GMT"),
                ],
                false,
            ),
            (vec![TAG, changed("Sat, 28 Nov 2026 10:00:00 GMT")], false),
            (
                vec![TAG, changed("yesterday"), answered("Sat, 28 Nov 2026 10:00:00 GMT")],
                false,
            ),
            (vec![], false),
        ] {
            assert_eq!(etag(&answer(&headers)).is_some(), counts, "{headers:?}");
        }
    }
}
