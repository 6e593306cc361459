{{/* The variables of a pool: SLUICE_<GROUP>__<NAME>: "value". Secrets are not among them. */}}
{{- define "sluice.poolConfig" -}}
{{- include "sluice.variables" (dict "settings" .pool.settings "secrets" .root.Values.secrets) | trim -}}
{{- end -}}

{{/* Files that workers read: the policies. Nothing where there are none. */}}
{{- define "sluice.fileData" -}}
{{- if and .Values.policyFile.content (not .Values.policyFile.existingConfigMap) }}
{{ .Values.policyFile.key }}: {{ .Values.policyFile.content | toJson }}
{{- end }}
{{- end -}}
