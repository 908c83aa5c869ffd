//! The effective identity of a container: which credentials the default chain of the AWS SDKs will use in it.
//!
//! It is derived from the pod: literal variables, expanded as the kubelet does, and volumes. The SDKs take static keys first, then a web
//! identity, then a container credentials server, then the role of the node. A web identity counts only if it is complete. What `envFrom`,
//! the image and files of the container add is not known at admission.
//!
//! Injection, evaluation, warnings and audit records are all based on this value.

mod server;
mod token;

use std::borrow::Cow;
use std::collections::BTreeSet;

use self::server::CredentialsServer;
pub(crate) use self::server::is_accepted_by_sdks;
use self::token::{OurToken, Token};
use super::environment::{Environment, Known};
use super::identity::AnnotationRules;
use super::paths::{PathStyle, Relation};
use super::selection::Selection;
use super::settings::{PodIdentitySettings, WebIdentitySettings};
use super::variables::{
    ACCESS_KEY_ID, AUTHORIZATION_TOKEN_FILE, OLD_ACCESS_KEY, OLD_SECRET_KEY, ROLE_ARN, ROLE_SESSION_NAME,
    SECRET_ACCESS_KEY, WEB_IDENTITY_TOKEN_FILE,
};
use super::view::{Container, ContainerList, PodView, TOKEN_PATH, TOKEN_VOLUME, VolumeMount};
use super::volumes::Volumes;
use crate::trust::{Audience, RoleArn};

/// The effective identities of a pod's containers: init containers first, then containers; or of its new ephemeral containers.
#[derive(Clone, Debug)]
pub struct EffectiveIdentities<'p> {
    containers: Vec<ContainerIdentity<'p>>,
}

/// The effective identity of one container, and what injection needs to know of it.
#[derive(Clone, Debug)]
pub struct ContainerIdentity<'p> {
    pub(super) list: ContainerList,
    pub(super) index: usize,
    pub(super) container: &'p Container<'p>,
    identity: Identity<'p>,
    keys: StaticKeys,
    incomplete: Option<Incomplete>,
    session_name: Known<'p>,
    /// Where it mounts the token volume itself, when something else is at the injected token file; and that file.
    misplaced_mount: Option<(&'p str, String)>,
    /// Whether it names a container credentials server and sets no variable of a web identity: what rolegate injects would come
    /// first and change the container's role, so nothing is injected.
    pub(super) is_left_alone: bool,
    /// The file with the token for the EKS Pod Identity agent, when no mount holds it.
    missing_agent_token: Option<String>,
    /// Whether its token file is below the mount of the token volume and another file: the mount would hide it.
    pub(super) hides_own_file: bool,
    /// Whether its token file is the token that rolegate puts into the pod, at a path where no mount is yet.
    pub(super) needs_mount: bool,
}

/// The credentials that the default chain of the AWS SDKs ends at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity<'p> {
    /// Left out by an annotation of the pod: nothing is injected, and it decides nothing.
    Skipped,
    /// It sets nothing: what rolegate injects.
    Injected,
    /// A complete web identity of its own.
    WebIdentity(OwnWebIdentity<'p>),
    /// EKS Pod Identity: the agent's address and a token.
    PodIdentity,
    /// Another container credentials server.
    ContainerCredentials {
        /// The variable that names it.
        variable: &'static str,
    },
    /// Static keys, which come first.
    StaticKeys,
    /// None: SDKs fail, or use the role of the node.
    None(NoIdentity),
    /// It depends on something that is not known at admission.
    Unknown(Unverifiable<'p>),
}

/// A web identity that a container sets itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnWebIdentity<'p> {
    /// `AWS_ROLE_ARN`.
    pub role: RoleArn,
    /// The audience of the token at `AWS_WEB_IDENTITY_TOKEN_FILE`. None: that of the token which rolegate puts into the pod.
    pub audience: Option<Cow<'p, str>>,
}

/// Why a container has no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoIdentity {
    /// Its web identity is incomplete.
    Incomplete(Incomplete),
    /// A container credentials URI that SDKs refuse.
    RefusedUri,
    /// The address of the EKS Pod Identity agent without a token for it.
    NoAgentToken,
}

/// A web identity of which a part is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incomplete {
    /// A variable is set, but empty.
    Empty(&'static str),
    /// One of the two variables is set, the other is not.
    Missing {
        /// The one that is set.
        set: &'static str,
        /// The other.
        unset: &'static str,
    },
}

