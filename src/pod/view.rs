//! The slim view of a pod: what is read, borrowed from the review's bytes; a field that is not named here is never touched.
//!
//! One pass over the text fills the view. A JSON null reads as absent everywhere, a field that is given twice or with the
//! wrong type is an error, and what is not listed is skipped without being looked into. The visitors are written by a macro
//! and not derived: serde's derive also takes a JSON array for a struct, field by field, so that `"spec": []` would read
//! as an empty spec.
//!
//! Skipped strings are not checked for UTF-8 when the bytes are read with `serde_json::from_slice`; callers check the
//! whole text first and use `from_str`, which is faster too.

mod object;
mod text_map;

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::object::json_object;
use self::text_map::{TextMap, TextMapVisitor, read_texts};
use super::json::{Read, Reader, Taken, Text, read_fields};

/// Name of the volume that holds the web identity token.
pub(crate) const TOKEN_VOLUME: &str = "aws-iam-token";
/// Path of the web identity token in its volume.
pub(crate) const TOKEN_PATH: &str = "token";

/// The ServiceAccount of a pod that names none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";
/// The kubelet sets it on the mirror of a static pod; its value is of no interest.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// What is kept of a pod's annotations: names that end so, whatever the prefix, which only the caller knows. The rest may
/// be large (`last-applied-configuration`) and is not copied.
const KEPT_ANNOTATION_SUFFIXES: [&str; 3] = ["token-expiration", "skip-containers", "include-containers"];
/// What is kept of a container's environment: names that start so. All variables are kept where one of these refers to
/// others, `$(NAME)`.
const KEPT_VARIABLE_PREFIX: &str = "AWS_";

json_object! {
    /// What rolegate reads of a pod.
    pub struct PodView<'a>, "a pod" {
        "kind" => kind: Text<'a>,
        "metadata" => metadata: Metadata<'a>,
        "spec" => spec: Spec<'a>,
    }
}

impl<'a> PodView<'a> {
    /// The volumes. A null in the list is not a volume.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &Volume<'a>> {
        let volumes = self.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        volumes.into_iter().flatten().flatten()
    }
}

