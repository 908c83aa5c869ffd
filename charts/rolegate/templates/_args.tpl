{{/* The command line, one list item per flag. `settings` rejects every flag that is set here. */}}
{{- define "rolegate.args" -}}
{{- if eq (int .Values.ports.https) (int .Values.ports.http) -}}
{{- fail (printf "ports.https and ports.http are both %d: give each its own" (int .Values.ports.http)) -}}
{{- end -}}
{{- include "rolegate.checkValues" . -}}
{{- include "rolegate.checkSettings" (default dict .Values.settings) -}}
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
{{- fail (printf "settings.%s: this flag is set by the chart; %s" $flag $instead) }}
{{- end }}
{{- with get (include "rolegate.flagsOfTheEksWebhook" $ | fromYaml) $flag }}
{{- fail (printf "settings.%s: this is a flag of amazon-eks-pod-identity-webhook; %s" $flag .) }}
{{- end }}
{{- /* `off` without quotes is a boolean in YAML. */}}
{{- if and (eq $flag "log-level") (kindIs "bool" $value) }}
{{- $value = "off" }}
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

{{/* Rejects what the program would reject at startup and the schema cannot express. The parameter is `settings`. */}}
{{- define "rolegate.checkSettings" -}}
{{- range $flag, $bounds := include "rolegate.durations" . | fromYaml -}}
{{- $value := include "rolegate.durationSetting" (dict "settings" $ "flag" $flag) -}}
{{- $milliseconds := include "rolegate.milliseconds" $value | int64 -}}
{{- $least := include "rolegate.milliseconds" $bounds.least | int64 -}}
{{- $most := include "rolegate.milliseconds" $bounds.most | int64 -}}
{{- /* A number of 13 digits would be too large to compute with. */ -}}
{{- if or (regexMatch "[1-9][0-9]{12}" $value) (lt $milliseconds $least) (gt $milliseconds $most) -}}
{{- fail (printf "settings.%s: expected a duration from %s to %s, not %s" $flag $bounds.least $bounds.most $value) -}}
{{- end -}}
{{- if and $bounds.wholeSeconds (mod $milliseconds 1000) -}}
{{- fail (printf "settings.%s: expected whole seconds, not %s" $flag $value) -}}
{{- end -}}
{{- end -}}
{{- $ttl := include "rolegate.durationSetting" (dict "settings" . "flag" "trust-ttl") -}}
{{- $maxStale := include "rolegate.durationSetting" (dict "settings" . "flag" "trust-max-stale") -}}
{{- if lt (include "rolegate.milliseconds" $maxStale | int64) (include "rolegate.milliseconds" $ttl | int64) -}}
{{- fail (printf "settings.trust-max-stale (%s) must be at least settings.trust-ttl (%s)" $maxStale $ttl) -}}
{{- end -}}
{{- if and (eq (toString (get . "audit-log-rotate")) "hourly") (has (get . "audit-log" | default "" | toString) (list "" "-" "/dev/stdout")) -}}
{{- fail "settings.audit-log-rotate: hourly requires a file in settings.audit-log" -}}
{{- end -}}
{{- $assumed := get . "assume-role" | default list -}}
{{- if not (kindIs "slice" $assumed) -}}{{- $assumed = list $assumed -}}{{- end -}}
{{- $accounts := list -}}
{{- range splitList "," (join "," $assumed) -}}
{{- if . -}}
{{- $account := splitList "=" . | first -}}
{{- $owner := index (splitList ":" .) 4 -}}
{{- if ne $account $owner -}}
{{- fail (printf "settings.assume-role: %s: the role belongs to account %s; only a role of %s can read the roles of %s" . $owner $account $account) -}}
{{- end -}}
{{- if has $account $accounts -}}
{{- fail (printf "settings.assume-role: account %s is named twice; remove one of the two" $account) -}}
{{- end -}}
{{- $accounts = append $accounts $account -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The durations in `settings`: default and bounds. tests/chart compares them with those of the program. */}}
{{- define "rolegate.durations" -}}
token-expiration: {default: 24h, least: 10m, most: 24h, wholeSeconds: true}
trust-max-stale: {default: 1h, least: 1s, most: 168h}
trust-read-timeout: {default: 700ms, least: 1ms, most: 30s}
trust-ttl: {default: 60s, least: 1s, most: 24h}
{{- end -}}

{{/* A duration in `settings`, or its default. Parameters: `settings` and `flag`. */}}
{{- define "rolegate.durationSetting" -}}
{{- $value := get .settings .flag -}}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") -}}
{{- get (include "rolegate.durations" . | fromYaml) .flag | dig "default" "" -}}
{{- else -}}
{{- include "rolegate.scalar" $value -}}
{{- end -}}
{{- end -}}

{{/* A duration as the program reads it, such as 1h30m or 30 (seconds), in milliseconds. */}}
{{- define "rolegate.milliseconds" -}}
{{- $factors := dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1 "" 1000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|h|m|s)?" . -1 -}}
{{- /* Without zeros in front, which would make it an octal number. */ -}}
{{- $number := regexReplaceAll "^0+" (regexFind "^[0-9]+" .) "" | default "0" | int64 -}}
{{- $sum = add $sum (mul $number (get $factors (regexFind "[a-z]*$" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* The flags that the chart sets, each with what to do instead. */}}
{{- define "rolegate.reserved" -}}
admin-listen: "use listenAddress and ports.http"
association-source: "use podIdentity.sources"
ca-bundle: "use certificates.mode and certificates.secretName"
ca-lifetime: "use certificates.caLifetime"
certificate-lifetime: "use certificates.lifetime"
cluster-arn: "use podIdentity.clusterArn"
cluster-name: "use podIdentity.clusterName"
context: "remove it: rolegate uses the ServiceAccount of its pod"
drain: "use drainSeconds"
events: "use events"
identity-config-map: "use identityConfigMap"
issuer: "use issuer"
listen: "use listenAddress and ports.https"
mode: "use jobNamespacesMode, or the label rolegate.io/gate of each namespace"
mutating-webhook-configuration: "remove it: rolegate uses that of the release"
on-unknown: "use onUnknown"
require-role: "use requireRole"
role-source: "use roleSources and roleFiles.configMap"
standalone: "remove it: the chart installs a webhook that serves its cluster; --standalone is for tests without a cluster"
tls-cert: "use certificates.mode and certificates.secretName"
tls-key: "use certificates.mode and certificates.secretName"
tls-names: "remove it: the names are those of the Service"
tls-secret: "use certificates.secretName"
validating-webhook-configuration: "remove it: rolegate uses that of the release"
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
