{{/* What Pod Security `restricted` asks of a pod. Takes the root. */}}
{{- define "sluice.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.securityContext.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.securityContext.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.securityContext.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* And of a container. */}}
{{- define "sluice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Requests and limits, with the GPUs. Takes something with `resources` and `gpu`. */}}
{{- define "sluice.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpu.enabled -}}
  {{- $_ := set $resources "limits" (merge (dict .gpu.resource (.gpu.count | int)) $resources.limits) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "sluice.tolerations" -}}
{{- $all := .tolerations -}}
{{- if .gpu.enabled -}}
  {{- $all = concat $all .gpu.tolerations -}}
{{- end -}}
{{- if $all -}}
tolerations:
  {{- toYaml $all | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Where a pod may run. Takes a pool or the trainer. */}}
{{- define "sluice.placement" -}}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "sluice.tolerations" . }}
{{ . }}
{{- end }}
{{- end -}}

{{/*
What every pod of the chart begins with. Service links are off: a Service called sluice-kafka would put
SLUICE_KAFKA_PORT into the environment, and the worker takes that for a misspelt setting.
*/}}
{{- define "sluice.podDefaults" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Volumes of workers and of the pod of `helm test`. Takes the root. */}}
{{- define "sluice.tlsVolume" -}}
{{- with .Values.kafkaTls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "sluice.tlsMount" -}}
{{- if .Values.kafkaTls.existingSecret }}
- name: tls
  mountPath: /etc/sluice/tls
  readOnly: true
{{- end }}
{{- end -}}
