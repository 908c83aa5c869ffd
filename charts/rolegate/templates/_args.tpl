{{/* The command line, one list item per flag. `settings` rejects every flag that is set here. */}}
{{- define "rolegate.args" -}}
{{- if eq (int .Values.ports.https) (int .Values.ports.http) -}}
{{- fail (printf "ports.https and ports.http are both %d: give each its own" (int .Values.ports.http)) -}}
{{- end -}}
{{- if le (include "rolegate.hours" .Values.certificates.caLifetime | int) (include "rolegate.hours" .Values.certificates.lifetime | int) -}}
{{- fail (printf "certificates.lifetime (%s) must be shorter than certificates.caLifetime (%s)" .Values.certificates.lifetime .Values.certificates.caLifetime) -}}
{{- end -}}
- serve
- --listen={{ .Values.listenAddress }}:{{ .Values.ports.https }}
- --admin-listen={{ .Values.listenAddress }}:{{ .Values.ports.http }}
- --drain={{ int .Values.drainSeconds }}s
{{- if eq .Values.certificates.mode "self-managed" }}
- --tls-secret={{ include "rolegate.namespace" . }}/{{ include "rolegate.secretName" . }}
- --tls-names={{ include "rolegate.dnsNames" . | fromJsonArray | join "," }}
- --ca-lifetime={{ .Values.certificates.caLifetime }}
- --certificate-lifetime={{ .Values.certificates.lifetime }}
{{- else }}
- --tls-cert=/etc/rolegate/tls/tls.crt
- --tls-key=/etc/rolegate/tls/tls.key
{{- end }}
{{- if eq .Values.certificates.mode "secret" }}
- --ca-bundle=/etc/rolegate/tls/ca.crt
{{- end }}
{{- /* Both, even if only one is created: running replicas must find an entry that moves from one to the other. */}}
{{- if include "rolegate.writesCaBundle" . }}
- --mutating-webhook-configuration={{ include "rolegate.fullname" . }}
- --validating-webhook-configuration={{ include "rolegate.fullname" . }}
{{- end }}
{{- range include "rolegate.roleSources" . | fromJsonArray }}
- {{ printf "--role-source=%s" . | quote }}
{{- end }}
{{- range include "rolegate.associationSources" . | fromJsonArray }}
- {{ printf "--association-source=%s" . | quote }}
{{- end }}
{{- with .Values.podIdentity.clusterName }}
- --cluster-name={{ . }}
{{- end }}
{{- with .Values.podIdentity.clusterArn }}
- --cluster-arn={{ . }}
{{- end }}
{{- with .Values.issuer }}
- {{ printf "--issuer=%s" . | quote }}
{{- end }}
- --on-unknown={{ .Values.onUnknown }}
- --require-role={{ include "rolegate.requireRole" . }}
{{- with .Values.identityConfigMap }}
- --identity-config-map={{ . }}
{{- end }}
- --events={{ .Values.events }}
{{- range $flag, $value := .Values.settings }}
{{- $instead := get (include "rolegate.reserved" $ | fromYaml) $flag }}
{{- if $instead }}
{{- fail (printf "settings.%s: this flag is set by the chart; use %s" $flag $instead) }}
{{- end }}
{{- with get (include "rolegate.flagsOfTheEksWebhook" $ | fromYaml) $flag }}
{{- fail (printf "settings.%s: this is a flag of amazon-eks-pod-identity-webhook; %s" $flag .) }}
{{- end }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%s" $flag (include "rolegate.scalar" .) | quote }}
{{- end }}
{{- else if not (kindIs "invalid" $value) }}
- {{ printf "--%s=%s" $flag (include "rolegate.scalar" $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A value as it is written in values.yaml. Helm reads whole numbers as floats, which print as 1e+06. */}}
{{- define "rolegate.scalar" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}{{- int64 . -}}{{- else -}}{{- toString . -}}{{- end -}}
{{- end -}}

{{/* The flags that the chart sets, each with the value to use instead. */}}
{{- define "rolegate.reserved" -}}
admin-listen: "listenAddress and ports.http"
association-source: "podIdentity.sources"
ca-bundle: "certificates.mode and certificates.secretName"
ca-lifetime: "certificates.caLifetime"
certificate-lifetime: "certificates.lifetime"
cluster-arn: "podIdentity.clusterArn"
cluster-name: "podIdentity.clusterName"
context: "no value: rolegate uses the ServiceAccount of its pod"
drain: "drainSeconds"
events: "events"
identity-config-map: "identityConfigMap"
issuer: "issuer"
listen: "listenAddress and ports.https"
mode: "jobNamespacesMode, or the label rolegate.io/gate of each namespace"
mutating-webhook-configuration: "no value: it is the release's own"
on-unknown: "onUnknown"
require-role: "requireRole"
role-source: "roleSources and roleFiles.configMap"
standalone: "no value: a standalone webhook serves no cluster"
tls-cert: "certificates.mode and certificates.secretName"
tls-key: "certificates.mode and certificates.secretName"
tls-names: "no value: the names are those of the Service"
tls-secret: "certificates.secretName"
validating-webhook-configuration: "no value: it is the release's own"
{{- end -}}

{{/*
The flags of amazon-eks-pod-identity-webhook 0.6 that rolegate does not have under this name, and those of its log library, each with what to do
instead. Flags of the same name mean the same.
*/}}
{{- define "rolegate.flagsOfTheEksWebhook" -}}
aws-default-region: "use settings.aws-region"
enable-debugging-handlers: "remove it: rolegate has no debugging handlers; `rolegate inject` shows what happens to a pod"
in-cluster: "remove it: the chart always runs rolegate in the cluster"
kube-api: "remove it: rolegate uses the API server of the cluster that it runs in"
kubeconfig: "remove it: rolegate uses the ServiceAccount of its pod"
metrics-port: "use ports.http"
namespace: "remove it: rolegate uses the namespace of the release; see namespaceOverride"
port: "use ports.https"
resync-period: "remove it: rolegate watches ServiceAccounts and needs no resync"
service-account-lookup-grace-period: "remove it: rolegate reads a ServiceAccount that it does not know yet from the API server"
service-name: "remove it: rolegate uses the Service of the release; see fullnameOverride"
sts-regional-endpoint: "use settings.sts-regional-endpoints"
tls-cipher-suites: "remove it: rolegate accepts only TLS 1.2 and TLS 1.3 with cipher suites that provide forward secrecy"
tls-min-version: "remove it: rolegate accepts only TLS 1.2 and TLS 1.3"
version: "remove it: set image.tag or image.digest to choose a version"
watch-config-map: "use identityConfigMap, such as kube-system/pod-identity-webhook"
watch-container-credentials-config: "use settings.container-credentials-config"
add_dir_header: "use settings.log-level and settings.log-format"
alsologtostderr: "use settings.log-level and settings.log-format"
log_backtrace_at: "use settings.log-level and settings.log-format"
log_dir: "use settings.log-level and settings.log-format"
log_file: "use settings.log-level and settings.log-format"
log_file_max_size: "use settings.log-level and settings.log-format"
logtostderr: "use settings.log-level and settings.log-format"
one_output: "use settings.log-level and settings.log-format"
skip_headers: "use settings.log-level and settings.log-format"
skip_log_headers: "use settings.log-level and settings.log-format"
stderrthreshold: "use settings.log-level and settings.log-format"
v: "use settings.log-level, for example debug"
vmodule: "use settings.log-level, for example info,rolegate::roles=debug"
{{- end -}}

{{/* A lifetime in full hours. */}}
{{- define "rolegate.hours" -}}
{{- regexFind "^[0-9]+" . -}}
{{- end -}}

{{/* The DNS names of the Service, as a JSON list. */}}
{{- define "rolegate.dnsNames" -}}
{{- $name := include "rolegate.fullname" . -}}
{{- $namespace := include "rolegate.namespace" . -}}
{{- list (printf "%s.%s.svc" $name $namespace) (printf "%s.%s" $name $namespace) (printf "%s.%s.svc.cluster.local" $name $namespace) | toJson -}}
{{- end -}}
