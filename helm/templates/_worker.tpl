{{- define "sluice.workerImage" -}}
{{- $kind := ternary "gpu" "cpu" .pool.gpu.enabled -}}
{{- include "sluice.image" (dict "image" .pool.image "tag" (printf "%s-%s" .root.Chart.AppVersion $kind)) -}}
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
