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
drain: "drainSeconds"
events: "events"
identity-config-map: "identityConfigMap"
issuer: "issuer"
listen: "listenAddress and ports.https"
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
