//! From an identity to the patch that gives it: only explicit `add` operations, parents first, pointers escaped.
//!
//! This is the one place where JSON pointers are made. The variables of a container are appended in this order, those that
//! it lacks: `AWS_STS_REGIONAL_ENDPOINTS`, `AWS_DEFAULT_REGION`, `AWS_REGION`, the two of the identity,
//! `AWS_EC2_METADATA_DISABLED`, `AWS_ROLE_SESSION_NAME`.

mod patch;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::patch::Patch;
use self::patch::{Mount, OneEntry, Pointer, Value, Variable, VariableValue, Volume};
use super::identity::{AnnotationRules, PodIdentityRequest, WebIdentityRequest};
use super::view::{Container, ContainerList, PodView, VolumeMount};
use super::{Quoted, Warning, escape_control};

/// Name of the volume that holds the web identity token.
pub const TOKEN_VOLUME: &str = "aws-iam-token";
/// Path of the web identity token in its volume.
pub const TOKEN_PATH: &str = "token";

const ROLE_ARN: &str = "AWS_ROLE_ARN";
const WEB_IDENTITY_TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const CREDENTIALS_FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const CREDENTIALS_RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const AUTHORIZATION_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const STS_REGIONAL_ENDPOINTS: &str = "AWS_STS_REGIONAL_ENDPOINTS";
const DEFAULT_REGION: &str = "AWS_DEFAULT_REGION";
const REGION: &str = "AWS_REGION";
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const ROLE_SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

const POD_IDENTITY_LABEL: OneEntry = OneEntry("eks.amazonaws.com/pod-identity", "enabled");

/// What flags say about the injection of a web identity.
#[derive(Clone, Debug)]
pub struct WebIdentitySettings {
    /// `--token-mount-path`, by default `/var/run/secrets/eks.amazonaws.com/serviceaccount`.
    pub mount_path: String,
    /// `AWS_REGION` and `AWS_DEFAULT_REGION`; none: not set.
    pub region: Option<String>,
    /// `--disable-instance-metadata`.
    pub disable_instance_metadata: bool,
    /// `--role-session-name`.
    pub role_session_name: bool,
}

/// What flags say about EKS Pod Identity (`--container-credentials-…`).
#[derive(Clone, Debug)]
pub struct PodIdentitySettings {
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub full_uri: String,
    /// Audience of the token.
    pub audience: String,
    /// Where the token is mounted.
    pub mount_path: String,
    /// Name of the volume.
    pub volume_name: String,
    /// Path of the token within the mount.
    pub token_path: String,
    /// As for a web identity.
    pub region: Option<String>,
    /// As for a web identity.
    pub disable_instance_metadata: bool,
}

/// What is added to a pod.
#[derive(Debug, Default)]
pub struct Injection {
    /// The operations.
    pub patch: Patch,
    /// What the author should know (an `include-containers` name that the pod does not have, …).
    pub warnings: Vec<Warning>,
}

/// The pod already holds something else where the token belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The volume's name.
    pub volume: String,
    /// The mount path, when a mount is what conflicts.
    pub mount_path: Option<String>,
    /// One line for the author: what stands there (container, volume, mount path) and what to rename or move. Escaped.
    pub message: String,
}

/// Adds a web identity. `set_session_name`: the caller found that the policy does not refuse it.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn web_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
    set_session_name: SetSessionName,
) -> Result<Injection, Box<Conflict>> {
    let session = match (set_session_name, session_name(pod)) {
        (SetSessionName::No, _) | (_, PodSessionName::Unfit) => None,
        (SetSessionName::FromPodName, PodSessionName::Known(name)) => Some(VariableValue::Text(name.into())),
        (SetSessionName::FromPodName, PodSessionName::Generated) => Some(VariableValue::PodName),
    };
    Recipe::web_identity(rules, pod, request, settings, session).inject(pod)
}

/// Whether `AWS_ROLE_SESSION_NAME` is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSessionName {
    /// From the pod's name: as it is where it is known, else by the downward API.
    FromPodName,
    /// Not added.
    No,
}

/// Adds EKS Pod Identity.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn pod_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    request: &PodIdentityRequest,
    settings: &PodIdentitySettings,
) -> Result<Injection, Box<Conflict>> {
    Recipe::pod_identity(rules, pod, request, settings).inject(pod)
}

