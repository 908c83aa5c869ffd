{{/*
Text for a terminal of 80 columns. Paragraphs and items (`- ` and `1. `) are wrapped, whatever the length of their
lines is here. Lines that begin
with five spaces are commands and the like, and remain as they are.
*/}}
{{- define "rolegate.wrapped" -}}
{{- $lines := list -}}
{{- $paragraph := "" -}}
{{- range $line := append (splitList "\n" .) "" -}}
{{- $isVerbatim := hasPrefix "     " $line -}}
{{- $isBlank := eq (trim $line) "" -}}
{{- if and $paragraph (or $isVerbatim $isBlank (regexMatch "^ *(-|[0-9]+[.]) " $line)) -}}
{{- $lead := regexFind "^ *((-|[0-9]+[.]) +)?" $paragraph -}}
{{- $indent := repeat (len $lead) " " -}}
{{- $text := trimPrefix $lead $paragraph | wrap (sub 80 (len $lead) | int) -}}
{{- $lines = append $lines (printf "%s%s" $lead (replace "\n" (printf "\n%s" $indent) $text)) -}}
{{- $paragraph = "" -}}
{{- end -}}
{{- if $isVerbatim -}}
{{- $lines = append $lines $line -}}
{{- else if not $isBlank -}}
{{- $paragraph = ternary (printf "%s %s" $paragraph (trim $line)) (trimSuffix " " $line) (ne $paragraph "") -}}
{{- else if and $lines (ne (last $lines) "") -}}
{{- $lines = append $lines "" -}}
{{- end -}}
{{- end -}}
{{- join "\n" $lines | trimSuffix "\n" -}}
{{- end -}}

{{/* A role source for people. Parameters: `root` and `source`. */}}
{{- define "rolegate.describedSource" -}}
{{- if eq .source "iam" -}}IAM (iam)
{{- else if eq .source "ack" -}}objects of ACK (ack)
{{- else if eq .source "crossplane" -}}objects of Crossplane (crossplane)
{{- else if and (eq .source "files=/etc/rolegate/roles") .root.Values.roleFiles.configMap -}}
ConfigMap {{ .root.Values.roleFiles.configMap }} in namespace {{ include "rolegate.namespace" .root }} (roleFiles.configMap)
{{- else -}}files in {{ trimPrefix "files=" .source }}
{{- end -}}
{{- end -}}

{{/* Whether a value gives rolegate's own calls to AWS an identity, as far as the chart can know: "true" or empty. */}}
{{- define "rolegate.hasRole" -}}
{{- $variables := list "AWS_ROLE_ARN" "AWS_ACCESS_KEY_ID" "AWS_PROFILE" "AWS_CONTAINER_CREDENTIALS_FULL_URI" -}}
{{- $isSet := or .Values.aws.roleArn (include "rolegate.annotatedRole" .) -}}
{{- range .Values.extraEnv -}}
{{- $isSet = or $isSet (has .name $variables) -}}
{{- end -}}
{{- if $isSet -}}true{{- end -}}
{{- end -}}

{{/* What `helm install` and `helm upgrade` print. */}}
{{- define "rolegate.notes" -}}
{{- $name := include "rolegate.fullname" . -}}
{{- $namespace := include "rolegate.namespace" . -}}
{{- $sources := include "rolegate.roleSources" . | fromJsonArray -}}
{{ if .Values.jobNamespaces -}}
rolegate {{ .Chart.AppVersion }} is installed as {{ $name }} in namespace {{ $namespace }}. It serves the pods of the
namespaces in jobNamespaces (step 3)
and of those that you label, and no others.
{{- else -}}
rolegate {{ .Chart.AppVersion }} is installed as {{ $name }} in namespace {{ $namespace }}. It does not change or
refuse any pod until you gate a
namespace.
{{- end }}
{{- if include "rolegate.imageIsPlaceholder" . }}

WARNING: the image is a placeholder from the documentation, which no node can pull:

     {{ include "rolegate.image" . }}

Build the image, push it to a registry that your nodes can pull from (docs/image.md), and set `image.repository` to its name there.
{{- end }}

1. Wait until it is ready:

     kubectl --namespace {{ $namespace }} rollout status deployment/{{ $name }}
{{- if .Values.test.enabled }}
     helm test {{ .Release.Name }} --namespace {{ .Release.Namespace }}
{{- end }}
{{- $associations := include "rolegate.associationSources" . | fromJsonArray }}

