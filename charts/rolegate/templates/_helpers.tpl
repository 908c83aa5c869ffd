{{- define "rolegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Leaves room for the longest suffix of a name. */}}
{{- define "rolegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "rolegate.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "rolegate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rolegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The namespace of every object that does not belong elsewhere. */}}
{{- define "rolegate.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/*
Name, namespace, labels and annotations of an object. Parameters: `root`; `name`, or a `suffix` of the full name; `namespace`, unless the object
belongs to the cluster; `labels` and `annotations`, which take precedence over `commonLabels` and `commonAnnotations`.
*/}}
{{- define "rolegate.metadata" -}}
name: {{ default (printf "%s%s" (include "rolegate.fullname" .root) (default "" .suffix)) .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- toYaml (merge (include "rolegate.ownLabels" .root | fromYaml) (default dict .labels) (default dict .root.Values.commonLabels)) | nindent 2 }}
{{- with merge (dict) (default dict .annotations) (default dict .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels of every object, for `extraObjects` too. */}}
{{- define "rolegate.labels" -}}
{{- toYaml (merge (include "rolegate.ownLabels" . | fromYaml) (default dict .Values.commonLabels)) -}}
{{- end -}}

{{/* They take precedence over labels of users, because selectors depend on them. */}}
{{- define "rolegate.ownLabels" -}}
{{- $own := include "rolegate.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml $own -}}
{{- end -}}

{{/* The labels by which the Service, the PodDisruptionBudget and others select the pods. */}}
{{- define "rolegate.podSelector" -}}
{{ include "rolegate.selectorLabels" . }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "rolegate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "rolegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The role in the annotations of the ServiceAccount, or empty. */}}
{{- define "rolegate.annotatedRole" -}}
{{- get (default dict .Values.serviceAccount.annotations) "eks.amazonaws.com/role-arn" -}}
{{- end -}}

{{- define "rolegate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" (include "rolegate.repository" .) .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" (include "rolegate.repository" .) (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* `global.imageRegistry` replaces a registry, which is a first part with a dot or a port, or `localhost`, as container runtimes read it. */}}
{{- define "rolegate.repository" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is required: this chart has no default image. Build the image and push it to a registry that your nodes can pull from (docs/image.md), and set the value, such as --set image.repository=registry.example.com/rolegate" -}}
{{- end -}}
{{- include "rolegate.checkRepository" .Values.image.repository -}}
{{- $repository := .Values.image.repository -}}
{{- $parts := splitList "/" $repository -}}
{{- if (default dict .Values.global).imageRegistry -}}
{{- if and (gt (len $parts) 1) (regexMatch "[.:]|^localhost$" (first $parts)) -}}
{{- $repository = rest $parts | join "/" -}}
{{- end -}}
{{- $repository = printf "%s/%s" .Values.global.imageRegistry $repository -}}
{{- end -}}
{{- $repository -}}
{{- end -}}

{{/* Whether the image is one of the documents' examples, which exists nowhere: "true" or empty. */}}
{{- define "rolegate.imageIsPlaceholder" -}}
{{- if regexMatch "(^111122223333\\.|(^|\\.)example\\.(com|org|net)([:/]|$))" (include "rolegate.repository" .) -}}true{{- end -}}
{{- end -}}

{{/* Secrets of the chart and of its parent, as a JSON list of `{name}`. Other charts write the global ones as names or as objects. */}}
{{- define "rolegate.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat (default list (default dict .Values.global).imagePullSecrets) (default list .Values.imagePullSecrets) -}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- $secrets | uniq | toJson -}}
{{- end -}}

{{/* Annotations of both webhook configurations. */}}
{{- define "rolegate.webhookAnnotations" -}}
{{- $annotations := dict -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" (printf "%s/%s" (include "rolegate.namespace" .) (include "rolegate.fullname" .)) -}}
{{- end -}}
{{- toYaml (merge $annotations (default dict .Values.webhookAnnotations)) -}}
{{- end -}}

{{- define "rolegate.secretName" -}}
{{- if and (eq .Values.certificates.mode "secret") (not .Values.certificates.secretName) -}}
{{- fail "certificates.mode=secret needs certificates.secretName: a Secret in the release's namespace with the keys tls.crt, tls.key and ca.crt" -}}
{{- end -}}
{{- default (printf "%s-tls" (include "rolegate.fullname" .)) .Values.certificates.secretName -}}
{{- end -}}

{{/* Whether rolegate writes caBundle: "true" or empty. In mode cert-manager, cainjector does. */}}
{{- define "rolegate.writesCaBundle" -}}
{{- if ne .Values.certificates.mode "cert-manager" -}}true{{- end -}}
{{- end -}}

{{/* Whether there is a MutatingWebhookConfiguration: "true" or empty. */}}
{{- define "rolegate.mutates" -}}
{{- if .Values.inject -}}true{{- end -}}
{{- end -}}

{{/* Whether there is a ValidatingWebhookConfiguration: "true" or empty. */}}
{{- define "rolegate.validates" -}}
{{- if or (not .Values.inject) .Values.workloadWarnings.enabled -}}true{{- end -}}
{{- end -}}

{{/* `off` without quotes is a boolean in YAML. */}}
{{- define "rolegate.requireRole" -}}
{{- if kindIs "bool" .Values.requireRole -}}off{{- else -}}{{- .Values.requireRole -}}{{- end -}}
{{- end -}}

{{/* The sources of EKS Pod Identity associations, in order, as a JSON list; empty unless the cluster is named. */}}
{{- define "rolegate.associationSources" -}}
{{- $sources := default list .Values.podIdentity.sources -}}
{{- $isNamed := or .Values.podIdentity.clusterName .Values.podIdentity.clusterArn -}}
{{- if and .Values.podIdentity.clusterName .Values.podIdentity.clusterArn -}}
{{- fail "podIdentity.clusterName and podIdentity.clusterArn name the same cluster: set one of them" -}}
{{- end -}}
{{- if and $isNamed (not $sources) -}}
{{- fail "podIdentity.sources is empty: name a source of EKS Pod Identity associations, or remove podIdentity.clusterName and clusterArn" -}}
{{- end -}}
{{- /* For the default list, it is unknown whether a user set it. */ -}}
{{- if and (not $isNamed) $sources (ne (toJson $sources) `["eks"]`) -}}
{{- fail "podIdentity.sources has no effect without the cluster: set podIdentity.clusterName or podIdentity.clusterArn, or remove podIdentity.sources" -}}
{{- end -}}
{{- ternary $sources list (not (empty $isNamed)) | toJson -}}
{{- end -}}

{{/* The role sources, in order, as a JSON list. */}}
{{- define "rolegate.roleSources" -}}
{{- $sources := default list .Values.roleSources -}}
{{- if .Values.roleFiles.configMap -}}
{{- $sources = append $sources "files=/etc/rolegate/roles" | uniq -}}
{{- end -}}
{{- if not $sources -}}
{{- fail "no source of trust policies is set: name one in roleSources, or a ConfigMap in roleFiles.configMap" -}}
{{- end -}}
{{- toJson $sources -}}
{{- end -}}

{{- define "rolegate.subject" -}}
- kind: ServiceAccount
  name: {{ include "rolegate.serviceAccountName" . }}
  namespace: {{ include "rolegate.namespace" . }}
{{- end -}}

{{/* Annotations of objects that `helm test` creates, in this order, and removes afterwards. */}}
{{- define "rolegate.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}

{{/* Whether a value is something other than null or an empty text: "true" or empty. Zero is set. */}}
{{- define "rolegate.isSet" -}}
{{- if ne (toString (default "" .)) "" -}}true{{- else if or (kindIs "float64" .) (kindIs "int64" .) (kindIs "int" .) -}}true{{- end -}}
{{- end -}}

{{/* Rejects a PodDisruptionBudget under which no replica could ever be evicted. */}}
{{- define "rolegate.checkDisruptionBudget" -}}
{{- $min := .Values.podDisruptionBudget.minAvailable -}}
{{- $max := .Values.podDisruptionBudget.maxUnavailable -}}
{{- if and (include "rolegate.isSet" $min) (include "rolegate.isSet" $max) -}}
{{- fail "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable exclude each other: set one of them" -}}
{{- end -}}
{{- if and (include "rolegate.isSet" $max) (has (include "rolegate.scalar" $max) (list "0" "0%")) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable is %s: node drains would wait forever; set 1 or more, or podDisruptionBudget.enabled to false" (include "rolegate.scalar" $max)) -}}
{{- end -}}
{{- if include "rolegate.isSet" $min -}}
{{- $scalar := include "rolegate.scalar" $min -}}
{{- if eq $scalar "100%" -}}
{{- fail "podDisruptionBudget.minAvailable is 100%: node drains would wait forever; set less, or maxUnavailable instead" -}}
{{- end -}}
{{- if and (not (kindIs "string" $min)) (ge (int $min) (int .Values.replicaCount)) -}}
{{- fail (printf "podDisruptionBudget.minAvailable (%s) must be less than replicaCount (%d): node drains would wait forever; set maxUnavailable instead, or more replicas" $scalar (int .Values.replicaCount)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Whether a percentage in podDisruptionBudget.minAvailable requires all replicas of `replicaCount`: "true" or empty. Kubernetes rounds up. An
autoscaler might run more replicas.
*/}}
{{- define "rolegate.requiresAllReplicas" -}}
{{- $min := .Values.podDisruptionBudget.minAvailable -}}
{{- if and .Values.podDisruptionBudget.enabled (kindIs "string" $min) (ne (toString $min) "") -}}
{{- $available := mul (trimSuffix "%" $min | int) (int .Values.replicaCount) -}}
{{- if gt $available (mul 100 (sub (int .Values.replicaCount) 1)) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Rejects annotations of the ServiceAccount that were probably meant for EKS's webhook, which ignores keys that it does not know: rolegate would
have no role. The schema has the form of their values.
*/}}
{{- define "rolegate.checkAnnotations" -}}
{{- $known := list "eks.amazonaws.com/role-arn" "eks.amazonaws.com/audience" "eks.amazonaws.com/sts-regional-endpoints" "eks.amazonaws.com/token-expiration" -}}
{{- range $key, $_ := .Values.serviceAccount.annotations -}}
{{- if and (not (has $key $known)) (regexMatch "(?i)^eks[.-]?amazon|^[^/]*role[-_.]?arn$" $key) -}}
{{- $meant := ternary "eks.amazonaws.com/role-arn" (join ", " $known) (regexMatch "(?i)role[-_.]?arn$" $key) -}}
{{- fail (printf "serviceAccount.annotations: %s is not an annotation that EKS reads; expected %s" $key $meant) -}}
{{- end -}}
{{- end -}}
{{- end -}}