/// Adds a web identity to the ephemeral containers that `old` does not have, when the pod has the token volume. Never
/// refused: a conflict leaves that container alone.
#[must_use]
pub fn ephemeral_web_identity(
    rules: &AnnotationRules,
    old: &PodView<'_>,
    new: &PodView<'_>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
) -> Injection {
    Recipe::web_identity(rules, new, request, settings, None).inject_ephemeral(old, new)
}

/// The same for EKS Pod Identity.
#[must_use]
pub fn ephemeral_pod_identity(
    rules: &AnnotationRules,
    old: &PodView<'_>,
    new: &PodView<'_>,
    request: &PodIdentityRequest,
    settings: &PodIdentitySettings,
) -> Injection {
    Recipe::pod_identity(rules, new, request, settings).inject_ephemeral(old, new)
}

/// Whose trust a pod needs.
#[derive(Debug, PartialEq, Eq)]
pub enum RolesUsed<'a> {
    /// The annotated role only (the usual case). Also when no container uses any role with our token (all are skipped, or
    /// bring an identity of their own): the pod is given a token for this role all the same.
    Annotated,
    /// The annotated role, when `annotated`, and these others: literal `AWS_ROLE_ARN` of containers whose token file is
    /// ours, each once, as written (a `$(REFERENCE)` is still in it); at least one.
    Several {
        /// Whether a container uses the annotated role.
        annotated: bool,
        /// The containers' own roles.
        own: Vec<&'a str>,
    },
    /// Every container came with EKS Pod Identity's variables and without web identity: not judged.
    PodIdentityOnly,
}

/// Which roles the containers of a pod will assume with our token. The token they assume it with is for
/// [`PodView::token_audience`] where the pod brings its own token volume, else for the requested audience.
#[must_use]
pub fn roles_used<'a>(
    rules: &AnnotationRules,
    pod: &'a PodView<'a>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
) -> RolesUsed<'a> {
    let selection = Selection::of(rules, pod);
    let paths = PathStyle::of(pod);
    let (mut annotated, mut has_pod_identity, mut has_other) = (false, false, false);
    let mut own = Vec::new();
    let mut seen = BTreeSet::new();
    for (_, _, container) in pod
        .containers()
        .filter(|(_, _, container)| selection.takes(container.name()))
    {
        if has_foreign_pod_identity(container) {
            has_pod_identity = true;
            continue;
        }
        has_other = true;
        if !sets_any(container, &[ROLE_ARN, WEB_IDENTITY_TOKEN_FILE]) {
            annotated = true;
            continue;
        }
        let Some(role) = container.literal(ROLE_ARN) else {
            continue;
        };
        if !reads_our_token(container, &settings.mount_path, paths) {
            continue;
        }
        if role == request.role.as_str() {
            annotated = true;
        } else if seen.insert(role) {
            own.push(role);
        }
    }
    if has_pod_identity && !has_other {
        return RolesUsed::PodIdentityOnly;
    }
    if own.is_empty() {
        RolesUsed::Annotated
    } else {
        RolesUsed::Several { annotated, own }
    }
}

/// The session name that `--role-session-name` may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSessionName<'a> {
    /// The pod's name does not surely fit `[\w+=,.@-]{2,64}`.
    Unfit,
    /// Known at admission: `metadata.name`.
    Known(&'a str),
    /// Made by the API server from `generateName`, sure to fit.
    Generated,
}

/// Whether and how a pod's name can be a session name.
#[must_use]
pub fn session_name<'a>(pod: &'a PodView<'a>) -> PodSessionName<'a> {
    let fits = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
    };
    if let Some(name) = pod.name() {
        return if (2..=64).contains(&name.len()) && fits(name) {
            PodSessionName::Known(name)
        } else {
            PodSessionName::Unfit
        };
    }
    // The API server cuts the stem at 58 characters and appends five letters or digits: never too long or too short.
    match pod.generate_name() {
        Some(stem) if fits(stem) => PodSessionName::Generated,
        _ => PodSessionName::Unfit,
    }
}