impl PodView<'_> {
    /// `kind`, when the object says it; a pod template does not.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        not_empty(self.kind.as_ref())
    }

    /// `metadata.name`, when not empty.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        not_empty(self.metadata.as_ref()?.name.as_ref())
    }

    /// `metadata.generateName`, when not empty.
    #[must_use]
    pub fn generate_name(&self) -> Option<&str> {
        not_empty(self.metadata.as_ref()?.generate_name.as_ref())
    }

    /// Whether the object has a `spec`. One without is refused as a bad request.
    #[must_use]
    pub fn has_spec(&self) -> bool {
        self.spec.is_some()
    }

    /// `spec.serviceAccountName`; `default` when empty or absent.
    #[must_use]
    pub fn service_account_name(&self) -> &str {
        self.spec
            .as_ref()
            .and_then(|spec| not_empty(spec.service_account_name.as_ref()))
            .unwrap_or(DEFAULT_SERVICE_ACCOUNT)
    }

    /// A label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.labels.as_ref()?.get(key)
    }

    /// Whether it mirrors a static pod (annotation `kubernetes.io/config.mirror`).
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.annotation("", MIRROR_ANNOTATION).is_some()
    }

    /// Kind and name of the controlling owner (`metadata.ownerReferences[].controller`).
    #[must_use]
    pub fn controller(&self) -> Option<(&str, &str)> {
        let owners = self.metadata.as_ref()?.owner_references.as_ref()?;
        let owner = owners.iter().flatten().find(|owner| owner.controller == Some(true))?;
        Some((owner.kind.as_ref()?.as_str(), owner.name.as_ref()?.as_str()))
    }

    /// The audience of a token volume that the pod brings itself (a `serviceAccountToken` at path `token` in the projected
    /// volume `aws-iam-token`), none when it brings none. What the author set wins, so this is the audience to judge.
    #[must_use]
    pub fn token_audience(&self) -> Option<&str> {
        self.volume(TOKEN_VOLUME)?.token_audience(TOKEN_PATH)
    }

    /// The value of the annotation `prefix` + `name`; of the names in [`KEPT_ANNOTATION_SUFFIXES`] only.
    pub(super) fn annotation(&self, prefix: &str, name: &str) -> Option<&str> {
        let annotations = self.metadata.as_ref()?.annotations.as_ref()?;
        annotations
            .0
            .iter()
            .find(|(key, _)| key.as_str().strip_prefix(prefix) == Some(name))
            .map(|(_, value)| value.as_str())
    }

    /// Init containers, then containers, with their place in their list. A null in a list is not a container.
    pub(super) fn containers(&self) -> impl Iterator<Item = (ContainerList, usize, &Container<'_>)> {
        let spec = self.spec.as_ref();
        let init = places(spec.and_then(|spec| spec.init_containers.as_ref()));
        let main = places(spec.and_then(|spec| spec.containers.as_ref()));
        let init = init.map(|(index, container)| (ContainerList::Init, index, container));
        init.chain(main.map(|(index, container)| (ContainerList::Main, index, container)))
    }

    /// Ephemeral containers with their place in their list.
    pub(super) fn ephemeral_containers(&self) -> impl Iterator<Item = (usize, &Container<'_>)> {
        places(self.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_ref()))
    }

    /// The volume of a name.
    pub(super) fn volume(&self, name: &str) -> Option<&Volume<'_>> {
        self.volumes().find(|volume| volume.name() == name)
    }

    /// `spec.schedulerName`.
    pub(super) fn scheduler_name(&self) -> Option<&str> {
        not_empty(self.spec.as_ref()?.scheduler_name.as_ref())
    }

    /// Whether the pod has a volume of this name with a projected token at this path.
    #[must_use]
    pub(crate) fn has_projected_token(&self, volume: &str, path: &str) -> bool {
        self.volume(volume)
            .is_some_and(|volume| volume.token_audience(path).is_some())
    }

    /// Whether the pod is for Windows nodes, by what it says of its operating system or of its node's.
    pub(super) fn is_windows(&self) -> bool {
        let Some(spec) = &self.spec else { return false };
        let has_windows_options = spec
            .security_context
            .as_ref()
            .is_some_and(|context| context.windows_options.is_some());
        if has_windows_options {
            return true;
        }
        let selector = spec.node_selector.as_ref();
        [
            spec.os.as_ref().and_then(|os| os.name.as_ref()),
            selector.and_then(|selector| selector.os.as_ref()),
            selector.and_then(|selector| selector.beta_os.as_ref()),
        ]
        .into_iter()
        .flatten()
        .any(|os| os.as_str() == "windows")
    }
}

/// Which list of a pod's spec a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerList {
    Init,
    Main,
    Ephemeral,
}

type Containers<'a> = Vec<Option<Container<'a>>>;

fn places<'v>(containers: Option<&'v Containers<'v>>) -> impl Iterator<Item = (usize, &'v Container<'v>)> {
    containers
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(index, container)| Some((index, container.as_ref()?)))
}

fn not_empty<'v>(text: Option<&'v Text<'_>>) -> Option<&'v str> {
    text.map(Text::as_str).filter(|text| !text.is_empty())
}

json_object! {
    pub(super) struct Metadata<'a>, "metadata" {
        "name" => name: Text<'a>,
        "generateName" => generate_name: Text<'a>,
        "labels" => labels: TextMap<'a>,
        "annotations" => annotations: KeptAnnotations<'a>,
        "ownerReferences" => owner_references: Vec<Option<OwnerReference<'a>>>,
    }
}

json_object! {
    pub(super) struct OwnerReference<'a>, "an owner reference" {
        "kind" => kind: Text<'a>,
        "name" => name: Text<'a>,
        "controller" => controller: bool,
    }
}

json_object! {
    pub(super) struct Spec<'a>, "a pod's spec" {
        "serviceAccountName" => service_account_name: Text<'a>,
        "containers" => containers: Containers<'a>,
        "initContainers" => init_containers: Containers<'a>,
        "ephemeralContainers" => ephemeral_containers: Containers<'a>,
        "volumes" => volumes: Vec<Option<Volume<'a>>>,
        "os" => os: Os<'a>,
        "nodeSelector" => node_selector: NodeSelector<'a>,
        "schedulerName" => scheduler_name: Text<'a>,
        "securityContext" => security_context: PodSecurityContext<'a>,
    }
}

