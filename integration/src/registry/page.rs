//! Pages of a web server: fixed content, or what a program answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};

/// What a page answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// Method, what of the path follows the page's own, and body.
type Program = dyn Fn(Method, String, Bytes) -> BoxFuture<'static, Answer> + Send + Sync;

#[derive(Clone)]
pub(crate) enum Page {
    Fixed(Answer),
    Program(Arc<Program>),
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(answer) => f.debug_tuple("Fixed").field(answer).finish(),
            Self::Program(_) => f.write_str("Program"),
        }
    }
}

/// A page where it was found: what of the path follows its own, with the slash.
pub(super) struct Found {
    page: Page,
    own: usize,
}

impl Found {
    pub(super) async fn answer(&self, method: Method, path: &str, body: Bytes) -> Answer {
        match &self.page {
            Page::Fixed(answer) => answer.clone(),
            Page::Program(program) => {
                let rest = path.get(self.own..).unwrap_or_default().to_owned();
                program(method, rest, body).await
            }
        }
    }
}

/// Pages by their paths. A page answers for its path and for all below it: OCSP's GET puts the request there.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<BTreeMap<String, Page>>);

impl Pages {
    pub(crate) fn put(&self, path: &str, page: Page) {
        self.lock().insert(path.to_owned(), page);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.lock().remove(path);
    }

    /// The page with the longest path that `path` is, or is below.
    pub(super) fn of(&self, path: &str) -> Option<Found> {
        let pages = self.lock();
        let is_of = |own: &str| {
            path.strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let (own, page) = pages.iter().rev().find(|(own, _)| is_of(own))?;
        Some(Found {
            page: page.clone(),
            own: own.len(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_answers_for_its_path_and_for_all_below_it() {
        let pages = Pages::default();
        for path in ["/ocsp", "/ocsp/other"] {
            let answer = Answer {
                status: StatusCode::OK,
                content_type: "text/plain".into(),
                body: Bytes::new(),
            };
            pages.put(path, Page::Fixed(answer));
        }
        for (path, own) in [
            ("/ocsp", Some(5)),
            ("/ocsp/MEMw", Some(5)),
            ("/ocsp/other/MEMw", Some(11)),
            ("/ocsps", None),
            ("/", None),
            ("/v2/", None),
        ] {
            assert_eq!(pages.of(path).map(|found| found.own), own, "{path}");
        }
        pages.remove("/ocsp");
        assert!(pages.of("/ocsp/MEMw").is_none());
    }
}
