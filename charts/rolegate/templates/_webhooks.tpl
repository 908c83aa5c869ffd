{{/*
The namespaces of an entry. Every entry excludes kube-system and the namespace of the release: rolegate must not block what it needs to run.
Parameters: `root`, and `expressions`, the label expressions as a list.
*/}}
{{- define "rolegate.namespaceSelector" -}}
namespaceSelector:
  matchExpressions:
    {{- toYaml .expressions | nindent 4 }}
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ list "kube-system" .root.Release.Namespace | uniq | toJson }}
{{- end -}}

{{- define "rolegate.clientConfig" -}}
clientConfig:
  service:
    name: {{ include "rolegate.fullname" .root }}
    namespace: {{ .root.Release.Namespace }}
    path: {{ .path }}
    port: 443
{{- end -}}

{{/*
The ways in which a namespace is gated, as a JSON list of `{name, mode, failurePolicy, expressions}`: one per mode of the label, one for labels
with another value, which counts as enforce, and one for `jobNamespaces`. The last one excludes namespaces with the label, so that their pods
are not sent twice.
*/}}
{{- define "rolegate.gates" -}}
{{- $modes := list "enforce" "warn" "audit" -}}
{{- $label := "rolegate.io/gate" -}}
{{- $gates := list -}}
{{- range $modes -}}
{{- $gates = append $gates (dict "name" . "mode" . "failurePolicy" (get $.Values.failurePolicy .) "expressions" (list (dict "key" $label "operator" "In" "values" (list .)))) -}}
{{- end -}}
{{- $misspelled := list (dict "key" $label "operator" "Exists") (dict "key" $label "operator" "NotIn" "values" $modes) -}}
{{- $gates = append $gates (dict "name" "misspelt" "mode" "misspelt" "failurePolicy" .Values.failurePolicy.enforce "expressions" $misspelled) -}}
{{- if .Values.jobNamespaces -}}
{{- $policy := get .Values.failurePolicy .Values.jobNamespacesMode -}}
{{- $gates = append $gates (dict "name" "namespaces" "mode" .Values.jobNamespacesMode "failurePolicy" $policy "expressions" (include "rolegate.named" . | fromJsonArray)) -}}
{{- end -}}
{{- toJson $gates -}}
{{- end -}}

{{/* Selects the namespaces of `jobNamespaces` that do not have the label, as a JSON list of expressions. */}}
{{- define "rolegate.named" -}}
{{- range .Values.jobNamespaces -}}
{{- if has . (list "kube-system" $.Release.Namespace) -}}
{{- fail (printf "jobNamespaces: %s cannot be gated: kube-system and the namespace of the release (%s) contain what rolegate needs to start; remove it from the list" . $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- list (dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" .Values.jobNamespaces) (dict "key" "rolegate.io/gate" "operator" "DoesNotExist") | toJson -}}
{{- end -}}

{{/*
The modes with a failure policy, as words: `enforce`, `warn and audit`, or empty. Parameters: `root` and `policy`.
*/}}
{{- define "rolegate.modesWith" -}}
{{- $modes := list -}}
{{- range list "enforce" "warn" "audit" -}}
{{- if eq (get $.root.Values.failurePolicy .) $.policy -}}{{- $modes = append $modes . -}}{{- end -}}
{{- end -}}
{{- if eq (len $modes) 3 -}}enforce, warn and audit{{- else -}}{{- join " and " $modes -}}{{- end -}}
{{- end -}}

{{- define "rolegate.podRules" -}}
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE]
  resources: [pods]
  scope: Namespaced
{{- end -}}

{{- define "rolegate.common" -}}
matchPolicy: Equivalent
timeoutSeconds: {{ .Values.timeoutSeconds }}
admissionReviewVersions: [v1]
{{- end -}}

{{- define "rolegate.commonMutating" -}}
sideEffects: NoneOnDryRun
reinvocationPolicy: IfNeeded
{{ include "rolegate.common" . }}
{{- end -}}

{{/*
Warnings for workloads, which create pods later, and for ServiceAccounts. The conditions exclude requests that no person waits for: those of
the controllers in kube-system, which update these objects all the time, and updates that do not change the pods. The conditions allow for
absent fields, because the API server skips the call if a condition fails.
Parameters: `root`, `name` and `expressions`.
*/}}
{{- define "rolegate.workloads" -}}
- name: {{ .name }}.rolegate.io
  {{- include "rolegate.clientConfig" (dict "root" .root "path" "/validate/workloads") | nindent 2 }}
  rules:
    - apiGroups: [batch]
      apiVersions: [v1]
      operations: [CREATE, UPDATE]
      resources: [jobs, cronjobs]
      scope: Namespaced
    - apiGroups: [apps]
      apiVersions: [v1]
      operations: [CREATE, UPDATE]
      resources: [deployments, statefulsets, daemonsets]
      scope: Namespaced
    - apiGroups: [""]
      apiVersions: [v1]
      operations: [CREATE, UPDATE]
      resources: [serviceaccounts]
      scope: Namespaced
  {{- include "rolegate.namespaceSelector" (dict "root" .root "expressions" .expressions) | nindent 2 }}
  matchConditions:
    - name: not-by-a-controller
      expression: >-
        !request.?userInfo.?username.orValue("").startsWith("system:serviceaccount:kube-system:")
        && request.?userInfo.?username.orValue("") != "system:kube-controller-manager"
    - name: pods-change
      expression: >-
        request.operation != "UPDATE" || (
        request.kind.kind == "ServiceAccount"
        ? object.?metadata.?annotations.orValue({}) != oldObject.?metadata.?annotations.orValue({})
        : request.kind.kind == "CronJob"
        ? object.?spec.?jobTemplate.?spec.?template.orValue({}) != oldObject.?spec.?jobTemplate.?spec.?template.orValue({})
        : object.?spec.?template.orValue({}) != oldObject.?spec.?template.orValue({}))
  failurePolicy: Ignore
  sideEffects: None
  {{- include "rolegate.common" .root | nindent 2 }}
{{- end -}}
