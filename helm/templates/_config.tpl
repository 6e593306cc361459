{{/*
Settings as variables of a container. Takes `settings` by group, and the release's `secrets`, which are left out.

They stand in the template of the pods and not in a ConfigMap: an upgrade changes a ConfigMap under the pods that
are there, and where it fails, those that restart would read what was meant for another image. A template belongs to
its ReplicaSet, so that old workers keep what they began with, and other contents make other pods.
*/}}
{{- define "sluice.settingsEnv" -}}
{{- range $group, $settings := .settings }}
{{- range $name, $value := $settings }}
{{- if not (include "sluice.isSecret" (dict "secrets" $.secrets "group" $group "name" $name)) }}
- name: SLUICE_{{ upper $group }}__{{ upper $name }}
  {{- /* Kubernetes takes $(NAME) for another variable, and $$ for a dollar sign. */}}
  value: {{ include "sluice.settingText" $value | replace "$" "$$" | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One setting as a variable's text: lists as in PATH, numbers without an exponent. */}}
{{- define "sluice.settingText" -}}
{{- if kindIs "slice" . -}}
{{ join ":" . }}
{{- else if kindIs "string" . -}}
{{ . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* "yes" where the setting comes from a Secret. */}}
{{- define "sluice.isSecret" -}}
{{- $reference := dig .group .name dict .secrets -}}
{{- if $reference.existingSecret }}yes{{ end -}}
{{- end -}}

{{/* The variables of secrets. Takes the root. */}}
{{- define "sluice.secretEnv" -}}
{{- range $group, $settings := .Values.secrets }}
{{- range $name, $from := $settings }}
{{- if $from.existingSecret }}
- name: SLUICE_{{ upper $group }}__{{ upper $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.existingSecret }}
      key: {{ $from.key }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.tryout.enabled }}
{{- if not .Values.secrets.cache.url.existingSecret }}
- name: SLUICE_CACHE__URL
  value: redis://{{ include "sluice.fullname" . }}-redis:6379/0
{{- end }}
{{- end }}
{{- end -}}

{{/* All that Sluice reads of its environment. Takes `root` and `settings`. */}}
{{- define "sluice.environment" -}}
{{- include "sluice.settingsEnv" (dict "settings" .settings "secrets" .root.Values.secrets) -}}
{{- include "sluice.secretEnv" .root -}}
{{- end -}}

{{/* The policy file, if there is one. Its text is an annotation of the pods: see sluice.settingsEnv. Takes the root. */}}
{{- define "sluice.policyVolume" -}}
{{- with .Values.policyFile -}}
{{- if .existingConfigMap }}
- name: policy
  configMap:
    name: {{ .existingConfigMap }}
    items:
      - {key: {{ .key }}, path: {{ .key }}}
{{- else if .content }}
- name: policy
  downwardAPI:
    items:
      - path: {{ .key }}
        fieldRef: {fieldPath: "metadata.annotations['sluice/policy']"}
{{- end }}
{{- end }}
{{- end -}}
