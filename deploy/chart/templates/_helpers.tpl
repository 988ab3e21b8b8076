{{- define "langflow.name" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{- /* Of an object of .root: its .name, or the .suffix of the release's name; its .labels and .annotations beside the usual ones. */}}
{{- define "langflow.metadata" -}}
{{- $values := .root.Values }}
{{- $name := .name | default (printf "%s%s" (include "langflow.name" .root) (.suffix | default "")) -}}
metadata:
  name: {{ toYaml $name }}
  labels:
    {{- include (.own | default "langflow.labels") .root | nindent 4 }}
    {{- include "langflow.versionLabels" .root | nindent 4 }}
    {{- with merge (dict) (.labels | default dict) ($values.commonLabels | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) (.annotations | default dict) ($values.commonAnnotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* Not of pods, because a new version of the chart alone must not replace them. */}}
{{- define "langflow.versionLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "langflow.labels" -}}
{{ include "langflow.selector" . }}
app.kubernetes.io/part-of: langflow
{{- end }}

{{- /* Selectors can't be changed, so they have only these two labels. */}}
{{- define "langflow.selector" -}}
app.kubernetes.io/name: langflow
app.kubernetes.io/instance: {{ toYaml .Release.Name }}
{{- end }}

{{- define "langflow.trialSelector" -}}
app.kubernetes.io/name: postgresql
app.kubernetes.io/instance: {{ toYaml .Release.Name }}
{{- end }}

{{- /* Other labels than LangFlow's pods have, so that no selector finds the pod. */}}
{{- define "langflow.testLabels" -}}
app.kubernetes.io/name: langflow-leader-test
app.kubernetes.io/instance: {{ toYaml .Release.Name }}
{{- end }}

{{- define "langflow.leaseName" -}}
{{ include "langflow.name" . }}-leader-lock
{{- end }}

{{- define "langflow.secretName" -}}
{{ .Values.secret.name | default (include "langflow.name" .) }}
{{- end }}

{{- define "langflow.accountName" -}}
{{ .Values.serviceAccount.name | default (printf "%s-leader" (include "langflow.name" .)) }}
{{- end }}

{{- define "langflow.claimName" -}}
{{ .Values.storage.pvc.existingClaim | default (printf "%s-files" (include "langflow.name" .)) }}
{{- end }}

{{- /* Of .image, with the tag .tag if it has none. */}}
{{- define "langflow.imageOf" -}}
{{ .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .tag }}{{ end }}
{{- end }}

{{- define "langflow.image" -}}
image: {{ include "langflow.imageOf" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- /* The alerts, with the address of the runbooks. */}}
{{- define "langflow.alerts" -}}
{{- regexReplaceAll "https://\\S+/troubleshoot\\.md" (.Files.Get "files/alerts.yaml") .Values.monitoring.runbooks }}
{{- end }}

{{- define "langflow.restricted" -}}
{{- $restricted := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) }}
{{- toYaml (dict "securityContext" (mergeOverwrite $restricted (.Values.securityContext | default dict))) }}
{{- end }}

{{- /* Of the pod, with user, group and fsGroup .id, unless the cluster chooses them, and with .own over it. */}}
{{- define "langflow.podSecurity" -}}
{{- $ids := .Values.openshift | ternary (dict) (dict "runAsUser" .id "runAsGroup" .id "fsGroup" .id) }}
{{- $restricted := merge (dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault")) $ids }}
{{- toYaml (dict "securityContext" (mergeOverwrite $restricted (.own | default dict))) }}
{{- end }}

{{- /* The settings of a pod of .root that runs one command as .account, and then ends. */}}
{{- define "langflow.commandPod" -}}
restartPolicy: Never
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- range $field := list "imagePullSecrets" "nodeSelector" "tolerations" }}
{{- with get $.root.Values $field }}
{{ toYaml (dict $field .) }}
{{- end }}
{{- end }}
{{ include "langflow.podSecurity" (dict "Values" .root.Values "id" 1000 "own" .root.Values.podSecurityContext) }}
volumes:
  {{- include "langflow.tokenVolume" .root | nindent 2 }}
{{- end }}

{{- /* What the container of such a pod has beside its command. */}}
{{- define "langflow.commandParts" -}}
{{ include "langflow.image" . }}
{{ include "langflow.restricted" . }}
resources:
  requests: { cpu: 20m, memory: 96Mi }
  limits: { memory: 256Mi }
volumeMounts:
  {{- include "langflow.tokenMount" . | nindent 2 }}
{{- end }}

{{- define "langflow.tokenMount" -}}
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{- define "langflow.tokenVolume" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}

{{- /* The flags with their values. One replica has no other to ask. Without a Lease, failsafe delays the first start. A cold start takes longer than the default hold timeout. */}}
{{- define "langflow.flags" -}}
{{- $failsafe := ternary (dict "failsafe" "peers" "failsafe-max" "11m") (dict) (and .Values.lease.create (gt (int .Values.replicas) 1)) }}
{{- $cold := and (eq .Values.traffic "front") (eq .Values.standby "cold") }}
{{- toYaml (merge (dict) (.Values.flags | default dict) $failsafe ($cold | ternary (dict "hold-timeout" "60s") (dict))) }}
{{- end }}

{{- /* A flag's variable: hold-timeout is LEADER_HOLD_TIMEOUT. */}}
{{- define "langflow.flagVariable" -}}
- name: LEADER_{{ .name | replace "-" "_" | upper }}
  value: {{ .value | quote }}
{{- end }}

{{- /* A duration such as 1m30s. */}}
{{- define "langflow.milliseconds" -}}
{{- $units := dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9.]+(h|ms|m|s)" . -1 }}
{{- $sum = addf $sum (mulf (regexFind "[0-9.]+" .) (get $units (regexFind "[hms]+" .))) }}
{{- end }}
{{- $sum }}
{{- end }}

{{- define "langflow.seconds" -}}
{{- divf (include "langflow.milliseconds" .) 1000 | ceil }}
{{- end }}

{{- /* The variables of the mesh's annotations: agents, kubelet and API server call each other past the proxy. */}}
{{- define "langflow.meshAnnotations" -}}
{{- $api := printf "%s/%s" .Values.apiServer (contains ":" .Values.apiServer | ternary "128" "32") }}
{{- if eq .Values.mesh "istio" }}
traffic.sidecar.istio.io/excludeInboundPorts: "8090"
traffic.sidecar.istio.io/excludeOutboundPorts: "8090,8091"
traffic.sidecar.istio.io/excludeOutboundIPRanges: {{ $api }}
sidecar.istio.io/rewriteAppHTTPProbers: "false"
{{- else if eq .Values.mesh "linkerd" }}
config.linkerd.io/skip-inbound-ports: "8090"
config.linkerd.io/skip-outbound-ports: "8090,8091"
config.linkerd.io/skip-subnets: {{ $api }}
{{- end }}
{{- end }}

{{- /* Ambient mode tunnels traffic through port 15008, and the kubelet's probes come from this address. */}}
{{- define "langflow.ambientIngress" -}}
{{- if eq .Values.mesh "ambient" -}}
- ports:
    - port: 15008
- from:
    - ipBlock:
        cidr: 169.254.7.127/32
{{- end }}
{{- end }}

{{- /* Time to drain and to stop LangFlow; of a front, to wait for a quiet moment and to forward held requests; a reserve of 10 s. */}}
{{- define "langflow.graceSeconds" -}}
{{- $flags := include "langflow.flags" . | fromYaml }}
{{- $drain := include "langflow.seconds" (get $flags "drain-timeout" | default "5s") }}
{{- $stop := include "langflow.seconds" (get $flags "stop-timeout" | default "30s") }}
{{- $hold := include "langflow.seconds" (get $flags "hold-timeout" | default "30s") }}
{{- $quiet := include "langflow.seconds" (get $flags "quiet-timeout" | default "30s") }}
{{- add $drain $stop (eq .Values.traffic "front" | ternary (add $quiet $hold) 0) 10 }}
{{- end }}

{{- /* LangFlow's variables. One of extraEnv replaces one of the chart with its name. */}}
{{- define "langflow.env" -}}
{{- $own := include "langflow.chartEnv" . }}
{{- $taken := list }}
{{- range .Values.extraEnv }}
{{- $taken = append $taken .name }}
{{- end }}
{{- $kept := list }}
{{- $all := fromYamlArray $own }}
{{- range $all }}
{{- if not (has .name $taken) }}
{{- $kept = append $kept . }}
{{- end }}
{{- end }}
{{- /* The text has comments, which a list has lost. */}}
{{- eq (len $kept) (len $all) | ternary $own (toYaml $kept) }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "langflow.fromSecret" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: { name: {{ toYaml .secret }}, key: {{ toYaml .key }}{{ if .optional }}, optional: true{{ end }} }
{{- end }}

{{- define "langflow.chartEnv" -}}
{{- $secret := include "langflow.secretName" . }}
{{- $hasSecret := ne .Values.secret.source "envFiles" -}}
- name: HOME # LangFlow can write only to this directory of the image and to /tmp
  value: /app/data
- name: LANGFLOW_CONFIG_DIR
  value: /app/data
- name: LANGFLOW_SAVE_DB_IN_CONFIG_DIR # otherwise, the SQLite file is created in the read-only image
  value: "true"
- name: LANGFLOW_LOG_ENV # with the default log, LangFlow does not answer while its database is unreachable
  value: container
# Starter projects that exist are kept. Otherwise, LangFlow deletes and writes all of them at each start, which adds 1 s to a takeover.
- name: LANGFLOW_UPDATE_STARTER_PROJECTS
  value: "false"
{{- if $hasSecret }}
# 32 url-safe base64-encoded bytes (openssl rand -base64 32 | tr '+/' '-_'), equal on all replicas. Otherwise API keys
# and credentials cannot be stored, or cannot be read after a takeover.
{{ include "langflow.fromSecret" (dict "variable" "LANGFLOW_SECRET_KEY" "secret" $secret "key" "secret-key") }}
# Password of LangFlow's first user, `langflow`. Without it, LangFlow starts only with LANGFLOW_AUTO_LOGIN=true.
{{ include "langflow.fromSecret" (dict "variable" "LANGFLOW_SUPERUSER_PASSWORD" "secret" $secret "key" "superuser-password") }}
{{- end }}
{{- if .Values.database.trial }}
{{ include "langflow.fromSecret" (dict "variable" "LANGFLOW_DATABASE_URL" "secret" (printf "%s-postgresql" (include "langflow.name" .)) "key" "database-url") }}
{{- else if or $hasSecret .Values.database.secret }}
{{ include "langflow.fromSecret" (dict "variable" "LANGFLOW_DATABASE_URL" "secret" (.Values.database.secret | default $secret) "key" .Values.database.key) }}
{{- end }}
{{- if eq .Values.storage.type "s3" }}
{{- $s3 := .Values.storage.s3 }}
- name: LANGFLOW_STORAGE_TYPE
  value: s3
{{- if $s3.bucket }}
- name: LANGFLOW_OBJECT_STORAGE_BUCKET_NAME
  value: {{ toYaml $s3.bucket }}
{{- else if or $hasSecret $s3.secret }}
{{ include "langflow.fromSecret" (dict "variable" "LANGFLOW_OBJECT_STORAGE_BUCKET_NAME" "secret" ($s3.secret | default $secret) "key" "s3-bucket") }}
{{- end }}
{{- if or $hasSecret $s3.secret }}
# LangFlow leaves the rest to the AWS library.
{{- range $variable, $key := dict "AWS_DEFAULT_REGION" "s3-region" "AWS_ENDPOINT_URL_S3" "s3-endpoint" "AWS_ACCESS_KEY_ID" "s3-access-key-id" "AWS_SECRET_ACCESS_KEY" "s3-secret-access-key" }}
{{ include "langflow.fromSecret" (dict "variable" $variable "secret" ($s3.secret | default $secret) "key" $key "optional" true) }}
{{- end }}
{{- end }}
{{- else if eq .Values.storage.type "pvc" }}
- name: LANGFLOW_STORAGE_TYPE
  value: local
{{- end }}
{{- with include "langflow.flowsPath" . }}
- name: LANGFLOW_LOAD_FLOWS_PATH
  value: {{ toYaml . }}
{{- end }}
{{- with include "langflow.handoverOnChange" . }}
- name: LEADER_HANDOVER_ON_CHANGE
  value: {{ toYaml . }}
{{- end }}
{{- with .Values.envFiles }}
- name: LEADER_ENV_FILE
  value: {{ join "," . | toYaml }}
{{- end }}
{{- range $name, $value := include "langflow.flags" . | fromYaml }}
{{- if has $name (list "stop-timeout" "log-level") }}
{{ include "langflow.flagVariable" (dict "name" $name "value" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "langflow.flowsPath" -}}
{{- if eq .Values.flows.source "git" -}}
/git/current/{{ .Values.flows.git.path }}
{{- else if ne .Values.flows.source "none" -}}
/flows
{{- end -}}
{{- end }}

{{- define "langflow.handoverOnChange" -}}
{{- $paths := .Values.handoverOnChange }}
{{- if and .Values.flows.handoverOnChange (include "langflow.flowsPath" .) }}
{{- $paths = prepend $paths (include "langflow.flowsPath" .) }}
{{- end }}
{{- join "," $paths }}
{{- end }}

{{- /* Fails with one line for each value that is missing or does not fit. */}}
{{- define "langflow.validate" -}}
{{- $faults := list }}
{{- $name := include "langflow.name" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,37}[a-z0-9])?$" $name) }}
{{- $faults = append $faults (printf "the name %s can't be that of a Service or is longer than 39 characters: set fullnameOverride" $name) }}
{{- end }}
{{- if not (kindIs "string" (get (printf "name: %s" $name | fromYaml) "name")) }}
{{- $faults = append $faults (printf "YAML doesn't read the name %s as text: set fullnameOverride" $name) }}
{{- end }}
{{- range $value, $labels := dict "podLabels" .Values.podLabels "commonLabels" .Values.commonLabels "service.labels" .Values.service.labels "monitoring.labels" .Values.monitoring.labels }}
{{- range $label, $_ := merge (include "langflow.labels" $ | fromYaml) (include "langflow.versionLabels" $ | fromYaml) }}
{{- if hasKey ($labels | default dict) $label }}
{{- $faults = append $faults (printf "the chart sets the label %s itself: remove it from %s" $label $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.monitoring.annotations }}
{{- range $annotation := list "prometheus.io/scrape" "prometheus.io/port" "prometheus.io/path" }}
{{- if hasKey ($.Values.podAnnotations | default dict) $annotation }}
{{- $faults = append $faults (printf "the chart sets the annotation %s itself: remove it from podAnnotations, or set monitoring.annotations=false" $annotation) }}
{{- end }}
{{- end }}
{{- end }}
{{- $made := eq .Values.secret.source "create" }}
{{- $variables := list }}
{{- range .Values.extraEnv }}
{{- if has .name $variables }}
{{- $faults = append $faults (printf "extraEnv has %s twice: remove one" .name) }}
{{- end }}
{{- $variables = append $variables .name }}
{{- end }}
{{- $database := .Values.database }}
{{- if and $database.trial $database.secret }}
{{- $faults = append $faults "there is one database: remove database.secret, or set database.trial=false" }}
{{- else if and $made (not $database.trial) (not $database.secret) (not (has "LANGFLOW_DATABASE_URL" $variables)) }}
{{- $faults = append $faults "LangFlow needs a database: set database.secret to a Secret with its URL in the key database-url, or database.trial=true for a PostgreSQL whose data is lost with its pod" }}
{{- end }}
{{- $s3 := .Values.storage.s3 }}
{{- if not .Values.storage.type }}
{{- $faults = append $faults "choose where uploaded files are: set storage.type to s3 (a bucket), pvc (a ReadWriteMany volume) or none (they are lost at a takeover)" }}
{{- else if and (eq .Values.storage.type "s3") $made (not $s3.secret) (not $s3.bucket) }}
{{- $faults = append $faults "the bucket has no name: set storage.s3.bucket, or storage.s3.secret to a Secret with the key s3-bucket" }}
{{- end }}
{{- range $key, $value := dict "s3.secret" $s3.secret "s3.bucket" $s3.bucket "pvc.existingClaim" .Values.storage.pvc.existingClaim }}
{{- $type := splitList "." $key | first }}
{{- if and $value $.Values.storage.type (ne $.Values.storage.type $type) }}
{{- $faults = append $faults (printf "storage.%s has no effect: remove it, or set storage.type=%s" $key $type) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.secret.source "envFiles") (not .Values.envFiles) }}
{{- $faults = append $faults "LangFlow's key and password come from no file: set envFiles, or another secret.source" }}
{{- end }}
{{- if and (eq .Values.secret.source "externalSecret") (not .Values.secret.externalSecret) }}
{{- $faults = append $faults "the ExternalSecret is empty: set secret.externalSecret to its secretStoreRef and data" }}
{{- end }}
{{- $from := .Values.flows.source }}
{{- if or (and (eq $from "git") (not .Values.flows.git.repository)) (and (has $from (list "configMap" "pvc")) (not (get .Values.flows $from))) }}
{{- $faults = append $faults (printf "the flows come from nowhere: set flows.%s" (eq $from "git" | ternary "git.repository" $from)) }}
{{- end }}
{{- range $source, $value := dict "git" .Values.flows.git.repository "configMap" .Values.flows.configMap "pvc" .Values.flows.pvc }}
{{- if and $value (ne $from $source) }}
{{- $faults = append $faults (printf "flows.%s has no effect: remove it, or set flows.source=%s" (eq $source "git" | ternary "git.repository" $source) $source) }}
{{- end }}
{{- end }}
{{- range $field, $types := dict "nodePort" "NodePort,LoadBalancer" "externalTrafficPolicy" "NodePort,LoadBalancer" "loadBalancerClass" "LoadBalancer" "loadBalancerSourceRanges" "LoadBalancer" }}
{{- if and (get $.Values.service $field) (not (has $.Values.service.type (splitList "," $types))) }}
{{- $faults = append $faults (printf "service.%s has no effect: remove it, or set service.type=%s" $field (splitList "," $types | last)) }}
{{- end }}
{{- end }}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
{{- $faults = append $faults "the agents have no account: set serviceAccount.name, or serviceAccount.create=true" }}
{{- end }}
{{- if and .Values.operatorRole (not .Values.rbac.create) }}
{{- $faults = append $faults "operatorRole has no effect: remove it, or set rbac.create=true" }}
{{- end }}
{{- if and (has .Values.mesh (list "istio" "linkerd")) (not .Values.apiServer) }}
{{- $faults = append $faults "agents call the API server past the mesh: set apiServer to the address of `kubectl get service kubernetes --namespace=default`" }}
{{- end }}
{{- $flags := merge (include "langflow.flags" . | fromYaml) (dict "lease-duration" "15s" "renew-deadline" "10s" "retry-period" "2s" "kill-margin" "1s" "failsafe-max" "10m") }}
{{- $ms := dict }}
{{- range $flag := list "lease-duration" "renew-deadline" "retry-period" "kill-margin" "failsafe-max" }}
{{- $_ := set $ms $flag (include "langflow.milliseconds" (get $flags $flag) | float64) }}
{{- end }}
{{- $lease := get $ms "lease-duration" }}
{{- if mod $lease 1000 }}
{{- $faults = append $faults (printf "flags.lease-duration (%s) must be whole seconds, because the Lease has no fractions" (get $flags "lease-duration")) }}
{{- end }}
{{- if le $lease (addf (get $ms "renew-deadline") (get $ms "kill-margin")) }}
{{- $faults = append $faults (printf "flags.lease-duration (%s) must be longer than renew-deadline (%s) and kill-margin (%s) together" (get $flags "lease-duration") (get $flags "renew-deadline") (get $flags "kill-margin")) }}
{{- end }}
{{- if le (get $ms "renew-deadline") (mulf 1.2 (get $ms "retry-period")) }}
{{- $faults = append $faults (printf "flags.renew-deadline (%s) must be longer than 1.2 times retry-period (%s)" (get $flags "renew-deadline") (get $flags "retry-period")) }}
{{- end }}
{{- if and (eq (get $flags "failsafe") "peers") (lt (get $ms "failsafe-max") (mulf 2 $lease)) }}
{{- $faults = append $faults (printf "flags.failsafe-max (%s) must be at least twice lease-duration (%s)" (get $flags "failsafe-max") (get $flags "lease-duration")) }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) }}
{{- $faults = append $faults "the HTTPRoute has no Gateway: set gateway.parentRefs" }}
{{- end }}
{{- with $faults }}
{{- fail (printf "\n  %s" (join "\n  " .)) }}
{{- end }}
{{- end }}
