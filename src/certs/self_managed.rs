//! Automatically managed certificates: carries out on an API server what `super::rotation` decides.
//!
//! The Secret and the webhook configurations are watched. Whenever one might have changed, all are read again, so that a decision is never
//! based on anything older than the change. Then the plan is carried out until there is nothing left to do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1;
use kube::api::Api;
use tokio::sync::Notify;
use tracing::{debug, info};

use super::clock::{Clock, Moment};
pub use super::configurations::{ConfigurationKind, ConfigurationName};
use super::configurations::{Configurations, ObjectError, bounded, patch_object};
use super::issue::{Authority, IssueError, SubjectName};
use super::keyring::{self, Keyring, ca_of};
use super::rotation::{Ca, Content, Rotation, Secret, SecretWrite, Served};
use super::serving::{Pair, PairError, Serving};
use super::state_log::ObjectLog;
use super::status::Status;
use super::x509;
use crate::kubernetes::list_watch::WatchTiming;
use crate::kubernetes::notify::{Named, notify_on_change};

/// Upper bound of steps per pass; a plan that does not converge is retried with backoff.
const MAX_STEPS: usize = 32;

/// What to manage.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the Secret.
    pub secret_namespace: String,
    /// Its name.
    pub secret_name: String,
    /// The configurations whose `caBundle` is written.
    pub configurations: Vec<ConfigurationName>,
    /// The names of the certificate.
    pub names: Vec<SubjectName>,
    /// The lifetime of a CA, from its creation.
    pub ca_lifetime: Duration,
    /// The lifetime of a serving certificate, from its signature. It expires no later than its CA.
    pub certificate_lifetime: Duration,
}

/// Manages the certificate of one replica.
pub struct SelfManaged {
    settings: Settings,
    secret: Named<v1::Secret>,
    /// The Secret as last read.
    read: Option<v1::Secret>,
    configurations: Configurations,
    clock: Arc<dyn Clock>,
    timing: WatchTiming,
    serving: Arc<Serving>,
    status: Arc<Status>,
    rotation: Rotation,
    keyring: Option<Keyring>,
    log: ObjectLog,
}

/// Why a step of the plan failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("the key of a CA is not available")]
    NoKey,
    #[error("this replica has no CA")]
    NoCa,
    #[error("a new certificate cannot be read")]
    Unreadable,
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error("rotation did not converge after {MAX_STEPS} steps")]
    NotConverging,
}

/// Without the Secret's data.
impl fmt::Debug for SelfManaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfManaged")
            .field("settings", &self.settings)
            .field("rotation", &self.rotation)
            .finish_non_exhaustive()
    }
}

impl SelfManaged {
    /// Will put certificates into `serving` while it runs.
    #[must_use]
    pub fn new(
        client: &kube::Client,
        settings: Settings,
        clock: Arc<dyn Clock>,
        timing: WatchTiming,
        serving: Arc<Serving>,
    ) -> Self {
        let configurations = Configurations::new(client, &settings.configurations);
        let (namespace, name) = (&settings.secret_namespace, &settings.secret_name);
        let secret = Named {
            api: Api::namespaced(client.clone(), namespace),
            name: name.clone(),
            what: format!("Secret {namespace}/{name}"),
            needs: format!(
                "`get`, `watch` and `patch` on secrets with resourceNames: [{name}] in namespace {namespace}"
            ),
        };
        Self {
            rotation: Rotation::new(settings.certificate_lifetime, configurations.len()),
            settings,
            secret,
            read: None,
            configurations,
            clock,
            timing,
            serving,
            status: Arc::default(),
            keyring: None,
            log: ObjectLog::default(),
        }
    }

    /// The state of the CA, for the rest of the process.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Manages the certificate until dropped.
    pub async fn run(self) {
        let changed = Arc::new(Notify::new());
        tokio::join!(
            notify_on_change(self.secret.clone(), self.timing, &changed),
            self.configurations.notify_on_change(self.timing, &changed),
            self.work(&changed),
        );
    }

