{{/* The variables of a pool: SLUICE_<GROUP>__<NAME>: "value". Secrets are not among them. */}}
{{- define "sluice.poolConfig" -}}
{{- include "sluice.variables" (dict "settings" .pool.settings "secrets" .root.Values.secrets) | trim -}}
{{- end -}}

{{/* Files that workers read: the policies, the digests of the models. Nothing where there are none. */}}
{{- define "sluice.fileData" -}}
{{- if and .Values.policyFile.content (not .Values.policyFile.existingConfigMap) }}
{{ .Values.policyFile.key }}: {{ .Values.policyFile.content | toJson }}
{{- end }}
{{- if .Values.models.existingClaim }}
SHA256SUMS: |
  {{- range $file, $sha256 := .Values.models.files }}
  {{ $sha256 }}  {{ $file }}
  {{- end }}
{{- end }}
{{- end -}}
