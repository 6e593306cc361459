{{- define "sluice.workerImage" -}}
{{- $kind := ternary "gpu" "cpu" .pool.gpu.enabled -}}
{{- include "sluice.image" (dict "image" .pool.image "tag" (printf "%s-%s" .root.Chart.AppVersion $kind)) -}}
{{- end -}}

{{- define "sluice.workerEnv" -}}
{{- include "sluice.secretEnv" .root -}}
{{- with .pool.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The worker opens its port once the models are loaded: until then the startup probe holds the others back. */}}
{{- define "sluice.probes" -}}
{{- $probes := .probes -}}
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  failureThreshold: {{ div (add $probes.startupSeconds 1) 2 }}
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: {{ $probes.periodSeconds }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  failureThreshold: {{ $probes.livenessFailures }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: {{ $probes.periodSeconds }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  failureThreshold: {{ $probes.readinessFailures }}
{{- end -}}

{{/*
Copies the files named by `models.files` and checks the copies, so that nothing can change between the
check and the use. What it prints on failure is what `kubectl logs -c models` shows.
*/}}
{{- define "sluice.modelsContainer" -}}
- name: models
  image: {{ include "sluice.workerImage" . }}
  imagePullPolicy: {{ .pool.image.pullPolicy }}
  command: [/bin/sh, -euc]
  args:
    - |
      cut -c67- /etc/sluice/models/SHA256SUMS | while IFS= read -r file; do
        mkdir -p "/models/$(dirname "$file")"
        cp "/source/$file" "/models/$file" || { echo "models.files names $file, and the claim has no such file" >&2; exit 1; }
      done
      cd /models
      sha256sum --check --strict /etc/sluice/models/SHA256SUMS || { echo "a model is not what models.files says: put the right file on the claim, or the right digest into the values" >&2; exit 1; }
  securityContext:
    {{- include "sluice.containerSecurity" .root | nindent 4 }}
  resources:
    requests: {cpu: 50m, memory: 64Mi}
    limits: {memory: 256Mi}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: models-source
      mountPath: /source
      readOnly: true
      {{- with .root.Values.models.subPath }}
      subPath: {{ . }}
      {{- end }}
    - name: models-digests
      mountPath: /etc/sluice/models
      readOnly: true
{{- end -}}

{{- define "sluice.modelsVolumes" -}}
- name: models
  emptyDir:
    sizeLimit: 4Gi
- name: models-source
  persistentVolumeClaim:
    claimName: {{ .Values.models.existingClaim }}
    readOnly: true
- name: models-digests
  configMap:
    name: {{ include "sluice.fullname" . }}-files
    items:
      - key: SHA256SUMS
        path: SHA256SUMS
{{- end -}}