    async fn work(mut self, changed: &Notify) {
        let mut backoff = self.timing.backoff();
        loop {
            let outcome = match self.read_all().await {
                Ok(()) => self.act().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(look_again) => {
                    backoff.reset();
                    self.rest(changed, look_again).await;
                }
                Err(error) => {
                    self.log.failed(&error);
                    error.pause(&mut backoff, changed).await;
                }
            }
        }
    }

    /// Waits until an object might have changed, or the plan requires a step.
    async fn rest(&mut self, changed: &Notify, mut look_again: Duration) {
        loop {
            tokio::select! {
                () = changed.notified() => return,
                () = self.clock.wait_until(look_again) => {}
            }
            let plan = self.rotation.plan(self.clock.now());
            if !plan.is_idle() {
                return;
            }
            look_again = plan.look_again;
        }
    }

    async fn read_all(&mut self) -> Result<(), ObjectError> {
        self.read_secret().await?;
        for index in 0..self.configurations.len() {
            self.read_configuration(index).await?;
        }
        Ok(())
    }

    async fn read_secret(&mut self) -> Result<(), ObjectError> {
        let read = bounded(&self.secret, "read", self.secret.api.get_opt(&self.secret.name)).await?;
        self.see_secret(read);
        Ok(())
    }

    async fn read_configuration(&mut self, index: usize) -> Result<(), ObjectError> {
        let read = self.configurations.read(index).await?;
        self.rotation.see_configuration(index, read, self.clock.now());
        Ok(())
    }

    fn see_secret(&mut self, read: Option<v1::Secret>) {
        let what = &self.secret.what;
        let seen = match &read {
            None => {
                let why = format!("{what} does not exist: create it without data; rolegate keeps the CA in it");
                self.log.invalid(what, &why);
                Secret::Missing
            }
            Some(secret) => match keyring::read(|key| Some(secret.data.as_ref()?.get(key)?.0.as_slice())) {
                keyring::Read::Empty => {
                    self.log.valid(what);
                    Secret::Empty
                }
                keyring::Read::Keyring(keyring, useless) => {
                    match useless {
                        None => self.log.valid(what),
                        Some(why) => {
                            self.log
                                .invalid(what, &format!("{what} has content that is not usable: {why}"));
                        }
                    }
                    self.status.record_expiry(keyring.content.ca.not_after());
                    let content = keyring.content.clone();
                    self.keyring = Some(*keyring);
                    Secret::Holds(content)
                }
                keyring::Read::Unusable(why) => {
                    let then = if self.keyring.is_some() {
                        "restoring the CA that this replica has in memory"
                    } else {
                        "correct it, or remove its data so that a new CA is created"
                    };
                    self.log
                        .invalid(what, &format!("{what} has no usable CA: {why}; {then}"));
                    Secret::Unusable
                }
            },
        };
        self.read = read;
        self.rotation.see_secret(seen, self.clock.now());
    }

    /// Carries out the plan until there is nothing left to do. Returns when to plan again.
    async fn act(&mut self) -> Result<Duration, ObjectError> {
        for _ in 0..MAX_STEPS {
            let plan = self.rotation.plan(self.clock.now());
            if self.rotation.is_trusted() {
                self.status.record_trusted();
            }
            if plan.is_idle() {
                self.log.recovered();
                return Ok(plan.look_again);
            }
            if plan.read_secret {
                self.read_secret().await?;
                continue;
            }
            if let Some(ca) = plan.serve {
                self.serve(&ca)?;
            }
            if let Some(write) = plan.secret {
                self.write_secret(write).await?;
            }
            for write in plan.bundles {
                match self.configurations.write(&write).await? {
                    Some(written) => self
                        .rotation
                        .see_configuration(write.configuration, written, self.clock.now()),
                    None => self.read_configuration(write.configuration).await?,
                }
            }
        }
        Err(self.error(StepError::NotConverging))
    }

    fn serve(&mut self, ca: &Ca) -> Result<(), ObjectError> {
        let now = self.clock.now();
        let signed = self.sign(ca, now).map_err(|why| self.error(why))?;
        let (pair, served) = signed;
        info!(
            until = %Timestamp::try_from(served.not_after).unwrap_or_default(),
            "serving a new certificate"
        );
        self.serving.swap(pair);
        self.rotation.see_served(served, now);
        Ok(())
    }