/// Everything that is the same for all containers of a pod.
struct Recipe<'r> {
    selection: Selection<'r>,
    rules: &'r AnnotationRules,
    paths: PathStyle,
    kind: IdentityKind,
    volume_name: Arc<str>,
    token_path: &'r str,
    audience: &'r str,
    expiration_seconds: u32,
    mount_path: Arc<str>,
    /// What the first and the second variable of the identity say.
    identity: (Arc<str>, Arc<str>),
    region: Option<Arc<str>>,
    /// Variables that each container gets before those of the identity, or after them.
    regional_sts: Option<VariableValue>,
    metadata_disabled: Option<VariableValue>,
    session_name: Option<VariableValue>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IdentityKind {
    Web,
    Pod,
}

impl IdentityKind {
    const fn variables(self) -> [&'static str; 2] {
        match self {
            Self::Web => [ROLE_ARN, WEB_IDENTITY_TOKEN_FILE],
            Self::Pod => [CREDENTIALS_FULL_URI, AUTHORIZATION_TOKEN_FILE],
        }
    }
}

impl<'r> Recipe<'r> {
    fn web_identity(
        rules: &'r AnnotationRules,
        pod: &'r PodView<'_>,
        request: &'r WebIdentityRequest,
        settings: &WebIdentitySettings,
        session_name: Option<VariableValue>,
    ) -> Self {
        let paths = PathStyle::of(pod);
        Self {
            selection: Selection::of(rules, pod),
            rules,
            paths,
            kind: IdentityKind::Web,
            volume_name: TOKEN_VOLUME.into(),
            token_path: TOKEN_PATH,
            audience: request.audience.as_str(),
            expiration_seconds: request.expiration_seconds,
            mount_path: settings.mount_path.as_str().into(),
            identity: (
                request.role.as_str().into(),
                paths.file(&settings.mount_path, TOKEN_PATH).into(),
            ),
            region: settings.region.as_deref().map(Into::into),
            regional_sts: request.regional_sts.then_some(VariableValue::Fixed("regional")),
            metadata_disabled: settings
                .disable_instance_metadata
                .then_some(VariableValue::Fixed("true")),
            session_name,
        }
    }

    fn pod_identity(
        rules: &'r AnnotationRules,
        pod: &'r PodView<'_>,
        request: &PodIdentityRequest,
        settings: &'r PodIdentitySettings,
    ) -> Self {
        let paths = PathStyle::of(pod);
        Self {
            selection: Selection::of(rules, pod),
            rules,
            paths,
            kind: IdentityKind::Pod,
            volume_name: settings.volume_name.as_str().into(),
            token_path: &settings.token_path,
            audience: &settings.audience,
            expiration_seconds: request.expiration_seconds,
            mount_path: settings.mount_path.as_str().into(),
            identity: (
                settings.full_uri.as_str().into(),
                paths.file(&settings.mount_path, &settings.token_path).into(),
            ),
            region: settings.region.as_deref().map(Into::into),
            regional_sts: request.regional_sts.then_some(VariableValue::Fixed("regional")),
            metadata_disabled: settings
                .disable_instance_metadata
                .then_some(VariableValue::Fixed("true")),
            session_name: None,
        }
    }

    fn inject(&self, pod: &PodView<'_>) -> Result<Injection, Box<Conflict>> {
        let Some(spec) = &pod.spec else {
            return Ok(Injection::default());
        };
        let mut injection = Injection::default();
        injection.warnings.extend(self.selection.unknown_names(self.rules, pod));
        if self.kind == IdentityKind::Pod {
            add_label(pod, &mut injection.patch);
        }
        match pod.volume(&self.volume_name) {
            Some(volume) if self.is_token_volume(volume) => {}
            Some(volume) => return Err(self.volume_conflict(volume)),
            None => {
                let volume = Volume {
                    name: Arc::clone(&self.volume_name),
                    audience: self.audience.into(),
                    expiration_seconds: self.expiration_seconds,
                    path: self.token_path.into(),
                };
                match spec.volumes {
                    Some(_) => injection.patch.add(Pointer::FirstVolume, Value::Volume(volume)),
                    None => injection.patch.add(Pointer::Volumes, Value::Volumes([volume])),
                }
            }
        }
        for (list, index, container) in pod.containers() {
            self.equip(list, index, container, &mut injection)?;
        }
        Ok(injection)
    }

