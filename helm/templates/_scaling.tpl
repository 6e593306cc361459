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

{{/*
Replicas of a Deployment whose number is an autoscaler's: nothing, but where that would take workers away. The number
from before autoscaling belongs to whoever applied it, Helm as a rule; when it is then left out, the API server puts 1
in its place. So it is stated as it is, until an autoscaler has set another and owns it. Takes `live`, the Deployment
as the cluster has it, and `least`.
*/}}
{{- define "sluice.keptReplicas" -}}
{{- $applied := false -}}
{{- range dig "metadata" "managedFields" list .live -}}
  {{- /* Autoscalers and `kubectl scale` write through the subresource `scale`. */ -}}
  {{- if and (not .subresource) (hasKey (dig "fieldsV1" "f:spec" dict .) "f:replicas") -}}
    {{- $applied = true -}}
  {{- end -}}
{{- end -}}
{{- if $applied }}{{ max (int .live.spec.replicas) (int .least) }}{{ end -}}
{{- end -}}
