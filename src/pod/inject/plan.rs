//! Plans what is added to each container, and finds what conflicts with it.

use std::collections::BTreeSet;

use super::patch::{Mount, OneEntry, Patch, Pointer, Value, Variable, VariableValue, Volume};
use super::{Conflict, Injection};
use crate::pod::concerns::injected_region;
use crate::pod::effective::{ContainerIdentity, EffectiveIdentities, Identity};
use crate::pod::identity::{AnnotationRules, PodIdentityRequest, WebIdentityRequest};
use crate::pod::paths::{CanonicalPath, PathStyle, Relation};
use crate::pod::selection::{SKIP_CONTAINERS, Selection};
use crate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use crate::pod::variables::{
    AUTHORIZATION_TOKEN_FILE, CREDENTIALS_FULL_URI, DEFAULT_REGION, METADATA_DISABLED, REGION, ROLE_ARN,
    ROLE_SESSION_NAME, STS_REGIONAL_ENDPOINTS, WEB_IDENTITY_TOKEN_FILE, sets_any,
};
use crate::pod::view::{self, Container, ContainerList, PodView, TOKEN_PATH, TOKEN_VOLUME, VolumeMount};
use crate::pod::volumes::Volumes;
use crate::pod::warning::{Warning, quoted};
use crate::support::text;
use crate::trust::RoleArn;

const POD_IDENTITY_LABEL: OneEntry = OneEntry("eks.amazonaws.com/pod-identity", "enabled");

/// Everything that is the same for all containers of a pod.
pub(super) struct Plan<'r> {
    selection: Selection<'r>,
    rules: &'r AnnotationRules,
    volumes: Volumes<'r>,
    paths: PathStyle,
    kind: IdentityKind,
    volume_name: &'r str,
    token_path: &'r str,
    audience: &'r str,
    expiration_seconds: u32,
    mount_path: &'r str,
    canonical_mount_path: Option<CanonicalPath<'r>>,
    /// The values of the first and the second variable of the identity.
    identity: (&'r str, String),
    region: RegionToInject<'r>,
    /// Variables that each container gets before those of the identity, or after them.
    regional_sts: Option<VariableValue<'r>>,
    metadata_disabled: Option<VariableValue<'r>>,
    session_name: Option<VariableValue<'r>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IdentityKind {
    Web,
    Pod,
}

/// The Region for a container.
#[derive(Clone, Copy)]
enum RegionToInject<'r> {
    /// Of the partition of the container's role only; the request's is that of containers without one of their own.
    ForRole {
        settings: &'r WebIdentitySettings,
        requested: &'r RoleArn,
    },
    Always(Option<&'r str>),
}

/// What one container is given.
struct Treatment<'t> {
    /// Whether the two variables of the identity are added.
    adds_identity: bool,
    region: Option<&'t str>,
    mount: MountNeed,
}

/// Where a mount is, seen from the mount of the token volume.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Same,
    Below,
    Above { depth: usize },
    Apart,
}

/// Whether the container needs the mount of the token volume.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MountNeed {
    /// Its token file is there.
    Required,
    /// It is added as the reference webhook adds it, where nothing is in the way.
    Customary,
    No,
}

impl IdentityKind {
    const fn variables(self) -> [&'static str; 2] {
        match self {
            Self::Web => [ROLE_ARN, WEB_IDENTITY_TOKEN_FILE],
            Self::Pod => [CREDENTIALS_FULL_URI, AUTHORIZATION_TOKEN_FILE],
        }
    }
}

impl<'r> Plan<'r> {
    pub(super) fn web_identity(
        rules: &'r AnnotationRules,
        pod: &'r PodView<'r>,
        request: &'r WebIdentityRequest,
        settings: &'r WebIdentitySettings,
        session_name: Option<VariableValue<'r>>,
    ) -> Self {
        let paths = PathStyle::of(pod);
        Self {
            selection: Selection::of(rules, pod),
            rules,
            volumes: Volumes::of(pod),
            paths,
            kind: IdentityKind::Web,
            volume_name: TOKEN_VOLUME,
            token_path: TOKEN_PATH,
            audience: request.audience.as_str(),
            expiration_seconds: request.expiration_seconds,
            mount_path: &settings.mount_path,
            canonical_mount_path: paths.canonical(&settings.mount_path),
            identity: (request.role.as_str(), paths.file(&settings.mount_path, TOKEN_PATH)),
            region: RegionToInject::ForRole {
                settings,
                requested: &request.role,
            },
            regional_sts: request.regional_sts.then_some(VariableValue::Text("regional")),
            metadata_disabled: settings
                .disable_instance_metadata
                .then_some(VariableValue::Text("true")),
            session_name,
        }
    }

