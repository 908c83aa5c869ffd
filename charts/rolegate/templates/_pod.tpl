{{- define "rolegate.env" -}}
{{- if or .Values.aws.roleArn .Values.aws.region -}}
{{- with .Values.aws.roleArn }}
- name: AWS_ROLE_ARN
  value: {{ . }}
- name: AWS_WEB_IDENTITY_TOKEN_FILE
  value: /var/run/secrets/eks.amazonaws.com/serviceaccount/token
{{- end }}
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ . }}
{{- end }}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{- define "rolegate.volumeMounts" -}}
{{- if or (ne .Values.certificates.mode "self-managed") .Values.roleFiles.configMap .Values.aws.roleArn -}}
{{- if ne .Values.certificates.mode "self-managed" }}
- name: tls
  mountPath: /etc/rolegate/tls
  readOnly: true
{{- end }}
{{- if .Values.roleFiles.configMap }}
- name: roles
  mountPath: /etc/rolegate/roles
  readOnly: true
{{- end }}
{{- if .Values.aws.roleArn }}
- name: aws-iam-token
  mountPath: /var/run/secrets/eks.amazonaws.com/serviceaccount
  readOnly: true
{{- end }}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{- define "rolegate.volumes" -}}
{{- if or (ne .Values.certificates.mode "self-managed") .Values.roleFiles.configMap .Values.aws.roleArn -}}
{{- if ne .Values.certificates.mode "self-managed" }}
# The keys are listed so that the pod waits for them instead of starting without them.
- name: tls
  secret:
    secretName: {{ include "rolegate.secretName" . }}
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
      {{- if eq .Values.certificates.mode "secret" }}
      - key: ca.crt
        path: ca.crt
      {{- end }}
{{- end }}
{{- with .Values.roleFiles.configMap }}
- name: roles
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.aws.roleArn }}
- name: aws-iam-token
  projected:
    sources:
      - serviceAccountToken:
          audience: {{ $.Values.aws.audience }}
          expirationSeconds: 86400
          path: token
{{- end }}
{{- else -}}
[]
{{- end -}}
{{- end -}}
