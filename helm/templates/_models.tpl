{{/*
Brings the models and checks them. Takes `root`, `pool`, and `every`: 0 for the init container. What it says is
what `kubectl logs -c models` and `-c models-watch` show.
*/}}
{{- define "sluice.modelsContainer" -}}
{{- $models := .root.Values.models -}}
- name: {{ ternary "models-watch" "models" (gt .every 0) }}
  image: {{ include "sluice.workerImage" . }}
  imagePullPolicy: {{ .pool.image.pullPolicy }}
  args:
    - models
    - pull
    {{- range $models.pull }}
    - {{ . | quote }}
    {{- end }}
    - --to=/models
    {{- range $models.variants }}
    - --variant={{ . }}
    {{- end }}
    {{- if .every }}
    - --every={{ .every }}
    {{- end }}
  securityContext:
    {{- include "sluice.containerSecurity" .root | nindent 4 }}
  env:
    {{- include "sluice.modelsEnv" . | trim | nindent 4 }}
  resources:
    {{- toYaml $models.resources | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
    {{- if $models.existingClaim }}
    - name: models-source
      mountPath: /source
      readOnly: true
      {{- with $models.subPath }}
      subPath: {{ . }}
      {{- end }}
    {{- end }}
{{- end -}}

{{/* Of the settings only fetch.*, with what models.fetch says above it; of the Secrets only the store's keys. */}}
{{- define "sluice.modelsEnv" -}}
{{- $models := .root.Values.models -}}
{{- $secrets := .root.Values.secrets.fetch -}}
{{- $fetch := include "sluice.modelsFetch" . | fromJson -}}
{{- include "sluice.settingsEnv" (dict "settings" (dict "fetch" $fetch) "secrets" dict) }}
{{- range $name := list "s3_access_key" "s3_secret_key" }}
{{- $from := get $secrets $name }}
{{- if $models.existingSecret }}
{{- $from = dict "existingSecret" $models.existingSecret "key" $name }}
{{- end }}
{{- if $from.existingSecret }}
- name: SLUICE_FETCH__{{ upper $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.existingSecret }}
      key: {{ $from.key }}
{{- end }}
{{- end }}
{{- with .pool.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.modelsFetch" -}}
{{- $models := .root.Values.models -}}
{{- $fetch := mustMergeOverwrite (deepCopy .pool.settings.fetch) (deepCopy $models.fetch) -}}
{{- if $models.existingClaim -}}
  {{- $_ := set $fetch "file_roots" (list "/source") -}}
{{- end -}}
{{- toJson $fetch -}}
{{- end -}}

{{- define "sluice.modelsVolumes" -}}
- name: models
  emptyDir:
    sizeLimit: {{ .Values.models.sizeLimit }}
{{- with .Values.models.existingClaim }}
- name: models-source
  persistentVolumeClaim:
    claimName: {{ . }}
    readOnly: true
{{- end }}
{{- end -}}