/// What an effective identity depends on that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unverifiable<'p> {
    /// `valueFrom`, or a reference to something that is not in the pod.
    Value(&'static str),
    /// `AWS_ROLE_ARN` is this text, which is not the ARN of a role.
    NotARoleArn(Cow<'p, str>),
    /// The token file is the token for the API server, whose audience is not known.
    ApiServerToken,
    /// No projected token is known at this path.
    TokenFile(Cow<'p, str>),
}

/// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StaticKeys {
    Absent,
    /// The first without the second: some SDKs fail.
    IdAlone,
    /// Both may be set; a value is not known.
    Possible,
    /// Both by older names, which some SDKs read.
    OldNames,
    /// Both, literal and not empty.
    Set,
}

impl<'p> EffectiveIdentities<'p> {
    /// Of the init containers and containers of a pod.
    #[must_use]
    pub fn of_pod(
        rules: &AnnotationRules,
        pod: &'p PodView<'p>,
        web: &WebIdentitySettings,
        agent: &PodIdentitySettings,
    ) -> Self {
        let observer = Observer::new(rules, pod, web, agent);
        let containers = pod.containers();
        Self {
            containers: containers
                .map(|(list, index, container)| observer.observe(list, index, container))
                .collect(),
        }
    }

    /// Of the ephemeral containers that `old` does not have.
    #[must_use]
    pub fn of_new_ephemeral(
        rules: &AnnotationRules,
        old: &PodView<'_>,
        new: &'p PodView<'p>,
        web: &WebIdentitySettings,
        agent: &PodIdentitySettings,
    ) -> Self {
        let older: BTreeSet<&str> = old
            .ephemeral_containers()
            .map(|(_, container)| container.name())
            .collect();
        let observer = Observer::new(rules, new, web, agent);
        Self {
            containers: new
                .ephemeral_containers()
                .filter(|(_, container)| !older.contains(container.name()))
                .map(|(index, container)| observer.observe(ContainerList::Ephemeral, index, container))
                .collect(),
        }
    }

    /// The containers in their order.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerIdentity<'p>> {
        self.containers.iter()
    }

    /// Whether every container that is not skipped uses EKS Pod Identity, and there is one: such a pod is EKS's.
    #[must_use]
    pub fn are_all_pod_identity(&self) -> bool {
        let mut chosen = self
            .containers()
            .filter(|container| container.identity != Identity::Skipped)
            .peekable();
        chosen.peek().is_some() && chosen.all(|container| container.identity == Identity::PodIdentity)
    }

    /// Whether a container sets nothing and is not skipped, so that what it uses is what is injected.
    #[must_use]
    pub fn lack_identity(&self) -> bool {
        self.containers()
            .any(|container| container.identity == Identity::Injected)
    }

    /// Whether a container uses EKS Pod Identity.
    #[must_use]
    pub fn use_pod_identity(&self) -> bool {
        self.containers()
            .any(|container| container.identity == Identity::PodIdentity)
    }

    /// The first container with a web identity of its own.
    #[must_use]
    pub fn own_web_identity(&self) -> Option<&ContainerIdentity<'p>> {
        self.containers()
            .find(|container| matches!(container.identity, Identity::WebIdentity(_)))
    }

    /// The identities if no web identity is injected: the token is not at its path where its mount would have been added.
    #[must_use]
    pub fn without_injection(&self) -> Self {
        let mut containers = self.containers.clone();
        for container in &mut containers {
            if container.needs_mount && matches!(container.identity, Identity::WebIdentity(_)) {
                let environment = Environment::of(container.container);
                container.identity = Identity::Unknown(match environment.get(WEB_IDENTITY_TOKEN_FILE) {
                    Known::Text(file) => Unverifiable::TokenFile(file),
                    _ => Unverifiable::Value(WEB_IDENTITY_TOKEN_FILE),
                });
            }
        }
        Self { containers }
    }

    /// The identities once EKS Pod Identity is injected into the containers that set nothing.
    #[must_use]
    pub fn with_pod_identity(&self) -> Self {
        let mut containers = self.containers.clone();
        for container in &mut containers {
            if container.identity == Identity::Injected {
                container.identity = Identity::PodIdentity;
                // It is about the token of a web identity.
                container.misplaced_mount = None;
            }
        }
        Self { containers }
    }
}