2. {{ if eq (len $sources) 1 -}}
Trust policies come from {{ include "rolegate.describedSource" (dict "root" $ "source" (first $sources)) }}.
{{- else -}}
Trust policies come from these sources, in this order:
{{ range $sources }}
   - {{ include "rolegate.describedSource" (dict "root" $ "source" .) }}
{{- end }}
{{- end }}
{{- with .Values.roleFiles.configMap }}

   The ConfigMap must exist. To create it:

     aws iam get-role --role-name NAME > NAME.json
     kubectl --namespace {{ $namespace }} create configmap {{ . }} --from-file=NAME.json
{{- end }}
{{- with $associations }}

   EKS Pod Identity is evaluated, too. Its associations come from: {{ join ", " . }}.
{{- end }}
{{- if or (has "iam" $sources) (has "eks" $associations) }}

   rolegate's own role requires{{ if has "iam" $sources }} iam:GetRole, iam:ListRoles and, optionally, iam:GetOpenIDConnectProvider{{ end }}
   {{- if has "eks" $associations }}{{ if has "iam" $sources }}, and for associations{{ end }} eks:ListPodIdentityAssociations and
   eks:DescribePodIdentityAssociation{{ end }}.
{{- if not (include "rolegate.hasRole" .) }}
{{- $unknown := ternary "pods are refused in mode enforce" "pods are injected with a warning" (eq .Values.onUnknown "deny") }}
{{- if .Values.serviceAccount.create }}

   No role is set for rolegate itself. Set
   `serviceAccount.annotations` (EKS) or `aws.roleArn` (any cluster), or create an EKS Pod Identity association. Until then,
{{- else }}

   The chart does not create ServiceAccount {{ include "rolegate.serviceAccountName" . }}: unless it has
   a role already, annotate it (EKS), set `aws.roleArn` (any cluster), or create an EKS Pod Identity association. Without a role,
{{- end }}
{{- if not (has "iam" $sources) }} associations cannot be read, and their pods are not evaluated.
{{- else if eq (len $sources) 1 }} trust policies are unknown: {{ $unknown }}.
{{- else }} trust policies that only IAM has are unknown: {{ $unknown }}.
{{- end }}
{{- end }}
{{- end }}

3. Gate a namespace. Start with audit, continue with warn, and finally use enforce (to change a label, add --overwrite):

     kubectl label namespace NAMESPACE rolegate.io/gate=audit
{{- if .Values.jobNamespaces }}

   Gated by name, without this label, in mode {{ .Values.jobNamespacesMode }}: {{ join ", " .Values.jobNamespaces }}.
{{- end }}

Do not gate namespaces of components that nodes or this webhook need to start: the CNI, Karpenter or another autoscaler, cert-manager,
CoreDNS, and controllers that rolegate's own pods depend on. {{ list "kube-system" $namespace | uniq | join " and " }} {{ ternary "is" "are" (eq $namespace "kube-system") }} always excluded.

While no replica responds, failurePolicy decides what happens to pods of gated namespaces:
{{ $fail := include "rolegate.modesWith" (dict "root" $ "policy" "Fail") }}
{{- $ignore := include "rolegate.modesWith" (dict "root" $ "policy" "Ignore") }}
{{- with $fail }}
- Fail ({{ . }}): they are refused.
{{- end }}
{{- with $ignore }}
- Ignore ({{ . }}): they are admitted without evaluation{{ if $.Values.inject }} and injection{{ end }}.
{{- end }}
{{- if and .Values.inject $ignore }}

WARNING: unless another webhook injects pods, as on EKS, such a pod keeps running without an identity: its AWS calls
fail, or use the role of the
node. If that must not happen in {{ $ignore }}, set `failurePolicy` there to Fail.
{{- end }}

To remove the gate:

     kubectl delete mutatingwebhookconfigurations,validatingwebhookconfigurations {{ $name }}

`helm upgrade` restores it. To remove what the chart installed (the namespace and the labels of your namespaces remain):

     helm uninstall {{ .Release.Name }} --namespace {{ .Release.Namespace }}
{{- if and (eq (int .Values.replicaCount) 1) $fail }}

There is only one replica. While it is rescheduled, pods of gated namespaces in {{ $fail }} are refused.
{{- end }}
{{- if include "rolegate.requiresAllReplicas" . }}

WARNING: {{ .Values.podDisruptionBudget.minAvailable }} of {{ int .Values.replicaCount }} {{ ternary "replica" "replicas" (eq (int .Values.replicaCount) 1) }}, rounded up, are all of them: node drains wait forever unless more replicas run. Set
`podDisruptionBudget.maxUnavailable` instead of `minAvailable`, or a higher `replicaCount`.
{{- end }}
{{- if not .Values.inject }}

rolegate only evaluates pods (inject: false). EKS's own webhook injects their identity.
{{- end }}
{{- if eq .Values.certificates.mode "cert-manager" }}

cert-manager issues the certificate, and its cainjector writes caBundle. Pods wait until Secret
{{ include "rolegate.secretName" . }} has data.
{{- else if eq .Values.certificates.mode "secret" }}

Secret {{ .Values.certificates.secretName }} in namespace {{ $namespace }} must contain tls.crt, tls.key and ca.crt, for these names:
{{ include "rolegate.dnsNames" . | fromJsonArray | join ", " }}
{{- end }}
{{- end -}}
