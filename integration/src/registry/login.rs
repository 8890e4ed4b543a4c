//! Logins as the distribution specification and its token flow describe them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What the registry asks of its clients.
#[derive(Clone, Debug, Default)]
pub enum Login {
    /// Nothing.
    #[default]
    Anonymous,
    /// A user name and a password (RFC 7617).
    Basic {
        /// The only user name that is let in.
        username: String,
        /// Its password.
        password: String,
    },
    /// A token from a token server, with a scope that covers the request.
    Bearer {
        /// The token server's address as the challenge names it. See [`super::Registry::serve_tokens`].
        realm: String,
        /// The service as the challenge names it.
        service: String,
        /// Who issued the tokens that are let in.
        issuer: TokenIssuer,
    },
}

impl Login {
    /// The challenge to answer with, when `authorization` does not suffice for `action` (`pull` or `push`).
    pub(super) fn refusal(&self, authorization: Option<&str>, repository: &str, action: &str) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Basic { username, password } => {
                let expected = basic(username, password);
                (authorization != Some(&expected)).then(|| "Basic realm=\"registry\"".to_owned())
            }
            Self::Bearer { realm, service, issuer } => {
                let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
                if token.is_some_and(|token| issuer.covers(token, repository, action)) {
                    return None;
                }
                let actions = if action == "push" { "pull,push" } else { "pull" };
                let scope = match repository {
                    "" => String::new(),
                    repository => format!(",scope=\"repository:{repository}:{actions}\""),
                };
                Some(format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}"))
            }
        }
    }
}

/// The `Authorization` header of a basic login.
pub fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// What proves an OAuth login, in the place of a header.
pub(super) fn refresh(token: &str) -> String {
    format!("refresh_token {token}")
}

/// Issues tokens for the scopes it is asked for and remembers them. Clones share one memory.
#[derive(Clone, Debug)]
pub struct TokenIssuer(Arc<Issuer>);

#[derive(Debug)]
struct Issuer {
    /// Absent: everybody gets a token.
    authorization: Option<String>,
    scopes_by_token: Mutex<HashMap<String, Vec<String>>>,
}

impl TokenIssuer {
    /// An issuer that gives tokens to anybody.
    pub fn anonymous() -> Self {
        Self::new(None)
    }

    /// An issuer that gives tokens to one user.
    pub fn with_password(username: &str, password: &str) -> Self {
        Self::new(Some(basic(username, password)))
    }

    /// An issuer that gives tokens to whoever has this one (OAuth: `grant_type=refresh_token`).
    pub fn with_refresh_token(token: &str) -> Self {
        Self::new(Some(refresh(token)))
    }

    fn new(authorization: Option<String>) -> Self {
        Self(Arc::new(Issuer {
            authorization,
            scopes_by_token: Mutex::default(),
        }))
    }

    /// A new token for `scopes`, unless the login is wrong.
    pub(super) fn issue(&self, authorization: Option<&str>, scopes: Vec<String>) -> Option<String> {
        if self.0.authorization.is_some() && self.0.authorization.as_deref() != authorization {
            return None;
        }
        let mut tokens = self.0.scopes_by_token.lock().unwrap_or_else(PoisonError::into_inner);
        let token = format!("token-{}", tokens.len());
        tokens.insert(token.clone(), scopes);
        Some(token)
    }

    /// Makes every token that was issued so far worthless.
    pub fn forget_tokens(&self) {
        let mut tokens = self.0.scopes_by_token.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.values_mut().for_each(Vec::clear);
    }

    fn covers(&self, token: &str, repository: &str, action: &str) -> bool {
        let tokens = self.0.scopes_by_token.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(scopes) = tokens.get(token) else { return false };
        repository.is_empty()
            || scopes.iter().any(|scope| {
                let covered = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':'));
                covered.is_some_and(|(name, actions)| name == repository && actions.split(',').any(|a| a == action))
            })
    }
}
