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
      values: {{ list "kube-system" (include "rolegate.namespace" .root) | uniq | toJson }}
{{- end -}}

{{- define "rolegate.clientConfig" -}}
clientConfig:
  service:
    name: {{ include "rolegate.fullname" .root }}
    namespace: {{ include "rolegate.namespace" .root }}
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
{{- $own := include "rolegate.namespace" . -}}
{{- range .Values.jobNamespaces -}}
{{- if has . (list "kube-system" $own) -}}
{{- fail (printf "jobNamespaces: %s cannot be gated: kube-system and the namespace of the release (%s) contain what rolegate needs to start; remove it from the list" . $own) -}}
{{- end -}}
{{- end -}}
{{- list (dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" .Values.jobNamespaces) (dict "key" "rolegate.io/gate" "operator" "DoesNotExist") | toJson -}}
{{- end -}}

{{/*
The modes with a failure policy, as words: `mode enforce`, `modes warn and audit`, or empty. Parameters: `root` and `policy`.
*/}}
{{- define "rolegate.modesWith" -}}
{{- $modes := list -}}
{{- range list "enforce" "warn" "audit" -}}
{{- if eq (get $.root.Values.failurePolicy .) $.policy -}}{{- $modes = append $modes . -}}{{- end -}}
{{- end -}}
{{- if eq (len $modes) 3 -}}modes enforce, warn and audit{{- else if eq (len $modes) 2 -}}modes {{ join " and " $modes }}{{- else if $modes -}}mode {{ first $modes }}{{- end -}}
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
The resources of each group of `workloadWarnings.groups` that people apply, as a JSON object of rules: versions and resources. Objects that
controllers create from them (ReplicaSets, EphemeralRunners, Revisions, Kueue's Workloads) and resources without a namespace are left out.
A rule whose resource is not installed matches no request. tests/chart compares the list with the table of the program.
*/}}
{{- define "rolegate.workloadGroups" -}}
apps: [{versions: [v1], resources: [daemonsets, deployments, statefulsets]}]
batch: [{versions: [v1], resources: [cronjobs, jobs]}]
actions.github.com: [{versions: [v1alpha1], resources: [autoscalingrunnersets]}]
actions.summerwind.dev: [{versions: [v1alpha1], resources: [runnerdeployments, runners, runnersets]}]
apps.kruise.io: [{versions: [v1beta1, v1alpha1], resources: [advancedcronjobs, broadcastjobs, clonesets, daemonsets, statefulsets, uniteddeployments]}]
argoproj.io: [{versions: [v1alpha1], resources: [analysisruns, analysistemplates, cronworkflows, eventsources, experiments, rollouts, sensors, workflows, workflowtemplates]}]
batch.volcano.sh: [{versions: [v1alpha1], resources: [cronjobs, jobs]}]
disaggregatedset.x-k8s.io: [{versions: [v1], resources: [disaggregatedsets]}]
flink.apache.org: [{versions: [v1beta1], resources: [flinkbluegreendeployments, flinkdeployments]}]
flow.volcano.sh: [{versions: [v1alpha1], resources: [jobflows, jobtemplates]}]
jobset.x-k8s.io: [{versions: [v1alpha2], resources: [jobsets]}]
kafka.strimzi.io: [{versions: [v1, v1beta2], resources: [kafkabridges, kafkaconnects, kafkamirrormaker2s, kafkas]}]
keda.sh: [{versions: [v1alpha1], resources: [scaledjobs]}]
kubeflow.org: [{versions: [v1], resources: [jaxjobs, mpijobs, paddlejobs, pytorchjobs, tfjobs, xgboostjobs]}, {versions: [v2beta1], resources: [mpijobs]}]
kubernetes.dask.org: [{versions: [v1], resources: [daskclusters, daskjobs]}]
leaderworkerset.x-k8s.io: [{versions: [v1], resources: [leaderworkersets]}]
ray.io: [{versions: [v1], resources: [rayclusters, raycronjobs, rayjobs, rayservices]}, {versions: [v1alpha1], resources: [rayclusters, rayjobs, rayservices]}]
serving.knative.dev: [{versions: [v1], resources: [configurations, services]}]
sinks.knative.dev: [{versions: [v1alpha1], resources: [integrationsinks, jobsinks]}]
sources.knative.dev: [{versions: [v1], resources: [apiserversources, containersources]}, {versions: [v1alpha1], resources: [integrationsources]}]
spark.apache.org: [{versions: [v1, v1beta1], resources: [sparkapplications, sparkclusters]}]
sparkoperator.k8s.io: [{versions: [v1alpha1], resources: [sparkconnects]}, {versions: [v1beta2], resources: [scheduledsparkapplications, sparkapplications]}]
tekton.dev: [{versions: [v1], resources: [pipelineruns, taskruns]}, {versions: [v1beta1], resources: [customruns, pipelineruns, taskruns]}]
trainer.kubeflow.org: [{versions: [v1alpha1], resources: [optimizationjobs, trainingruntimes, trainjobs]}]
triggers.tekton.dev: [{versions: [v1beta1, v1alpha1], resources: [eventlisteners, triggertemplates]}]
{{- end -}}

{{/*
Warnings for workloads, which create pods later, and for ServiceAccounts. The conditions exclude requests that no person waits for: those of
the controllers in kube-system, which update these objects all the time, and updates that do not change the pods. Resources of job
systems have their pods in many places, so that every change of their spec counts. The conditions allow for absent fields, because the API
server skips the call if a condition fails.
Parameters: `root`, `name` and `expressions`.
*/}}
{{- define "rolegate.workloads" -}}
- name: {{ .name }}.rolegate.io
  {{- include "rolegate.clientConfig" (dict "root" .root "path" "/validate/workloads") | nindent 2 }}
  rules:
    {{- $known := include "rolegate.workloadGroups" . | fromYaml }}
    {{- range $group := .root.Values.workloadWarnings.groups }}
    {{- range get $known $group }}
    - apiGroups: [{{ $group }}]
      apiVersions: {{ .versions | toJson }}
      operations: [CREATE, UPDATE]
      resources: {{ .resources | toJson }}
      scope: Namespaced
    {{- end }}
    {{- end }}
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
        : !(request.kind.group in ["apps", "batch"])
        ? object.?spec.orValue({}) != oldObject.?spec.orValue({})
        : request.kind.kind == "CronJob"
        ? object.?spec.?jobTemplate.?spec.?template.orValue({}) != oldObject.?spec.?jobTemplate.?spec.?template.orValue({})
        : object.?spec.?template.orValue({}) != oldObject.?spec.?template.orValue({}))
  failurePolicy: Ignore
  sideEffects: None
  {{- include "rolegate.common" .root | nindent 2 }}
{{- end -}}