impl<'p> ContainerIdentity<'p> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'p str {
        self.container.name()
    }

    /// Which credentials it will use.
    #[must_use]
    pub const fn identity(&self) -> &Identity<'p> {
        &self.identity
    }

    /// The session name that it sets itself, when that is known.
    #[must_use]
    pub fn session_name(&self) -> Option<&str> {
        self.session_name.text()
    }

    /// Whether static keys might take the place of its web identity: then its role is evaluated, but not refused.
    #[must_use]
    pub fn might_use_static_keys(&self) -> bool {
        matches!(self.keys, StaticKeys::Possible)
    }

    pub(super) const fn keys(&self) -> StaticKeys {
        self.keys
    }

    /// Matters only where the identity is injected.
    pub(super) fn misplaced_mount(&self) -> Option<(&'p str, &str)> {
        self.misplaced_mount.as_ref().map(|(at, file)| (*at, file.as_str()))
    }

    /// The file with the token for the EKS Pod Identity agent, when no mount holds it.
    #[must_use]
    pub fn missing_agent_token(&self) -> Option<&str> {
        self.missing_agent_token.as_deref()
    }

    pub(super) const fn incomplete(&self) -> Option<Incomplete> {
        self.incomplete
    }
}

/// What is the same for all containers of a pod.
struct Observer<'p, 's> {
    volumes: Volumes<'p>,
    selection: Selection<'p>,
    paths: PathStyle,
    ours: OurToken<'s>,
    agent_uri: &'s str,
    api_audience: Option<&'s Audience>,
}

impl<'p, 's> Observer<'p, 's> {
    fn new(
        rules: &AnnotationRules,
        pod: &'p PodView<'p>,
        web: &'s WebIdentitySettings,
        agent: &'s PodIdentitySettings,
    ) -> Self {
        let paths = PathStyle::of(pod);
        Self {
            volumes: Volumes::of(pod),
            selection: Selection::of(rules, pod),
            paths,
            ours: OurToken::new(&web.mount_path, paths),
            agent_uri: &agent.full_uri,
            api_audience: web.api_audience.as_ref(),
        }
    }