    fn inject_ephemeral(&self, old: &PodView<'_>, new: &PodView<'_>) -> Injection {
        let mut injection = Injection::default();
        if !new
            .volume(&self.volume_name)
            .is_some_and(|volume| self.is_token_volume(volume))
        {
            return injection;
        }
        let older: BTreeSet<&str> = old
            .ephemeral_containers()
            .map(|(_, container)| container.name())
            .collect();
        for (index, container) in new.ephemeral_containers() {
            if older.contains(container.name()) {
                continue;
            }
            if let Err(conflict) = self.equip(ContainerList::Ephemeral, index, container, &mut injection) {
                injection.warnings.push(Warning::new(&conflict.message));
            }
        }
        injection
    }

    /// Adds to one container what it lacks. A conflict is found before anything is added.
    fn equip(
        &self,
        list: ContainerList,
        index: usize,
        container: &Container<'_>,
        injection: &mut Injection,
    ) -> Result<(), Box<Conflict>> {
        if !self.selection.takes(container.name()) {
            return Ok(());
        }
        // SDKs take web identity first: ours would change the role that a Pod Identity association gave this container.
        if self.kind == IdentityKind::Web && has_foreign_pod_identity(container) {
            return Ok(());
        }
        let [first, second] = self.kind.variables();
        let has_identity = sets_any(container, &[first, second]);
        let has_region = sets_any(container, &[DEFAULT_REGION, REGION]);
        let has_sts = container.sets(STS_REGIONAL_ENDPOINTS);
        if has_identity && has_region && has_sts {
            return Ok(());
        }
        let own_mount = container.mounts().find(|mount| mount.name() == &*self.volume_name);
        if own_mount.is_none() || !has_identity {
            self.check_mounts(container)?;
        }
        self.warn_of_half_an_identity(container, has_identity, own_mount, &mut injection.warnings);

        let mut variables = Vec::with_capacity(7);
        let mut add = |name, value| variables.push(Variable { name, value });
        if let Some(value) = self.regional_sts.as_ref().filter(|_| !has_sts) {
            add(STS_REGIONAL_ENDPOINTS, value.clone());
        }
        if let Some(region) = self.region.as_ref().filter(|_| !has_region) {
            add(DEFAULT_REGION, VariableValue::Text(Arc::clone(region)));
            add(REGION, VariableValue::Text(Arc::clone(region)));
        }
        if !has_identity {
            add(first, VariableValue::Text(Arc::clone(&self.identity.0)));
            add(second, VariableValue::Text(Arc::clone(&self.identity.1)));
        }
        if let Some(value) = self
            .metadata_disabled
            .as_ref()
            .filter(|_| !container.sets(METADATA_DISABLED))
        {
            add(METADATA_DISABLED, value.clone());
        }
        let session_name = self
            .session_name
            .as_ref()
            .filter(|_| !has_identity && !container.sets(ROLE_SESSION_NAME));
        if let Some(value) = session_name {
            add(ROLE_SESSION_NAME, value.clone());
        }

        let patch = &mut injection.patch;
        if container.env.is_none() && !variables.is_empty() {
            patch.add(Pointer::Env(list, index), Value::Variables(variables));
        } else {
            for variable in variables {
                patch.add(Pointer::EnvEnd(list, index), Value::Variable(variable));
            }
        }
        if own_mount.is_none() {
            let mount = Mount {
                name: Arc::clone(&self.volume_name),
                read_only: true,
                mount_path: Arc::clone(&self.mount_path),
            };
            match container.volume_mounts {
                Some(_) => patch.add(Pointer::MountsEnd(list, index), Value::Mount(mount)),
                None => patch.add(Pointer::Mounts(list, index), Value::Mounts([mount])),
            }
        }
        Ok(())
    }

    /// A web identity is judged by the audience that its token carries, so an author's audience is the author's choice. EKS
    /// Pod Identity is not judged here and its agent takes one audience only.
    fn is_token_volume(&self, volume: &super::view::Volume<'_>) -> bool {
        volume
            .token_audience(self.token_path)
            .is_some_and(|audience| self.kind == IdentityKind::Web || audience == self.audience)
    }

