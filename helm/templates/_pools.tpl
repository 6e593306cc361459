{{/*
The pools as a JSON object: name -> `worker` with what the pool says differently, and under `settings` the
release's settings with the pool's. Every template of a pool begins with it.
*/}}
{{- define "sluice.pools" -}}
{{- $pools := dict -}}
{{- range $name, $differs := (default (dict "worker" dict) .Values.pools) -}}
  {{- $pool := mustMergeOverwrite (deepCopy $.Values.worker) (deepCopy (default dict $differs)) -}}
  {{- $settings := mustMergeOverwrite (deepCopy $.Values.settings) (deepCopy $.Values.worker.settings) (deepCopy $pool.settings) -}}
  {{- $_ := set $pool "settings" $settings -}}
  {{- include "sluice.derivedSettings" (dict "root" $ "pool" $pool) -}}
  {{- $_ := set $pools $name $pool -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/* Settings that follow from other values. */}}
{{- define "sluice.derivedSettings" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $settings := .pool.settings -}}
{{- if $values.tryout.enabled -}}
  {{- $_ := set $settings.kafka "bootstrap_servers" (printf "%s-kafka:9092" (include "sluice.fullname" $root)) -}}
{{- end -}}
{{- if and .pool.gpu.enabled (eq $settings.inference.provider "auto") -}}
  {{- $_ := set $settings.inference "provider" "cuda" -}}
{{- end -}}
{{- /* Counts of uploads that killed a worker: this folder outlives the container, and ends with the pod. */ -}}
{{- if not $settings.worker.state_dir -}}
  {{- $_ := set $settings.worker "state_dir" "/tmp/state" -}}
{{- end -}}
{{- /* A session would start a thread for each core of the node. */ -}}
{{- $cpus := dig "requests" "cpu" "" .pool.resources -}}
{{- if and $cpus (eq (int $settings.inference.threads) 0) -}}
  {{- $_ := set $settings.inference "threads" (include "sluice.wholeCpus" $cpus | int) -}}
{{- end -}}
{{- if $values.models.pull -}}
  {{- $_ := set $settings.inference "models_dir" "/models" -}}
{{- end -}}
{{- if or $values.policyFile.content $values.policyFile.existingConfigMap -}}
  {{- $_ := set $settings.policy "file" (printf "/etc/sluice/policy/%s" $values.policyFile.key) -}}
{{- end -}}
{{- with $values.kafkaTls -}}
  {{- if .existingSecret -}}
    {{- if .caKey }}{{ $_ := set $settings.kafka "ssl_ca_file" (printf "/etc/sluice/tls/%s" .caKey) }}{{ end -}}
    {{- if .certKey }}{{ $_ := set $settings.kafka "ssl_cert_file" (printf "/etc/sluice/tls/%s" .certKey) }}{{ end -}}
    {{- if .keyKey }}{{ $_ := set $settings.kafka "ssl_key_file" (printf "/etc/sluice/tls/%s" .keyKey) }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Time that a pod gets to end, in seconds: draining, then closing. */}}
{{- define "sluice.gracePeriod" -}}
{{- add (ceil .settings.worker.drain_timeout_s | int) (int .terminationGraceExtraSeconds) -}}
{{- end -}}

{{/* Quiet time before workers are taken away, in seconds: nothing that is worked on has come later. */}}
{{- define "sluice.scaleDownSeconds" -}}
{{- $longest := add (ceil .settings.worker.upload_timeout_s | int) (ceil .settings.worker.drain_timeout_s | int) -}}
{{- default (max 300 $longest) (int .autoscaling.scaleDownSeconds) -}}
{{- end -}}

{{/* Room for every upload that may be fetched at the same time. */}}
{{- define "sluice.scratchSize" -}}
{{- $bytes := mul (int64 .settings.worker.concurrency) (int64 .settings.fetch.max_bytes) -}}
{{- default (printf "%dMi" (add 64 (div (add $bytes 1048575) 1048576))) .scratch.sizeLimit -}}
{{- end -}}

{{/* CPUs of a request such as 2, "1.5" or 500m, rounded up. */}}
{{- define "sluice.wholeCpus" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}
{{ divf (trimSuffix "m" $text | float64) 1000 | ceil | int }}
{{- else -}}
{{ ceil (float64 $text) | int }}
{{- end -}}
{{- end -}}

{{/* Bytes of a quantity such as 4Gi, 1.5G or 4294967296. */}}
{{- define "sluice.bytes" -}}
{{- $units := dict "" 1.0 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[a-zA-Z]*$" $text -}}
{{ mulf (trimSuffix $unit $text | float64) (get $units $unit) }}
{{- end -}}

{{/* Bytes that a worker may take: what it was measured to (docs/capacity.md), and all its decoders at their limit. */}}
{{- define "sluice.mostMemory" -}}
{{ addf 900e6 (mulf 2 .settings.decode.processes .settings.decode.memory_bytes) }}
{{- end -}}
