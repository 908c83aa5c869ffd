//! What is added to each container, and what conflicts with it.

use std::collections::BTreeSet;

use super::patch::{Mount, OneEntry, Patch, Pointer, Value, Variable, VariableValue, Volume};
use super::paths::PathStyle;
use super::selection::{SKIP_CONTAINERS, Selection};
use super::variables::{
    AUTHORIZATION_TOKEN_FILE, CREDENTIALS_FULL_URI, ROLE_ARN, WEB_IDENTITY_TOKEN_FILE, has_foreign_pod_identity,
    sets_any,
};
use super::{Conflict, Injection, PodIdentitySettings, WebIdentitySettings};
use crate::pod::identity::{AnnotationRules, PodIdentityRequest, WebIdentityRequest};
use crate::pod::view::{self, Container, ContainerList, PodView, TOKEN_PATH, TOKEN_VOLUME, VolumeMount};
use crate::pod::warning::{Warning, quoted};
use crate::support::text;

const STS_REGIONAL_ENDPOINTS: &str = "AWS_STS_REGIONAL_ENDPOINTS";
const DEFAULT_REGION: &str = "AWS_DEFAULT_REGION";
const REGION: &str = "AWS_REGION";
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const ROLE_SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

const POD_IDENTITY_LABEL: OneEntry = OneEntry("eks.amazonaws.com/pod-identity", "enabled");