    fn volume_conflict(&self, volume: &super::view::Volume<'_>) -> Box<Conflict> {
        let what = match volume.kind() {
            "projected" => format!(
                "holds no token for {} at path {}",
                self.audience_wanted(),
                Quoted(self.token_path)
            ),
            other => format!("is of kind {}", escape_control(other)),
        };
        let name = escape_control(&self.volume_name);
        Box::new(Conflict {
            volume: name.clone().into_owned(),
            mount_path: None,
            message: format!(
                "volume {name:?} of the pod {what}, but the token volume mounted at {} has that name: rename the pod's volume",
                escape_control(&self.mount_path),
            ),
        })
    }

    fn audience_wanted(&self) -> String {
        match self.kind {
            IdentityKind::Web => "an audience".to_owned(),
            IdentityKind::Pod => format!("audience {}", Quoted(self.audience)),
        }
    }

    /// Another volume at the token's place: the API server would reject a second mount there, and without one a container
    /// would read its token from whatever stands there.
    fn check_mounts(&self, container: &Container<'_>) -> Result<(), Box<Conflict>> {
        let is_other = |mount: &&VolumeMount<'_>| {
            mount.name() != &*self.volume_name && self.paths.same(mount.path(), &self.mount_path)
        };
        let Some(mount) = container.mounts().find(is_other) else {
            return Ok(());
        };
        Err(Box::new(Conflict {
            volume: escape_control(mount.name()).into_owned(),
            mount_path: Some(escape_control(mount.path()).into_owned()),
            message: format!(
                "container {} mounts volume {} at {}, where the token volume {} belongs: mount it elsewhere, or name the \
                 container in the pod's annotation {}{SKIP_CONTAINERS}",
                Quoted(container.name()),
                Quoted(mount.name()),
                escape_control(mount.path()),
                escape_control(&self.volume_name),
                self.rules.prefix,
            ),
        }))
    }

    /// A container that would start without credentials and without a word.
    fn warn_of_half_an_identity(
        &self,
        container: &Container<'_>,
        has_identity: bool,
        own_mount: Option<&VolumeMount<'_>>,
        warnings: &mut Vec<Warning>,
    ) {
        let name = Quoted(container.name());
        if has_identity {
            let [first, second] = self.kind.variables();
            let (set, unset) = match (container.sets(first), container.sets(second)) {
                (true, false) => (first, second),
                (false, true) => (second, first),
                _ => return,
            };
            warnings.push(Warning::new(&format!(
                "container {name} sets {set} itself but not {unset}: neither is added"
            )));
        } else if let Some(mount) = own_mount.filter(|mount| !self.paths.same(mount.path(), &self.mount_path)) {
            let [_, file] = self.kind.variables();
            warnings.push(Warning::new(&format!(
                "container {name} mounts {} at {}, but {file} is {}",
                self.volume_name,
                Quoted(mount.path()),
                self.identity.1,
            )));
        }
    }
}

fn add_label(pod: &PodView<'_>, patch: &mut Patch) {
    let OneEntry(key, value) = POD_IDENTITY_LABEL;
    if pod.label(key).is_some() {
        return;
    }
    match &pod.metadata {
        None => patch.add(
            Pointer::Metadata,
            Value::Metadata {
                labels: POD_IDENTITY_LABEL,
            },
        ),
        Some(metadata) if metadata.labels.is_none() => patch.add(Pointer::Labels, Value::Labels(POD_IDENTITY_LABEL)),
        Some(_) => patch.add(Pointer::Label(key), Value::Text(value)),
    }
}

fn sets_any(container: &Container<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| container.sets(name))
}

/// EKS's own webhook gave the container a Pod Identity association, and nobody a web identity.
fn has_foreign_pod_identity(container: &Container<'_>) -> bool {
    sets_any(container, &[CREDENTIALS_FULL_URI, CREDENTIALS_RELATIVE_URI])
        && !sets_any(container, &[ROLE_ARN, WEB_IDENTITY_TOKEN_FILE])
}

