{{/* What the schema cannot say. Each message names the value, and what to do. */}}
{{- define "sluice.validate" -}}
{{- include "sluice.validateModels" . -}}
{{- include "sluice.validateTrainer" . -}}
{{- $values := .Values -}}
{{- if and $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled -}}
  {{- fail "monitoring.podMonitor and monitoring.serviceMonitor are both enabled, and every sample would be taken twice: enable one" -}}
{{- end -}}
{{- if and $values.policyFile.content $values.policyFile.existingConfigMap -}}
  {{- fail "policyFile.content and policyFile.existingConfigMap are both set: keep one" -}}
{{- end -}}
{{- $topics := dict -}}
{{- range $name, $pool := include "sluice.pools" . | fromJson -}}
  {{- include "sluice.validatePool" (dict "root" $ "name" $name "pool" $pool) -}}
  {{- $kafka := $pool.settings.kafka -}}
  {{- $other := get $topics $kafka.group_id -}}
  {{- if and $other (ne $other $kafka.uploads_topic) -}}
    {{- fail (printf "pools.%s: its settings.kafka.group_id %q is that of another pool, which reads %q and not %q: give each topic a group of its own" $name $kafka.group_id $other $kafka.uploads_topic) -}}
  {{- end -}}
  {{- $_ := set $topics $kafka.group_id $kafka.uploads_topic -}}
{{- end -}}
{{- end -}}

{{- define "sluice.validatePool" -}}
{{- $values := .root.Values -}}
{{- $kafka := .pool.settings.kafka -}}
{{- if has .name (list "kafka" "metrics" "redis") -}}
  {{- fail (printf "pools.%s: resources of that name have another use: choose another name" .name) -}}
{{- end -}}
{{- if and (eq .pool.image.tag "latest") (not .pool.image.digest) -}}
  {{- fail (printf "pool %s: image.tag is latest, and nobody could tell which image that was, or go back to it: name a version or a digest" .name) -}}
{{- end -}}
{{- range .pool.extraEnv -}}
  {{- if hasPrefix "SLUICE_" .name -}}
    {{- fail (printf "pool %s: extraEnv names %s: set it below settings or secrets, where it is checked" $.name .name) -}}
  {{- end -}}
{{- end -}}
{{- if regexMatch "(^|,)\\s*(localhost|127\\.)" $kafka.bootstrap_servers -}}
  {{- fail (printf "settings.kafka.bootstrap_servers is %q, and a pod finds no broker there: set it to host:port of your brokers, or tryout.enabled=true for a small one" $kafka.bootstrap_servers) -}}
{{- end -}}
{{- if hasPrefix "SASL" $kafka.security_protocol -}}
  {{- if not $values.secrets.kafka.sasl_password.existingSecret -}}
    {{- fail (printf "settings.kafka.security_protocol is %s, and secrets.kafka.sasl_password names no Secret: set secrets.kafka.sasl_password.existingSecret and .key" $kafka.security_protocol) -}}
  {{- end -}}
  {{- if not (or $kafka.sasl_username $values.secrets.kafka.sasl_username.existingSecret) -}}
    {{- fail (printf "settings.kafka.security_protocol is %s without a user: set settings.kafka.sasl_username or secrets.kafka.sasl_username.existingSecret" $kafka.security_protocol) -}}
  {{- end -}}
{{- end -}}
{{- if and $values.kafkaTls.existingSecret (not (hasSuffix "SSL" $kafka.security_protocol)) -}}
  {{- fail (printf "kafkaTls.existingSecret is set, and settings.kafka.security_protocol is %s: set it to SSL or SASL_SSL" $kafka.security_protocol) -}}
{{- end -}}
{{- if and .pool.gpu.enabled (not (has .pool.settings.inference.provider (list "cuda" "tensorrt"))) -}}
  {{- fail (printf "pool %s asks for a GPU, and its settings.inference.provider is %s: leave it at auto, or set cuda or tensorrt" .name .pool.settings.inference.provider) -}}
{{- end -}}
{{- if and (not .pool.gpu.enabled) (has .pool.settings.inference.provider (list "cuda" "tensorrt")) -}}
  {{- fail (printf "pool %s has settings.inference.provider %s and no GPU: set gpu.enabled=true" .name .pool.settings.inference.provider) -}}
{{- end -}}
{{- if and $values.models.everySeconds (eq (float64 .pool.settings.inference.watch_s) 0.0) -}}
  {{- fail (printf "pool %s: models.everySeconds is %d, and workers that never look (settings.inference.watch_s 0) would not change: set one of the two" .name (int $values.models.everySeconds)) -}}
{{- end -}}
{{- include "sluice.validateScaling" . -}}
{{- end -}}

{{- define "sluice.validateScaling" -}}
{{- $scaling := .pool.autoscaling -}}
{{- if ne $scaling.type "none" -}}
  {{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
    {{- fail (printf "pool %s: autoscaling.minReplicas %d is above autoscaling.maxReplicas %d" .name (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
  {{- end -}}
  {{- if and (eq $scaling.type "hpa") (eq (int $scaling.minReplicas) 0) -}}
    {{- fail (printf "pool %s: autoscaling.minReplicas is 0, and only autoscaling.type=keda can start from nothing" .name) -}}
  {{- end -}}
  {{- $longest := ceil .pool.settings.worker.upload_timeout_s | int -}}
  {{- if and $scaling.scaleDownSeconds (lt (int $scaling.scaleDownSeconds) $longest) -}}
    {{- fail (printf "pool %s: autoscaling.scaleDownSeconds %d is below settings.worker.upload_timeout_s %d: workers would be taken away in the middle of an upload" .name (int $scaling.scaleDownSeconds) $longest) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.validateModels" -}}
{{- with .Values.models -}}
{{- $newest := regexMatch "#newest( |$)" (join " " .pull) -}}
{{- range .pull -}}
  {{- if and (hasPrefix "file://" .) (not (and $.Values.models.existingClaim (hasPrefix "file:///source/" .))) -}}
    {{- fail (printf "models.pull names %s, and files lie on a claim: set models.existingClaim, and write file:///source/NAME/VERSION" .) -}}
  {{- end -}}
{{- end -}}
{{- if and .existingClaim (not (contains "file:///source/" (join " " .pull))) -}}
  {{- fail "models.existingClaim is set, and models.pull names nothing on it: add file:///source/NAME/VERSION" -}}
{{- end -}}
{{- if and .everySeconds (not $newest) -}}
  {{- fail (printf "models.everySeconds is %d, and models.pull names no newest version that could change: write s3://BUCKET/NAME#newest, or set it to 0" (int .everySeconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.validateTrainer" -}}
{{- with .Values.trainer -}}
{{- if .enabled -}}
  {{- if not .config -}}
    {{- fail "trainer.enabled, and trainer.config is empty: --set-file trainer.config=trainer/configs/filter.yaml" -}}
  {{- end -}}
  {{- if not (and .dataClaim .workClaim) -}}
    {{- fail "trainer.enabled needs trainer.dataClaim (labelled videos) and trainer.workClaim (clips, checkpoints, artifacts): name two claims" -}}
  {{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