    pub(super) fn pod_identity(
        rules: &'r AnnotationRules,
        pod: &'r PodView<'r>,
        request: &PodIdentityRequest,
        settings: &'r PodIdentitySettings,
    ) -> Self {
        let paths = PathStyle::of(pod);
        Self {
            selection: Selection::of(rules, pod),
            rules,
            volumes: Volumes::of(pod),
            paths,
            kind: IdentityKind::Pod,
            volume_name: &settings.volume_name,
            token_path: &settings.token_path,
            audience: &settings.audience,
            expiration_seconds: request.expiration_seconds,
            mount_path: &settings.mount_path,
            canonical_mount_path: paths.canonical(&settings.mount_path),
            identity: (
                &settings.full_uri,
                paths.file(&settings.mount_path, &settings.token_path),
            ),
            region: RegionToInject::Always(settings.region.as_deref()),
            regional_sts: request.regional_sts.then_some(VariableValue::Text("regional")),
            metadata_disabled: settings
                .disable_instance_metadata
                .then_some(VariableValue::Text("true")),
            session_name: None,
        }
    }

    /// Adds a web identity to what lacks it.
    pub(super) fn inject_web(
        &self,
        pod: &PodView<'_>,
        identities: &EffectiveIdentities<'_>,
    ) -> Result<Injection, Box<Conflict>> {
        let mut injection = Injection::default();
        if pod.spec.is_none() {
            return Ok(injection);
        }
        injection.warnings.extend(self.selection.warnings(self.rules, pod));
        self.add_volume(pod, &mut injection.patch)?;
        for container in identities.containers() {
            self.patch_web(container, &mut injection.patch)?;
        }
        Ok(injection)
    }

    pub(super) fn inject_web_ephemeral(&self, pod: &PodView<'_>, identities: &EffectiveIdentities<'_>) -> Injection {
        let mut injection = Injection::default();
        if self.has_token_volume(pod) {
            for container in identities.containers() {
                if let Err(conflict) = self.patch_web(container, &mut injection.patch) {
                    injection.warnings.push(Warning::new(&conflict.message));
                }
            }
        }
        injection
    }

    /// Adds EKS Pod Identity to what lacks it.
    pub(super) fn inject_pod(&self, pod: &PodView<'_>) -> Result<Injection, Box<Conflict>> {
        let mut injection = Injection::default();
        if pod.spec.is_none() {
            return Ok(injection);
        }
        injection.warnings.extend(self.selection.warnings(self.rules, pod));
        add_label(pod, &mut injection.patch);
        self.add_volume(pod, &mut injection.patch)?;
        for (list, index, container) in pod.containers() {
            self.patch_pod(list, index, container, &mut injection)?;
        }
        Ok(injection)
    }

    /// Adds EKS Pod Identity to the containers that set no credentials.
    pub(super) fn inject_missing_pod(
        &self,
        pod: &PodView<'_>,
        identities: &EffectiveIdentities<'_>,
    ) -> Result<Injection, Box<Conflict>> {
        let mut injection = Injection::default();
        if pod.spec.is_none() {
            return Ok(injection);
        }
        injection.warnings.extend(self.selection.warnings(self.rules, pod));
        let mut missing = without_identity(identities).peekable();
        if missing.peek().is_some() {
            add_label(pod, &mut injection.patch);
            self.add_volume(pod, &mut injection.patch)?;
        }
        for found in missing {
            self.patch_pod(found.list, found.index, found.container, &mut injection)?;
        }
        Ok(injection)
    }

    pub(super) fn inject_missing_pod_ephemeral(
        &self,
        pod: &PodView<'_>,
        identities: &EffectiveIdentities<'_>,
    ) -> Injection {
        let mut injection = Injection::default();
        if !self.has_token_volume(pod) {
            return injection;
        }
        for found in without_identity(identities) {
            if let Err(conflict) = self.patch_pod(found.list, found.index, found.container, &mut injection) {
                injection.warnings.push(Warning::new(&conflict.message));
            }
        }
        injection
    }

