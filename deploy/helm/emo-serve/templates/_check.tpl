{{- /* Refuses values that do not go together, all at once; what a value is by itself says values.schema.json */ -}}
{{- define "emo-serve.check" -}}
{{- $faults := list -}}
{{- $scaling := .Values.autoscaling -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- $faults = printf "autoscaling.minReplicas is %v and autoscaling.maxReplicas %v: the first may be at most the second" $scaling.minReplicas $scaling.maxReplicas | append $faults -}}
{{- end -}}
{{- if and (ne $scaling.kind "none") (not .Values.serviceMonitor.enabled) -}}
{{- $faults = printf "autoscaling.kind is %s and serviceMonitor.enabled false: emo_queue_age_seconds comes from the ServiceMonitor; allowed are autoscaling.kind none, or serviceMonitor.enabled true" $scaling.kind | append $faults -}}
{{- end -}}
{{- if and .Values.apiKeys.secret .Values.serviceMonitor.enabled (not .Values.serviceMonitor.apiKey.secret) -}}
{{- $faults = append $faults "apiKeys.secret is set and serviceMonitor.apiKey.secret not: /metrics needs a key too; name the Secret that holds it, or set serviceMonitor.enabled to false" -}}
{{- end -}}
{{- if and (ne .Values.service.type "ClusterIP") .Values.networkPolicy.enabled (not .Values.networkPolicy.cidrs) -}}
{{- $faults = printf "service.type is %s, and the NetworkPolicy lets nobody from outside the cluster in: name who may ask in networkPolicy.cidrs (0.0.0.0/0: everybody), set networkPolicy.enabled to false, or service.type to ClusterIP" .Values.service.type | append $faults -}}
{{- end -}}
{{- $delay := index .Values.settings "EMO_DRAIN_DELAY_SECONDS" | default "0" | trim -}}
{{- $drain := index .Values.settings "EMO_DRAIN_SECONDS" | default "20" | trim -}}
{{- $stop := addf (float64 $delay) (mulf 2 (float64 $drain)) -}}
{{- if gt $stop (float64 .Values.terminationGracePeriodSeconds) -}}
{{- $faults = printf "terminationGracePeriodSeconds is %v, settings.EMO_DRAIN_DELAY_SECONDS %s and settings.EMO_DRAIN_SECONDS %s: the first has to be at least the second and twice the third, %v" .Values.terminationGracePeriodSeconds $delay $drain $stop | append $faults -}}
{{- end -}}
{{- with index .Values.settings "EMO_AGENT_PORT" -}}
{{- if or (not (regexMatch "^[1-9][0-9]{0,4}$" .)) (gt (int .) 65535) (eq . "8000") -}}
{{- $faults = printf "settings.EMO_AGENT_PORT is %s: allowed is a port from 1 to 65535 other than 8000, which is that of HTTP" . | append $faults -}}
{{- else if and $.Values.admin.secret (eq (int .) (int $.Values.admin.port)) -}}
{{- $faults = printf "settings.EMO_AGENT_PORT and admin.port are both %s: they have to differ" . | append $faults -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.settings "EMO_GRPC_PORT" -}}
{{- $faults = append $faults "settings.EMO_GRPC_PORT: this chart has no port for gRPC; leave it out, or take deploy/kserve/servingruntime-grpc.yaml" -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "values that do not go together:\n- %s" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}