/// Everything that is the same for all containers of a pod.
pub(super) struct Plan<'r> {
    selection: Selection<'r>,
    rules: &'r AnnotationRules,
    paths: PathStyle,
    kind: IdentityKind,
    volume_name: &'r str,
    token_path: &'r str,
    audience: &'r str,
    expiration_seconds: u32,
    mount_path: &'r str,
    /// What the first and the second variable of the identity say.
    identity: (&'r str, String),
    region: Option<&'r str>,
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
        pod: &'r PodView<'_>,
        request: &'r WebIdentityRequest,
        settings: &'r WebIdentitySettings,
        session_name: Option<VariableValue<'r>>,
    ) -> Self {
        let paths = PathStyle::of(pod);
        Self {
            selection: Selection::of(rules, pod),
            rules,
            paths,
            kind: IdentityKind::Web,
            volume_name: TOKEN_VOLUME,
            token_path: TOKEN_PATH,
            audience: request.audience.as_str(),
            expiration_seconds: request.expiration_seconds,
            mount_path: &settings.mount_path,
            identity: (request.role.as_str(), paths.file(&settings.mount_path, TOKEN_PATH)),
            region: settings.region.as_deref(),
            regional_sts: request.regional_sts.then_some(VariableValue::Text("regional")),
            metadata_disabled: settings
                .disable_instance_metadata
                .then_some(VariableValue::Text("true")),
            session_name,
        }
    }

    pub(super) fn pod_identity(
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
            volume_name: &settings.volume_name,
            token_path: &settings.token_path,
            audience: &settings.audience,
            expiration_seconds: request.expiration_seconds,
            mount_path: &settings.mount_path,
            identity: (
                &settings.full_uri,
                paths.file(&settings.mount_path, &settings.token_path),
            ),
            region: settings.region.as_deref(),
            regional_sts: request.regional_sts.then_some(VariableValue::Text("regional")),
            metadata_disabled: settings
                .disable_instance_metadata
                .then_some(VariableValue::Text("true")),
            session_name: None,
        }
    }

    pub(super) fn inject(&self, pod: &PodView<'_>) -> Result<Injection, Box<Conflict>> {
        let Some(spec) = &pod.spec else {
            return Ok(Injection::default());
        };
        let mut injection = Injection::default();
        injection.warnings.extend(self.selection.unknown_names(self.rules, pod));
        if self.kind == IdentityKind::Pod {
            add_label(pod, &mut injection.patch);
        }
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
                match spec.volumes {
                    Some(_) => injection.patch.add(Pointer::FirstVolume, Value::Volume(volume)),
                    None => injection.patch.add(Pointer::Volumes, Value::Volumes([volume])),
                }
            }
        }
        for (list, index, container) in pod.containers() {
            self.patch_container(list, index, container, &mut injection)?;
        }
        Ok(injection)
    }

    pub(super) fn inject_ephemeral(&self, old: &PodView<'_>, new: &PodView<'_>) -> Injection {
        let mut injection = Injection::default();
        if !new
            .volume(self.volume_name)
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
            if let Err(conflict) = self.patch_container(ContainerList::Ephemeral, index, container, &mut injection) {
                injection.warnings.push(Warning::new(&conflict.message));
            }
        }
        injection
    }

    /// Adds to one container what it lacks. A conflict is found before anything is added.
    fn patch_container(
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
        let own_mount = container.mounts().find(|mount| mount.name() == self.volume_name);
        if own_mount.is_none() || !has_identity {
            self.check_mounts(container)?;
        }
        self.warn_of_half_an_identity(container, has_identity, own_mount, &mut injection.warnings);

        let mut variables = Vec::with_capacity(7);
        let mut add = |name, value| variables.push(Variable { name, value });
        if let Some(value) = self.regional_sts.filter(|_| !has_sts) {
            add(STS_REGIONAL_ENDPOINTS, value);
        }
        if let Some(region) = self.region.filter(|_| !has_region) {
            add(DEFAULT_REGION, VariableValue::Text(region));
            add(REGION, VariableValue::Text(region));
        }
        if !has_identity {
            add(first, VariableValue::Text(self.identity.0));
            add(second, VariableValue::Text(&self.identity.1));
        }
        if let Some(value) = self.metadata_disabled.filter(|_| !container.sets(METADATA_DISABLED)) {
            add(METADATA_DISABLED, value);
        }
        let session_name = self
            .session_name
            .filter(|_| !has_identity && !container.sets(ROLE_SESSION_NAME));
        if let Some(value) = session_name {
            add(ROLE_SESSION_NAME, value);
        }

        let patch = &mut injection.patch;
        if container.env.is_none() && !variables.is_empty() {
            patch.add(Pointer::Env(list, index), Value::Variables(&variables));
        } else {
            for variable in variables {
                patch.add(Pointer::EnvEnd(list, index), Value::Variable(variable));
            }
        }
        if own_mount.is_none() {
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

    /// A web identity is judged by the audience that its token carries, so an author's audience is the author's choice. EKS
    /// Pod Identity is not judged here and its agent takes one audience only.
    fn is_token_volume(&self, volume: &view::Volume<'_>) -> bool {
        volume
            .token_audience(self.token_path)
            .is_some_and(|audience| self.kind == IdentityKind::Web || audience == self.audience)
    }

    fn volume_conflict(&self, volume: &view::Volume<'_>) -> Box<Conflict> {
        let what = match volume.kind() {
            "projected" => format!(
                "holds no token for {} at path {}",
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
        })
    }

    fn audience_wanted(&self) -> String {
        match self.kind {
            IdentityKind::Web => "an audience".to_owned(),
            IdentityKind::Pod => format!("audience {}", quoted(self.audience)),
        }
    }

    /// Another volume at the token's place: the API server would reject a second mount there, and without one a container
    /// would read its token from whatever is there.
    fn check_mounts(&self, container: &Container<'_>) -> Result<(), Box<Conflict>> {
        let is_other = |mount: &&VolumeMount<'_>| {
            mount.name() != self.volume_name && self.paths.same(mount.path(), self.mount_path)
        };
        let Some(mount) = container.mounts().find(is_other) else {
            return Ok(());
        };
        Err(Box::new(Conflict {
            volume: text::value(mount.name()),
            mount_path: Some(text::value(mount.path())),
            message: format!(
                "container {} mounts volume {} at {}, where the token volume {} belongs: mount it elsewhere, or name the \
                 container in the pod's annotation {}{SKIP_CONTAINERS}",
                quoted(container.name()),
                quoted(mount.name()),
                text::value(mount.path()),
                text::value(self.volume_name),
                self.rules.prefix,
            ),
        }))
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
        } else if let Some(mount) = own_mount.filter(|mount| !self.paths.same(mount.path(), self.mount_path)) {
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