    fn sign(&self, ca: &Ca, now: Moment) -> Result<(Pair, Served), StepError> {
        let authority = self
            .keyring
            .as_ref()
            .and_then(|keyring| keyring.authority_of(ca))
            .ok_or(StepError::NoKey)?;
        let left = ca.not_after().duration_since(now.wall).unwrap_or_default();
        let lifetime = self.settings.certificate_lifetime.min(left);
        let leaf = authority.issue(&self.settings.names, now.wall, lifetime)?;
        let pair = Pair::from_pem(leaf.certificate_pem().as_bytes(), leaf.key_pem().as_bytes())?;
        let validity = pair.leaf().and_then(x509::validity).ok_or(StepError::Unreadable)?;
        let served = Served {
            ca: ca.clone(),
            not_before: validity.not_before.into(),
            not_after: validity.not_after.into(),
        };
        Ok((pair, served))
    }

    async fn write_secret(&mut self, write: SecretWrite) -> Result<(), ObjectError> {
        let (keyring, why) = self.keyring_for(write).map_err(|why| self.error(why))?;
        let read = self.read.as_ref();
        let version = read.and_then(|read| read.metadata.resource_version.as_deref());
        let data: Option<&BTreeMap<_, _>> = read.and_then(|read| read.data.as_ref());
        let version = version.unwrap_or_default();
        let patch = keyring.patch(version, data);
        match patch_object(&self.secret, version, patch).await? {
            Some(written) => {
                info!("wrote {}: {why}", self.secret.what);
                self.see_secret(Some(written));
                Ok(())
            }
            None => {
                debug!("another replica wrote {} first", self.secret.what);
                self.read_secret().await
            }
        }
    }

    /// What to write, and the reason for the log.
    fn keyring_for(&self, write: SecretWrite) -> Result<(Keyring, &'static str), StepError> {
        let (content, why) = match write {
            SecretWrite::Begin {
                previous,
                previous_until,
            } => {
                let mut keyring = Keyring::of(self.new_authority()?).ok_or(StepError::Unreadable)?;
                keyring.content.previous = previous;
                keyring.content.previous_until = previous_until;
                return Ok((keyring, "created a CA and started to sign with it"));
            }
            SecretWrite::Announce(content) => {
                let next = self.new_authority()?;
                let mut keyring = self.keyring_of(content)?;
                keyring.content.next = Some(ca_of(&next).ok_or(StepError::Unreadable)?);
                keyring.next = Some(next);
                return Ok((
                    keyring,
                    "created the next CA, to sign with it when the API servers trust it",
                ));
            }
            SecretWrite::Promote(content) => (content, "started to sign with the next CA"),
            SecretWrite::WriteBack(content) => (content, "restored the content that was removed"),
            SecretWrite::List(content) => (content, "added the CA of a certificate that is still in service"),
            SecretWrite::Retire(content) => (
                content,
                "removed the previous CA: no certificate that it signed is still valid",
            ),
        };
        Ok((self.keyring_of(content)?, why))
    }

    fn keyring_of(&self, content: Content) -> Result<Keyring, StepError> {
        let held = self.keyring.as_ref().ok_or(StepError::NoCa)?;
        let key = |ca: &Ca| held.authority_of(ca).cloned().ok_or(StepError::NoKey);
        Ok(Keyring {
            ca: key(&content.ca)?,
            // A `next` without a key is about to be replaced.
            next: content.next.as_ref().and_then(|next| key(next).ok()),
            content,
        })
    }

    fn new_authority(&self) -> Result<Arc<Authority>, StepError> {
        let now = self.clock.now().wall;
        let begins = Timestamp::try_from(now).unwrap_or_default();
        let authority = Authority::generate(&format!("rolegate {begins:.0}"), now, self.settings.ca_lifetime)?;
        Ok(Arc::new(authority))
    }

    fn error(&self, why: StepError) -> ObjectError {
        ObjectError::Failed {
            object: self.secret.what.clone(),
            why: format!("{}: {why}", self.secret.what),
        }
    }
}