json_object! {
    pub(super) struct PodSecurityContext<'a>, "a pod's securityContext" {
        "windowsOptions" => windows_options: Present<'a>,
    }
}

json_object! {
    pub(super) struct Os<'a>, "spec.os" {
        "name" => name: Text<'a>,
    }
}

json_object! {
    pub(super) struct NodeSelector<'a>, "a node selector" {
        "kubernetes.io/os" => os: Text<'a>,
        "beta.kubernetes.io/os" => beta_os: Text<'a>,
    }
}

json_object! {
    pub(super) struct Container<'a>, "a container" {
        "name" => name: Text<'a>,
        /// Present even when empty: it is then appended to instead of made.
        "env" => env: KeptVariables<'a>,
        "volumeMounts" => volume_mounts: Vec<Option<VolumeMount<'a>>>,
        "envFrom" => env_from: Vec<Option<Present<'a>>>,
    }
}

impl Container<'_> {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or("", Text::as_str)
    }

    /// Whether the environment sets a variable (`AWS_…` only), in whatever way.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.variables().iter().any(|variable| variable.name() == name)
    }

    /// The kept variables in their order. Those that are not `AWS_…` are among them only where an `AWS_…` variable may refer
    /// to them.
    pub(super) fn variables(&self) -> &[EnvVar<'_>] {
        self.env.as_ref().map_or(&[], |env| &env.0)
    }

    /// Whether `envFrom` may set variables that are not listed.
    pub(super) fn has_env_from(&self) -> bool {
        self.env_from.iter().flatten().flatten().next().is_some()
    }

    pub(super) fn mounts(&self) -> impl Iterator<Item = &VolumeMount<'_>> {
        self.volume_mounts.iter().flatten().flatten()
    }
}

json_object! {
    pub(super) struct EnvVar<'a>, "an environment variable" {
        "name" => name: Text<'a>,
        "value" => value: Text<'a>,
        "valueFrom" => value_from: Present<'a>,
    }
}

impl EnvVar<'_> {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or("", Text::as_str)
    }

    /// As written; empty when it has none.
    pub(super) fn value(&self) -> &str {
        self.value.as_ref().map_or("", Text::as_str)
    }

    pub(super) const fn has_value_from(&self) -> bool {
        self.value_from.is_some()
    }

    fn is_kept(&self) -> bool {
        self.name().starts_with(KEPT_VARIABLE_PREFIX)
    }

    /// Whether the kubelet would expand something in its value.
    pub(super) fn is_computed(&self) -> bool {
        self.value().contains('$')
    }
}

json_object! {
    pub(super) struct VolumeMount<'a>, "a volume mount" {
        "name" => name: Text<'a>,
        "mountPath" => mount_path: Text<'a>,
        "readOnly" => read_only: bool,
        "subPath" => sub_path: Text<'a>,
        "subPathExpr" => sub_path_expr: Text<'a>,
    }
}

impl VolumeMount<'_> {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or("", Text::as_str)
    }

    pub(super) fn path(&self) -> &str {
        self.mount_path.as_ref().map_or("", Text::as_str)
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only == Some(true)
    }

    /// The path within the volume that is mounted; empty: all of it. None where only the kubelet can know it.
    pub(super) fn sub_path(&self) -> Option<&str> {
        if not_empty(self.sub_path_expr.as_ref()).is_some() {
            return None;
        }
        Some(self.sub_path.as_ref().map_or("", Text::as_str))
    }
}

json_object! {
    pub(super) struct Projected<'a>, "a projected volume" {
        "sources" => sources: Vec<Option<ProjectedSource<'a>>>,
    }
}

json_object! {
    pub(super) struct ProjectedSource<'a>, "a source of a projected volume" {
        "serviceAccountToken" => service_account_token: TokenSource<'a>,
    }
}

