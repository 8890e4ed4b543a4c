//! Running the node's verification plugins (notation spec: plugin-extensibility.md#plugin-contract).
//!
//! [`Plugins`] answers the two questions that a judgement may have for a plugin. What the plugin writes is bytes that
//! nobody has looked at; what they mean is decided by [`assay_verify::notation::plugin`].
//!
//! Only programs that the configuration names are run: a signature's word for its plugin is looked up, never searched for
//! in a folder. A run has a time limit, output limits, an environment of its own, and ends with everything it started in
//! its process group.

mod executable;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use assay_verify::code::Code;
use assay_verify::digest::Digest;
use assay_verify::limits::{
    GATHER_DEADLINE, MAX_CONCURRENT_PLUGINS, MAX_PLUGIN_OUTPUT, PLUGIN_FAILURE_LIFETIME, PLUGIN_TIMEOUT,
};
use assay_verify::notation::plugin::{ErrorResponse, PluginMetadata};
use assay_verify::query::{PluginName, Query, Unanswered};
use assay_verify::untrusted::Untrusted;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::executable::{Executable, ExecutableError, FileState};
use crate::process::{Output, Program, RunError, RunLimits, run};

/// A plugin as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// The program: a file that only root or the daemon's user may write, in a folder of which the same is true.
    pub path: PathBuf,
    /// The SHA-256 of the program. Another program is not run.
    pub sha256: Option<Digest>,
    /// The plugin's whole environment.
    pub environment: BTreeMap<String, String>,
    /// What the plugin is told as its configuration, beside every question.
    pub config: BTreeMap<String, String>,
}

/// The plugins of this node.
#[derive(Debug)]
pub struct Plugins {
    installed: BTreeMap<PluginName, Installed>,
    slots: Arc<Semaphore>,
    user: u32,
}

#[derive(Debug)]
struct Installed {
    config: PluginConfig,
    /// What the program in this state says about itself. The lock is held while it is asked, so it is asked once.
    metadata: tokio::sync::Mutex<Option<Word>>,
    /// The state in which the program had the digest that is pinned.
    pinned: std::sync::Mutex<Option<FileState>>,
}

/// What became of asking a program about itself.
#[derive(Debug)]
struct Word {
    state: FileState,
    answer: Result<Arc<[u8]>, Unanswered>,
    /// None where it counts until the program changes. What cannot be used is asked for again: it may have been a bad
    /// moment.
    until: Option<Instant>,
}

