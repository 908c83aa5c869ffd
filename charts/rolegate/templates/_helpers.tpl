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

{{/* Labels of every object. They take precedence over `commonLabels`, because selectors depend on them. */}}
{{- define "rolegate.labels" -}}
{{- $own := include "rolegate.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $own (default dict .Values.commonLabels)) -}}
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

{{- define "rolegate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
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
{{- fail "there is no source of EKS Pod Identity associations: name one in podIdentity.sources, or remove the name of the cluster" -}}
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
{{- fail "there is no source of trust policies: name one in roleSources, or a ConfigMap in roleFiles.configMap" -}}
{{- end -}}
{{- toJson $sources -}}
{{- end -}}

{{- define "rolegate.subject" -}}
- kind: ServiceAccount
  name: {{ include "rolegate.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Annotations of objects that `helm test` creates, in this order, and removes afterwards. */}}
{{- define "rolegate.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}
