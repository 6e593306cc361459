{{/* How fast an autoscaler may act: up at once, down slowly and one by one. Takes a pool. */}}
{{- define "sluice.scalingBehaviour" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
    - {type: Pods, value: 2, periodSeconds: 15}
scaleDown:
  stabilizationWindowSeconds: {{ include "sluice.scaleDownSeconds" . }}
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}