impl Word {
    fn counts(&self, state: FileState) -> bool {
        self.state == state && self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Plugins {
    /// The plugins of a configuration. None is run or looked at yet.
    pub fn new(plugins: BTreeMap<PluginName, PluginConfig>) -> Self {
        let installed = |config| Installed {
            config,
            metadata: tokio::sync::Mutex::default(),
            pinned: std::sync::Mutex::default(),
        };
        Self {
            installed: plugins
                .into_iter()
                .map(|(name, config)| (name, installed(config)))
                .collect(),
            slots: Arc::new(Semaphore::new(MAX_CONCURRENT_PLUGINS)),
            user: nix::unistd::geteuid().as_raw(),
        }
    }

    /// Looks at every program without running it, and says which could not be run and why. Reads pinned ones whole, so
    /// not on a thread that answers.
    pub fn problems(&self) -> Vec<(PluginName, Untrusted)> {
        let problem = |(name, installed): (&PluginName, &Installed)| {
            let error = Executable::open(&installed.config.path, self.user)
                .and_then(|executable| installed.check_pin(&executable))
                .err()?;
            Some((name.clone(), error.to_string().into()))
        };
        self.installed.iter().filter_map(problem).collect()
    }

    /// Answers a question for a plugin. A plugin's word about itself is remembered until its program changes,
    /// and that it has none that can be used for [`PLUGIN_FAILURE_LIFETIME`].
    ///
    /// Dropping the future ends the plugin.
    ///
    /// # Errors
    ///
    /// When the plugin is not configured, may not be run, fails, or takes too long. The reason has the plugin's own words
    /// where it gives any.
    pub async fn answer(&self, query: &Query) -> Result<Arc<[u8]>, Unanswered> {
        match query {
            Query::PluginMetadata(plugin) => self.metadata(plugin, self.find(plugin)?).await,
            Query::PluginVerdict { plugin, request } => self.verdict(plugin, self.find(plugin)?, request).await,
            Query::Crl(_) | Query::Ocsp { .. } => Err(unavailable("this is no question for a plugin")),
        }
    }

    fn find(&self, plugin: &PluginName) -> Result<&Installed, Unanswered> {
        self.installed
            .get(plugin)
            .ok_or_else(|| unavailable("it is not configured on this node"))
    }

    async fn metadata(&self, plugin: &PluginName, installed: &Installed) -> Result<Arc<[u8]>, Unanswered> {
        let mut known = installed.metadata.lock().await;
        let executable = self.open(installed).await?;
        let state = executable.state();
        if let Some(word) = known.as_ref().filter(|word| word.counts(state)) {
            return word.answer.clone();
        }
        let request = with_config(Map::new(), installed);
        let answer = self
            .run(plugin, installed, executable, "get-plugin-metadata", request)
            .await;
        let usable = answer
            .as_ref()
            .is_ok_and(|answer| PluginMetadata::parse(answer, plugin).is_ok());
        *known = Some(Word {
            state,
            answer: answer.clone(),
            until: (!usable).then(|| Instant::now() + PLUGIN_FAILURE_LIFETIME),
        });
        answer
    }

    async fn verdict(
        &self,
        plugin: &PluginName,
        installed: &Installed,
        request: &str,
    ) -> Result<Arc<[u8]>, Unanswered> {
        let request: Map<String, Value> =
            serde_json::from_str(request).map_err(|error| unavailable(format!("the request is malformed: {error}")))?;
        let request = with_config(request, installed);
        let executable = self.open(installed).await?;
        self.run(plugin, installed, executable, "verify-signature", request)
            .await
    }

    async fn open(&self, installed: &Installed) -> Result<Executable, Unanswered> {
        let (path, user) = (installed.config.path.clone(), self.user);
        let opened = tokio::task::spawn_blocking(move || Executable::open(&path, user)).await;
        opened
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(|error| unavailable(error.to_string()))
    }

    async fn run(
        &self,
        plugin: &PluginName,
        installed: &Installed,
        executable: Executable,
        command: &'static str,
        request: String,
    ) -> Result<Arc<[u8]>, Unanswered> {
        // Whoever waits here waits as part of a gather, and goes on when its asker gave up.
        let Ok(Ok(slot)) = timeout(GATHER_DEADLINE, self.slots.clone().acquire_owned()).await else {
            return Err(Unanswered {
                code: Code::LimitExceeded,
                reason: format!("{MAX_CONCURRENT_PLUGINS} plugins are running already").into(),
            });
        };
        let executable = installed.checked(executable).await?;
        let environment = installed.config.environment.iter();
        let program = Program {
            path: executable.descriptor_path(),
            hold: Box::new(executable),
            name: format!("notation-{plugin}"),
            arguments: vec![command.to_owned()],
            environment: environment.map(|(name, value)| (name.into(), value.into())).collect(),
            limits: RunLimits {
                time: PLUGIN_TIMEOUT,
                output: MAX_PLUGIN_OUTPUT,
            },
        };
        match run(program, request.into_bytes(), slot).await {
            Ok(output) => answer(output),
            Err(error @ RunError::TooMuch(_)) => Err(Unanswered {
                code: Code::LimitExceeded,
                reason: error.to_string().into(),
            }),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}

impl Installed {
    /// The program, when it is the one that is pinned or none is. Hashing is left to a thread that may block.
    async fn checked(&self, executable: Executable) -> Result<Executable, Unanswered> {
        let Some(expected) = self.config.sha256.clone() else {
            return Ok(executable);
        };
        let state = executable.state();
        if *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) == Some(state) {
            return Ok(executable);
        }
        let checked =
            tokio::task::spawn_blocking(move || executable.check_digest(&expected).map(|()| executable)).await;
        let executable = checked
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(|error| unavailable(error.to_string()))?;
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        Ok(executable)
    }

    fn check_pin(&self, executable: &Executable) -> Result<(), ExecutableError> {
        match &self.config.sha256 {
            Some(expected) => executable.check_digest(expected),
            None => Ok(()),
        }
    }
}

/// What a run that ended says.
fn answer(output: Output) -> Result<Arc<[u8]>, Unanswered> {
    if output.status.success() {
        return Ok(output.stdout.into());
    }
    // notation reads the error whatever the exit code; the specification asks for it with 1 only.
    Err(unavailable(match ErrorResponse::parse(&output.stderr) {
        Ok(response) => response.reason,
        Err(_) => {
            let words = String::from_utf8_lossy(output.stderr.get(..MAX_WORDS).unwrap_or(&output.stderr));
            match words.trim() {
                "" => format!("it failed without a word ({})", output.status).into(),
                words => format!("it failed ({}): {words}", output.status).into(),
            }
        }
    }))
}

/// What is kept of the standard error of a plugin that fails without following the contract. More would not be shown.
const MAX_WORDS: usize = assay_verify::limits::MAX_SHOWN_LENGTH;

const _: () = assert!(MAX_WORDS < MAX_PLUGIN_OUTPUT);

fn with_config(mut request: Map<String, Value>, installed: &Installed) -> String {
    if !installed.config.config.is_empty() {
        let config = installed.config.config.iter();
        let config: Map<String, Value> = config
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        request.insert("pluginConfig".to_owned(), config.into());
    }
    Value::from(request).to_string()
}

fn unavailable(reason: impl Into<Untrusted>) -> Unanswered {
    Unanswered {
        code: Code::PluginUnavailable,
        reason: reason.into(),
    }
}