/// Whether the container's own token file is the token that rolegate puts into the pod, at our mount path or where the
/// container itself mounts the volume.
fn reads_our_token(container: &Container<'_>, mount_path: &str, paths: PathStyle) -> bool {
    let Some(file) = container.literal(WEB_IDENTITY_TOKEN_FILE) else {
        return false;
    };
    let own_mounts = container
        .mounts()
        .filter(|mount| mount.name() == TOKEN_VOLUME)
        .map(VolumeMount::path);
    own_mounts
        .chain([mount_path])
        .any(|directory| paths.same(file, &paths.file(directory, TOKEN_PATH)))
}

const SKIP_CONTAINERS: &str = "skip-containers";
const INCLUDE_CONTAINERS: &str = "include-containers";

/// Which containers a pod's annotations choose.
struct Selection<'p> {
    /// Sorted. None: all.
    include: Option<Vec<&'p str>>,
    /// Sorted.
    skip: Vec<&'p str>,
}

impl<'p> Selection<'p> {
    fn of(rules: &AnnotationRules, pod: &'p PodView<'_>) -> Self {
        let names = |annotation| sorted_names(pod.annotation(&rules.prefix, annotation).unwrap_or_default());
        // An include list without a name is what a template leaves behind: it chooses nothing, so all are taken.
        let include = Some(names(INCLUDE_CONTAINERS)).filter(|include| !include.is_empty());
        Self {
            include,
            skip: names(SKIP_CONTAINERS),
        }
    }

    fn takes(&self, name: &str) -> bool {
        self.skip.binary_search(&name).is_err()
            && self
                .include
                .as_ref()
                .is_none_or(|include| include.binary_search(&name).is_ok())
    }

    fn unknown_names(&self, rules: &AnnotationRules, pod: &PodView<'_>) -> Option<Warning> {
        let include = self.include.as_ref()?;
        let known: BTreeSet<&str> = pod
            .containers()
            .map(|(_, _, container)| container.name())
            .chain(pod.ephemeral_containers().map(|(_, container)| container.name()))
            .collect();
        let mut unknown = include.iter().filter(|name| !known.contains(*name));
        let first = Quoted(unknown.next()?);
        let others = match unknown.count() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let key = format!("{}{INCLUDE_CONTAINERS}", rules.prefix);
        Some(Warning::new(&format!(
            "{key} names {first}{others}, but the pod has no such container"
        )))
    }
}

/// The names of a CSV text. A container's name holds no comma, blank or quote, so quoting needs no more than this.
fn sorted_names(csv: &str) -> Vec<&str> {
    let mut names: Vec<&str> = csv
        .split([',', '\n'])
        .map(|name| name.trim().trim_matches('"').trim())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// How paths are written and compared inside the pod's containers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathStyle {
    Posix,
    /// `C:\a\b`, though mount paths are written `/a/b` there too; case does not matter.
    Windows,
}

impl PathStyle {
    fn of(pod: &PodView<'_>) -> Self {
        if pod.is_windows() { Self::Windows } else { Self::Posix }
    }

    /// A file in a directory, without doubled slashes.
    fn file(self, directory: &str, file: &str) -> String {
        let (drive, separator) = match self {
            Self::Posix => ("", '/'),
            Self::Windows => ("C:", '\\'),
        };
        let mut path = String::with_capacity(directory.len().saturating_add(file.len()).saturating_add(4));
        path.push_str(drive);
        for part in self.parts(directory).chain(self.parts(file)) {
            path.push(separator);
            path.push_str(part);
        }
        path
    }

    fn same(self, one: &str, other: &str) -> bool {
        match self {
            Self::Posix => self.parts(one).eq(self.parts(other)),
            Self::Windows => {
                let lower = |part: &str| part.to_ascii_lowercase();
                self.parts(one).map(lower).eq(self.parts(other).map(lower))
            }
        }
    }

    fn parts(self, path: &str) -> impl Iterator<Item = &str> {
        let path = match self {
            Self::Posix => path,
            Self::Windows => path
                .strip_prefix("C:")
                .or_else(|| path.strip_prefix("c:"))
                .unwrap_or(path),
        };
        path.split(move |character| character == '/' || (self == Self::Windows && character == '\\'))
            .filter(|part| !part.is_empty() && *part != ".")
    }
}

#[cfg(test)]
mod tests;