    fn observe(&self, list: ContainerList, index: usize, container: &'p Container<'p>) -> ContainerIdentity<'p> {
        let mut found = ContainerIdentity {
            list,
            index,
            container,
            identity: Identity::Injected,
            keys: StaticKeys::Absent,
            incomplete: None,
            session_name: Known::Absent,
            misplaced_mount: None,
            is_left_alone: false,
            missing_agent_token: None,
            hides_own_file: false,
            needs_mount: false,
        };
        if !self.selection.takes(container.name()) {
            found.identity = Identity::Skipped;
            return found;
        }
        self.look_for_the_injected_token(&mut found);
        // Nearly all containers set no variable of AWS.
        if container.variables().is_empty() {
            return found;
        }
        let environment = Environment::of(container);
        found.session_name = environment.get(ROLE_SESSION_NAME);
        found.keys = static_keys(&environment, container.has_env_from());
        let (role, file) = (environment.get(ROLE_ARN), environment.get(WEB_IDENTITY_TOKEN_FILE));
        found.incomplete = incomplete(&role, &file);
        let token = file
            .text()
            .map(|path| self.ours.token_at(&self.volumes, container, path, self.paths));
        if role != Known::Absent || file != Known::Absent {
            found.needs_mount = token == Some(Token::Ours { is_mounted: false });
            found.hides_own_file =
                !found.needs_mount && file.text().is_some_and(|path| self.ours.holds(path, self.paths));
        }
        let is_complete = role.may_be_set() && file.may_be_set();
        let server = if is_complete {
            None
        } else {
            server::find(&environment, self.agent_uri)
        };
        found.is_left_alone = server.is_some() && role == Known::Absent && file == Known::Absent;
        if server == Some(CredentialsServer::Agent) {
            found.missing_agent_token = self.missing_agent_token(container, &environment);
        }
        found.identity = if found.keys == StaticKeys::Set {
            Identity::StaticKeys
        } else if is_complete {
            self.web_identity(role, file, token)
        } else {
            match server {
                Some(CredentialsServer::Agent) => Identity::PodIdentity,
                Some(CredentialsServer::Own(variable)) => Identity::ContainerCredentials { variable },
                Some(CredentialsServer::Unknown(variable)) => Identity::Unknown(Unverifiable::Value(variable)),
                Some(CredentialsServer::Refused(why)) => {
                    Identity::None(found.incomplete.map_or(why, NoIdentity::Incomplete))
                }
                None => found
                    .incomplete
                    .map_or(Identity::Injected, |why| Identity::None(NoIdentity::Incomplete(why))),
            }
        };
        found
    }

    /// Whether a container that is given the usual token file, and mounts the token volume itself, finds the token there.
    fn look_for_the_injected_token(&self, found: &mut ContainerIdentity<'p>) {
        let container = found.container;
        let Some(own) = container.mounts().find(|mount| mount.name() == TOKEN_VOLUME) else {
            return;
        };
        let file = self.paths.file(self.ours.mount_path, TOKEN_PATH);
        match self.ours.token_at(&self.volumes, container, &file, self.paths) {
            Token::Ours { is_mounted } => found.needs_mount = !is_mounted,
            Token::Projected(_) | Token::ApiServer | Token::Unknown => found.misplaced_mount = Some((own.path(), file)),
        }
    }

    /// EKS mounts the token where the variable says.
    fn missing_agent_token(&self, container: &Container<'_>, environment: &Environment<'_>) -> Option<String> {
        let file = environment.get(AUTHORIZATION_TOKEN_FILE);
        let path = file.text()?;
        let canonical = self.paths.canonical(path);
        let holds = |mount: &VolumeMount<'_>| {
            let directory = self.paths.canonical(mount.path());
            let relation = canonical
                .as_ref()
                .zip(directory.as_ref())
                .map(|(file, directory)| file.seen_from(directory));
            matches!(relation, Some(Relation::Same | Relation::Below(_)))
        };
        (!container.mounts().any(holds)).then(|| path.to_owned())
    }

    /// Both variables may be set and not empty.
    fn web_identity(&self, role: Known<'p>, file: Known<'p>, token: Option<Token<'p>>) -> Identity<'p> {
        let Known::Text(role) = role else {
            return Identity::Unknown(Unverifiable::Value(ROLE_ARN));
        };
        let Ok(role) = RoleArn::parse(&role) else {
            return Identity::Unknown(Unverifiable::NotARoleArn(role));
        };
        let (Known::Text(file), Some(token)) = (file, token) else {
            return Identity::Unknown(Unverifiable::Value(WEB_IDENTITY_TOKEN_FILE));
        };
        let audience = match (token, self.api_audience) {
            (Token::Ours { .. }, _) => None,
            (Token::Projected(audience), _) => Some(Cow::Borrowed(audience)),
            (Token::ApiServer, Some(audience)) => Some(Cow::Owned(audience.as_str().to_owned())),
            (Token::ApiServer, None) => return Identity::Unknown(Unverifiable::ApiServerToken),
            (Token::Unknown, _) => return Identity::Unknown(Unverifiable::TokenFile(file)),
        };
        Identity::WebIdentity(OwnWebIdentity { role, audience })
    }
}

/// The secret may come with `envFrom`.
fn static_keys(environment: &Environment<'_>, has_env_from: bool) -> StaticKeys {
    let (id, secret) = (environment.get(ACCESS_KEY_ID), environment.get(SECRET_ACCESS_KEY));
    let with_old_names = |name, old| environment.get(name).may_be_set() || environment.get(old).may_be_set();
    if id.text().is_some() && secret.text().is_some() {
        StaticKeys::Set
    } else if id.may_be_set() && (secret.may_be_set() || (has_env_from && secret == Known::Absent)) {
        StaticKeys::Possible
    } else if with_old_names(ACCESS_KEY_ID, OLD_ACCESS_KEY) && with_old_names(SECRET_ACCESS_KEY, OLD_SECRET_KEY) {
        StaticKeys::OldNames
    } else if id.may_be_set() {
        StaticKeys::IdAlone
    } else {
        StaticKeys::Absent
    }
}

/// None: both variables may be set, or neither is mentioned.
fn incomplete(role: &Known<'_>, file: &Known<'_>) -> Option<Incomplete> {
    match (role, file) {
        (Known::Absent, Known::Absent) => None,
        _ if role.is_empty() => Some(Incomplete::Empty(ROLE_ARN)),
        _ if file.is_empty() => Some(Incomplete::Empty(WEB_IDENTITY_TOKEN_FILE)),
        (Known::Absent, _) => Some(Incomplete::Missing {
            set: WEB_IDENTITY_TOKEN_FILE,
            unset: ROLE_ARN,
        }),
        (_, Known::Absent) => Some(Incomplete::Missing {
            set: ROLE_ARN,
            unset: WEB_IDENTITY_TOKEN_FILE,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