    pub(super) fn inject_pod_ephemeral(&self, old: &PodView<'_>, new: &PodView<'_>) -> Injection {
        let mut injection = Injection::default();
        if !self.has_token_volume(new) {
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
            if let Err(conflict) = self.patch_pod(ContainerList::Ephemeral, index, container, &mut injection) {
                injection.warnings.push(Warning::new(&conflict.message));
            }
        }
        injection
    }

    fn has_token_volume(&self, pod: &PodView<'_>) -> bool {
        pod.volume(self.volume_name)
            .is_some_and(|volume| self.is_token_volume(volume))
    }

    fn add_volume(&self, pod: &PodView<'_>, patch: &mut Patch) -> Result<(), Box<Conflict>> {
        match pod.volume(self.volume_name) {
            Some(volume) if self.is_token_volume(volume) => {}
            Some(volume) => return Err(self.volume_conflict(volume)),
            None => {
                let volume = Volume {
                    name: self.volume_name,
                    audience: self.audience,
                    expiration_seconds: self.expiration_seconds,
                    path: self.token_path,
                };
                match pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()) {
                    Some(_) => patch.add(Pointer::FirstVolume, Value::Volume(volume)),
                    None => patch.add(Pointer::Volumes, Value::Volumes([volume])),
                }
            }
        }
        Ok(())
    }

    fn patch_web(&self, found: &ContainerIdentity<'_>, patch: &mut Patch) -> Result<(), Box<Conflict>> {
        let container = found.container;
        if *found.identity() == Identity::Skipped {
            return Ok(());
        }
        if found.is_left_alone {
            // The agent's variables are EKS's own. Next to any other server, the node's role is still to be kept away.
            if *found.identity() != Identity::PodIdentity {
                let variables: Vec<_> = self.metadata_variable(container).into_iter().collect();
                add_variables(found.list, found.index, container, variables, patch);
            }
            return Ok(());
        }
        let has_identity = sets_any(container, &self.kind.variables());
        let own_mount = self.own_mount(container);
        let would_mount = found.needs_mount || (!has_identity && own_mount.is_none());
        let mount = match found.identity() {
            // Static keys come first, and half an identity is not used: a container that does not need the token is not refused for it.
            Identity::StaticKeys | Identity::None(_) if would_mount => MountNeed::Customary,
            _ if would_mount => MountNeed::Required,
            _ if own_mount.is_some() || found.hides_own_file || self.has_all_groups(container, has_identity) => {
                MountNeed::No
            }
            _ => MountNeed::Customary,
        };
        let region = match self.region {
            RegionToInject::Always(region) => region,
            RegionToInject::ForRole { settings, requested } => match found.identity() {
                Identity::WebIdentity(own) => injected_region(settings, &own.role),
                _ => injected_region(settings, requested),
            },
        };
        let treatment = Treatment {
            adds_identity: !has_identity,
            region,
            mount,
        };
        self.patch_container(found.list, found.index, container, &treatment, patch)
    }

    fn patch_pod(
        &self,
        list: ContainerList,
        index: usize,
        container: &Container<'_>,
        injection: &mut Injection,
    ) -> Result<(), Box<Conflict>> {
        if !self.selection.takes(container.name()) {
            return Ok(());
        }
        let has_identity = sets_any(container, &self.kind.variables());
        if self.has_all_groups(container, has_identity) {
            return Ok(());
        }
        let own_mount = self.own_mount(container);
        self.warn_of_half_an_identity(container, has_identity, own_mount, &mut injection.warnings);
        let treatment = Treatment {
            adds_identity: !has_identity,
            region: match self.region {
                RegionToInject::Always(region) => region,
                RegionToInject::ForRole { .. } => None,
            },
            mount: match own_mount {
                Some(_) => MountNeed::No,
                None if has_identity => MountNeed::Customary,
                None => MountNeed::Required,
            },
        };
        self.patch_container(list, index, container, &treatment, &mut injection.patch)
    }

    fn own_mount<'c>(&self, container: &'c Container<'_>) -> Option<&'c VolumeMount<'c>> {
        container.mounts().find(|mount| mount.name() == self.volume_name)
    }

    /// Such a container is left alone, as by the reference webhook.
    fn has_all_groups(&self, container: &Container<'_>, has_identity: bool) -> bool {
        has_identity && sets_any(container, &[DEFAULT_REGION, REGION]) && container.sets(STS_REGIONAL_ENDPOINTS)
    }

    fn metadata_variable(&self, container: &Container<'_>) -> Option<Variable<'_>> {
        let value = self.metadata_disabled.filter(|_| !container.sets(METADATA_DISABLED))?;
        Some(Variable {
            name: METADATA_DISABLED,
            value,
        })
    }

    /// Adds to one container what it lacks. A conflict is found before anything is added.
    fn patch_container(
        &self,
        list: ContainerList,
        index: usize,
        container: &Container<'_>,
        treatment: &Treatment<'_>,
        patch: &mut Patch,
    ) -> Result<(), Box<Conflict>> {
        if treatment.adds_identity && treatment.mount != MountNeed::Customary {
            self.check_token_place(container)?;
        }
        let obstacle = match treatment.mount {
            MountNeed::No => None,
            MountNeed::Required | MountNeed::Customary => self.obstacle(container),
        };
        let adds_mount = match (treatment.mount, obstacle) {
            (MountNeed::No, _) | (MountNeed::Customary, Some(_)) => false,
            (MountNeed::Required, Some(conflict)) => return Err(conflict),
            (MountNeed::Required | MountNeed::Customary, None) => true,
        };
        let has_region = sets_any(container, &[DEFAULT_REGION, REGION]);
        let [first, second] = self.kind.variables();

        let mut variables = Vec::with_capacity(7);
        let mut add = |name, value| variables.push(Variable { name, value });
        if let Some(value) = self.regional_sts.filter(|_| !container.sets(STS_REGIONAL_ENDPOINTS)) {
            add(STS_REGIONAL_ENDPOINTS, value);
        }
        if let Some(region) = treatment.region.filter(|_| !has_region) {
            add(DEFAULT_REGION, VariableValue::Text(region));
            add(REGION, VariableValue::Text(region));
        }
        if treatment.adds_identity {
            add(first, VariableValue::Text(self.identity.0));
            add(second, VariableValue::Text(&self.identity.1));
        }
        variables.extend(self.metadata_variable(container));
        let session_name = self
            .session_name
            .filter(|_| treatment.adds_identity && !container.sets(ROLE_SESSION_NAME));
        variables.extend(session_name.map(|value| Variable {
            name: ROLE_SESSION_NAME,
            value,
        }));

        add_variables(list, index, container, variables, patch);
        if adds_mount {
            let mount = Mount {
                name: self.volume_name,
                mount_path: self.mount_path,
            };
            match container.volume_mounts {
                Some(_) => patch.add(Pointer::MountsEnd(list, index), Value::Mount(mount)),
                None => patch.add(Pointer::Mounts(list, index), Value::Mounts([mount])),
            }
        }
        Ok(())
    }

    /// A web identity is evaluated by the audience that its token carries, so an author's audience is the author's choice. EKS
    /// Pod Identity is not evaluated here and its agent takes one audience only.
    fn is_token_volume(&self, volume: &view::Volume<'_>) -> bool {
        volume
            .token_audience(self.token_path)
            .is_some_and(|audience| self.kind == IdentityKind::Web || audience == self.audience)
    }

    fn volume_conflict(&self, volume: &view::Volume<'_>) -> Box<Conflict> {
        let what = match volume.kind() {
            "projected" => format!(
                "contains no token for {} at path {}",
                self.audience_wanted(),
                quoted(self.token_path)
            ),
            other => format!("is of kind {}", text::value(other)),
        };
        Box::new(Conflict {
            volume: text::value(self.volume_name),
            mount_path: None,
            message: format!(
                "volume {} of the pod {what}, but the token volume mounted at {} has that name: rename the pod's volume",
                quoted(self.volume_name),
                text::value(self.mount_path),
            ),
            fix: "rename the volume of the pod",
        })
    }

    fn audience_wanted(&self) -> String {
        match self.kind {
            IdentityKind::Web => "an audience".to_owned(),
            IdentityKind::Pod => format!("audience {}", quoted(self.audience)),
        }
    }

    /// Another volume at the token's place: a container would read its token from whatever is there.
    fn check_token_place(&self, container: &Container<'_>) -> Result<(), Box<Conflict>> {
        let other = container
            .mounts()
            .find(|mount| mount.name() != self.volume_name && self.place(mount) == Place::Same);
        match other {
            Some(mount) => Err(self.mount_conflict(
                container,
                mount,
                &format!("where the token volume {} belongs", text::value(self.volume_name)),
            )),
            None => Ok(()),
        }
    }

    /// What keeps the token volume from being mounted: the API server rejects a second mount at one path, and a container runtime
    /// cannot make the folder for a mount below something that cannot be written.
    fn obstacle(&self, container: &Container<'_>) -> Option<Box<Conflict>> {
        let mut deepest_above: Option<(usize, &VolumeMount<'_>)> = None;
        for mount in container.mounts() {
            match self.place(mount) {
                Place::Same => {
                    let place = format!("where the token volume {} belongs", text::value(self.volume_name));
                    return Some(self.mount_conflict(container, mount, &place));
                }
                Place::Below => {
                    let place = format!(
                        "below the mount of the token volume at {}, which is read-only",
                        text::value(self.mount_path)
                    );
                    return Some(self.mount_conflict(container, mount, &place));
                }
                Place::Above { depth } if deepest_above.is_none_or(|(deepest, _)| depth >= deepest) => {
                    deepest_above = Some((depth, mount));
                }
                Place::Above { .. } | Place::Apart => {}
            }
        }
        let (_, mount) = deepest_above?;
        let is_read_only =
            mount.is_read_only() || self.volumes.get(mount.name()).is_some_and(view::Volume::is_read_only);
        is_read_only.then(|| {
            let place = format!(
                "which is read-only, so the token volume cannot be mounted at {}",
                text::value(self.mount_path)
            );
            self.mount_conflict(container, mount, &place)
        })
    }

    /// Where a mount is, seen from the mount of the token volume.
    fn place(&self, mount: &VolumeMount<'_>) -> Place {
        let (Some(ours), Some(other)) = (&self.canonical_mount_path, self.paths.canonical(mount.path())) else {
            return Place::Apart;
        };
        match other.seen_from(ours) {
            Relation::Same => Place::Same,
            Relation::Below(_) => Place::Below,
            Relation::Above => Place::Above { depth: other.len() },
            Relation::Apart => Place::Apart,
        }
    }

    fn mount_conflict(&self, container: &Container<'_>, mount: &VolumeMount<'_>, place: &str) -> Box<Conflict> {
        Box::new(Conflict {
            volume: text::value(mount.name()),
            mount_path: Some(text::value(mount.path())),
            message: format!(
                "container {} mounts volume {} at {}, {place}: mount it elsewhere, or list the container in the pod's annotation {}{SKIP_CONTAINERS}",
                quoted(container.name()),
                quoted(mount.name()),
                text::value(mount.path()),
                self.rules.prefix,
            ),
            fix: "mount the volume elsewhere",
        })
    }

    /// A container that would start without credentials and without any error.
    fn warn_of_half_an_identity(
        &self,
        container: &Container<'_>,
        has_identity: bool,
        own_mount: Option<&VolumeMount<'_>>,
        warnings: &mut Vec<Warning>,
    ) {
        let name = quoted(container.name());
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
        } else if let Some(mount) = own_mount.filter(|mount| self.place(mount) != Place::Same) {
            let [_, file] = self.kind.variables();
            warnings.push(Warning::new(&format!(
                "container {name} mounts {} at {}, but {file} is {}",
                self.volume_name,
                quoted(mount.path()),
                self.identity.1,
            )));
        }
    }
}

/// The containers that set no credentials and are not skipped.
fn without_identity<'i, 'p>(
    identities: &'i EffectiveIdentities<'p>,
) -> impl Iterator<Item = &'i ContainerIdentity<'p>> {
    identities
        .containers()
        .filter(|container| *container.identity() == Identity::Injected)
}

/// Appends to the container's environment, or makes it.
fn add_variables(
    list: ContainerList,
    index: usize,
    container: &Container<'_>,
    variables: Vec<Variable<'_>>,
    patch: &mut Patch,
) {
    if container.env.is_none() && !variables.is_empty() {
        patch.add(Pointer::Env(list, index), Value::Variables(&variables));
    } else {
        for variable in variables {
            patch.add(Pointer::EnvEnd(list, index), Value::Variable(variable));
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