json_object! {
    pub(super) struct TokenSource<'a>, "a serviceAccountToken" {
        "audience" => audience: Text<'a>,
        "path" => path: Text<'a>,
    }
}

/// A volume: its name and what it is made of.
#[derive(Debug, Default)]
pub(super) struct Volume<'a> {
    name: Option<Text<'a>>,
    projected: Option<Projected<'a>>,
    /// The key of a source that is not `projected`: `hostPath`, `secret` …
    other_kind: Option<Text<'a>>,
    /// Whether that source is `readOnly`, as those of persistent volume claims, CSI and network file systems can be.
    is_read_only_source: bool,
}

impl<'a> Volume<'a> {
    /// The projected ServiceAccount tokens.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &TokenSource<'a>> {
        let sources = self.projected.as_ref().and_then(|projected| projected.sources.as_ref());
        sources
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|source| source.service_account_token.as_ref())
    }
}

impl Volume<'_> {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or("", Text::as_str)
    }

    /// The key of its source, for messages.
    pub(super) fn kind(&self) -> &str {
        match (&self.projected, &self.other_kind) {
            (Some(_), _) => "projected",
            (None, Some(kind)) => kind.as_str(),
            (None, None) => "emptyDir",
        }
    }

    /// The audience of the projected ServiceAccount token at a path. One without an audience is for the API server itself
    /// and not a web identity: none.
    pub(super) fn token_audience(&self, path: &str) -> Option<&str> {
        self.tokens()
            .filter(|token| token.path.as_ref().is_some_and(|own| own.as_str() == path))
            .find_map(TokenSource::audience)
    }

    /// Whether no container can write to it, however it is mounted.
    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only_source
            || matches!(
                self.kind(),
                "projected" | "secret" | "configMap" | "downwardAPI" | "image"
            )
    }
}

/// Any field of a volume but its name and `projected`: another source, or something that Kubernetes adds one day.
#[derive(Debug, Default)]
struct OtherSource {
    read_only: Option<Flag>,
}

impl OtherSource {
    fn is_read_only(&self) -> bool {
        self.read_only.as_ref().is_some_and(|flag| flag.0)
    }
}

impl<'a> Read<'a> for OtherSource {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        // What is not an object is left to `serde_json`, which looks into strings and numbers.
        read_fields!(reader, self, { "readOnly" => read_only, })
    }
}

impl<'de> Deserialize<'de> for OtherSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut source = Self::default();
        deserializer.deserialize_any(Lenient(|key: &str, flag| {
            if key == "readOnly" {
                source.read_only = flag;
            }
        }))?;
        Ok(source)
    }
}

/// A boolean; any other value is false.
#[derive(Debug, Default)]
struct Flag(bool);

impl<'a> Read<'a> for Flag {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        self.0.read(reader)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_true = deserializer.deserialize_any(Lenient(|_: &str, _| {}))?;
        Ok(Self(is_true))
    }
}

/// Takes any value: whether it is `true`, and of an object each key with the flag that it holds.
struct Lenient<F>(F);

impl<'de, F: FnMut(&str, Option<Flag>)> Visitor<'de> for Lenient<F> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }
    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<bool, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }
    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<bool, M::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if key.as_str() == "readOnly" {
                (self.0)(key.as_str(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(false)
    }
}

impl TokenSource<'_> {
    /// None: the audience of the API server.
    pub(super) fn audience(&self) -> Option<&str> {
        not_empty(self.audience.as_ref())
    }

    /// Within the volume.
    pub(super) fn path(&self) -> &str {
        self.path.as_ref().map_or("", Text::as_str)
    }
}

impl<'a> Read<'a> for Volume<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        let mut object = reader.object()?;
        let (mut named, mut is_projected) = (false, false);
        while let Some(key) = reader.key(&mut object)? {
            match &*key {
                "name" if !named => {
                    named = true;
                    reader.optional(&mut self.name)?;
                }
                "projected" if !is_projected => {
                    is_projected = true;
                    reader.optional(&mut self.projected)?;
                }
                "name" | "projected" => return None,
                _ if reader.null()? => {}
                _ => {
                    let mut source = OtherSource::default();
                    source.read(reader)?;
                    self.is_read_only_source |= source.is_read_only();
                    self.other_kind = Some(key.into());
                }
            }
        }
        Some(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Volume<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VolumeVisitor<'a>(std::marker::PhantomData<Volume<'a>>);
        impl<'de: 'a, 'a> Visitor<'de> for VolumeVisitor<'a> {
            type Value = Volume<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a volume (an object)")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Volume<'a>, M::Error> {
                let mut name: Option<Option<Text<'a>>> = None;
                let mut projected: Option<Option<Projected<'a>>> = None;
                let mut other_kind = None;
                let mut is_read_only_source = false;
                while let Some(key) = map.next_key::<Text<'a>>()? {
                    match key.as_str() {
                        "name" if name.is_some() => return Err(M::Error::duplicate_field("name")),
                        "name" => name = Some(map.next_value()?),
                        "projected" if projected.is_some() => return Err(M::Error::duplicate_field("projected")),
                        "projected" => projected = Some(map.next_value()?),
                        _ => {
                            if let Some(source) = map.next_value::<Option<OtherSource>>()? {
                                is_read_only_source |= source.is_read_only();
                                other_kind = Some(key);
                            }
                        }
                    }
                }
                Ok(Volume {
                    name: name.flatten(),
                    projected: projected.flatten(),
                    other_kind,
                    is_read_only_source,
                })
            }
        }
        deserializer.deserialize_map(VolumeVisitor(std::marker::PhantomData))
    }
}

/// The annotations of a pod that rolegate reads.
#[derive(Debug, Default)]
pub(super) struct KeptAnnotations<'a>(Vec<(Text<'a>, Text<'a>)>);

fn is_kept_annotation(key: &str) -> bool {
    key == MIRROR_ANNOTATION || KEPT_ANNOTATION_SUFFIXES.iter().any(|suffix| key.ends_with(suffix))
}

impl<'a> Read<'a> for KeptAnnotations<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        read_texts(reader, is_kept_annotation, &mut self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for KeptAnnotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = TextMapVisitor {
            keep: is_kept_annotation,
            kept: Vec::new(),
        };
        deserializer.deserialize_map(visitor).map(Self)
    }
}

/// The variables of a container that rolegate reads.
#[derive(Debug, Default)]
pub(super) struct KeptVariables<'a>(Vec<EnvVar<'a>>);

impl<'a> KeptVariables<'a> {
    /// Reads the list, and keeps what is to be kept.
    fn read_list(&mut self, reader: &mut Reader<'a>, is_kept: fn(&EnvVar<'a>) -> bool) -> Taken {
        reader.list(|reader| {
            let mut variable: Option<EnvVar<'a>> = None;
            reader.optional(&mut variable)?;
            self.0.extend(variable.filter(is_kept));
            Some(())
        })
    }

    fn refers_to_others(&self) -> bool {
        self.0
            .iter()
            .any(|variable| variable.is_kept() && variable.is_computed())
    }
}

impl<'a> Read<'a> for KeptVariables<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        let start = reader.place();
        self.read_list(reader, EnvVar::is_kept)?;
        if self.refers_to_others() {
            self.0.clear();
            reader.go_to(start);
            self.read_list(reader, |_| true)?;
        }
        Some(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for KeptVariables<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VariablesVisitor<'a>(std::marker::PhantomData<KeptVariables<'a>>);
        impl<'de: 'a, 'a> Visitor<'de> for VariablesVisitor<'a> {
            type Value = KeptVariables<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of environment variables")
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<KeptVariables<'a>, S::Error> {
                let mut kept = KeptVariables::default();
                while let Some(variable) = seq.next_element::<Option<EnvVar<'a>>>()? {
                    kept.0.extend(variable);
                }
                if !kept.refers_to_others() {
                    kept.0.retain(EnvVar::is_kept);
                }
                Ok(kept)
            }
        }
        deserializer.deserialize_seq(VariablesVisitor(std::marker::PhantomData))
    }
}

/// A value of which only its presence counts.
#[derive(Debug, Default)]
pub(super) struct Present<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Read<'a> for Present<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        reader.skip_value()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Present<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self::default())
    }
}

#[cfg(test)]
mod tests;
