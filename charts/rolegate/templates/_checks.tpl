{{/*
Rejects combinations of values of which one would have no effect, or not the intended one. Each message names the value and the next step. The
schema rejects values that are wrong by themselves, unless its message would not say why.
*/}}
{{- define "rolegate.checkValues" -}}
{{- include "rolegate.checkServiceAccount" . -}}
{{- include "rolegate.checkRegions" . -}}
{{- include "rolegate.checkRole" . -}}
{{- include "rolegate.checkListenAddress" . -}}
{{- include "rolegate.checkCertificates" . -}}
{{- include "rolegate.checkEnv" . -}}
{{- include "rolegate.checkVolumes" . -}}
{{- include "rolegate.checkDirectories" (dict "root" . "value" "roleSources" "sources" (include "rolegate.roleSources" . | fromJsonArray)) -}}
{{- include "rolegate.checkDirectories" (dict "root" . "value" "podIdentity.sources" "sources" (include "rolegate.associationSources" . | fromJsonArray)) -}}
{{- end -}}

{{/* Rejects an `image.repository` that no container runtime could pull with a tag or digest behind it. The parameter is the value. */}}
{{- define "rolegate.checkRepository" -}}
{{- if contains "://" . -}}
{{- fail (printf "image.repository: %s has a scheme; expected %s" . (regexReplaceAll "^.*://" . "")) -}}
{{- end -}}
{{- if contains "@" . -}}
{{- fail (printf "image.repository: %s has a digest; expected %s, with the digest in image.digest" . (regexReplaceAll "@.*$" . "")) -}}
{{- end -}}
{{- /* A colon before a slash is that of a port. */ -}}
{{- if regexMatch ":[^/]*$" . -}}
{{- fail (printf "image.repository: %s has a tag; expected %s, with the tag in image.tag" . (regexReplaceAll ":[^/]*$" . "")) -}}
{{- end -}}
{{- $part := "[a-z0-9]+((\\.|__?|-+)[a-z0-9]+)*" -}}
{{- $registry := "[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]+)?" -}}
{{- if not (regexMatch (printf "^(%s/)?%s(/%s)*$" $registry $part $part) .) -}}
{{- fail (printf "image.repository: %s is not the name of an image; expected a registry and a name in lower case, such as registry.example.com/rolegate" .) -}}
{{- end -}}
{{- end -}}

{{- define "rolegate.checkServiceAccount" -}}
{{- if not .Values.serviceAccount.create -}}
{{- range $field := list "annotations" "labels" -}}
{{- if get $.Values.serviceAccount $field -}}
{{- fail (printf "serviceAccount.%s has no effect, because the chart does not create the ServiceAccount (serviceAccount.create is false): remove the value and set the %s of ServiceAccount %s in namespace %s yourself, or set serviceAccount.create to true" $field $field (include "rolegate.serviceAccountName" $) (include "rolegate.namespace" $)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "rolegate.checkRegions" -}}
{{- include "rolegate.checkRegion" (dict "value" "aws.region" "region" (default "" .Values.aws.region)) -}}
{{- $injected := get (default dict .Values.settings) "aws-region" | default "" -}}
{{- if ne $injected "auto" -}}
{{- include "rolegate.checkRegion" (dict "value" "settings.aws-region" "region" $injected) -}}
{{- end -}}
{{- with .Values.aws.region -}}
{{- $expected := include "rolegate.partition" . -}}
{{- range $value, $arn := include "rolegate.ownArns" $ | fromJson -}}
{{- $partition := index (splitList ":" $arn) 1 -}}
{{- if ne $partition $expected -}}
{{- fail (printf "%s: %s belongs to partition %s, but aws.region (%s) to partition %s: set a Region of partition %s in aws.region" $value $arn $partition $.Values.aws.region $expected $partition) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The ARNs that rolegate's own calls concern, by the value that has them, as a JSON object. */}}
{{- define "rolegate.ownArns" -}}
{{- $arns := dict -}}
{{- with .Values.aws.roleArn -}}
{{- $_ := set $arns "aws.roleArn" . -}}
{{- end -}}
{{- with include "rolegate.annotatedRole" . -}}
{{- $_ := set $arns "serviceAccount.annotations" . -}}
{{- end -}}
{{- with .Values.podIdentity.clusterArn -}}
{{- $_ := set $arns "podIdentity.clusterArn" . -}}
{{- end -}}
{{- toJson $arns -}}
{{- end -}}

{{/* Rejects what is not the name of a Region. Parameters: `value`, its name, and `region`, which can be empty. */}}
{{- define "rolegate.checkRegion" -}}
{{- $name := "[a-z]+(-[a-z]+)+-[0-9]+" -}}
{{- if and .region (not (regexMatch (printf "^%s$" $name) .region)) -}}
{{- if regexMatch (printf "^%s[a-z]$" $name) .region -}}
{{- fail (printf "%s: %s is an Availability Zone; set its Region, %s" .value .region (regexFind $name .region)) -}}
{{- end -}}
{{- fail (printf "%s: %s is not the name of a Region; expected a name such as us-west-2" .value .region) -}}
{{- end -}}
{{- end -}}

{{/* The partition of a Region, as the program has it. */}}
{{- define "rolegate.partition" -}}
{{- if hasPrefix "cn-" . -}}aws-cn
{{- else if hasPrefix "us-gov-" . -}}aws-us-gov
{{- else if hasPrefix "us-isob-" . -}}aws-iso-b
{{- else if hasPrefix "us-isof-" . -}}aws-iso-f
{{- else if hasPrefix "eu-isoe-" . -}}aws-iso-e
{{- else if hasPrefix "us-iso-" . -}}aws-iso
{{- else if hasPrefix "eusc-" . -}}aws-eusc
{{- else -}}aws
{{- end -}}
{{- end -}}

{{- define "rolegate.checkRole" -}}
{{- $annotated := include "rolegate.annotatedRole" . -}}
{{- if and .Values.aws.roleArn $annotated (ne .Values.aws.roleArn $annotated) -}}
{{- fail (printf "aws.roleArn (%s) and the annotation eks.amazonaws.com/role-arn in serviceAccount.annotations (%s) name different roles: remove one of them" .Values.aws.roleArn $annotated) -}}
{{- end -}}
{{- if and (not .Values.aws.roleArn) (ne .Values.aws.audience "sts.amazonaws.com") -}}
{{- fail "aws.audience has no effect without aws.roleArn: set aws.roleArn, or remove aws.audience" -}}
{{- end -}}
{{- end -}}

{{/* Rejects loopback addresses, also as an IPv4 address in IPv6. */}}
{{- define "rolegate.checkListenAddress" -}}
{{- if regexMatch "^127\\.|^\\[[0:]*:(0{0,3}1|(?i:ffff):(?i:7f)[0-9a-fA-F]{2}:[0-9a-fA-F]+)\\]$" .Values.listenAddress -}}
{{- fail (printf "listenAddress: neither the API server nor probes can connect to %s, a loopback address; set 0.0.0.0, or [::] if pods have IPv6 addresses" .Values.listenAddress) -}}
{{- end -}}
{{- end -}}

{{/* Rejects values that the mode does not read. For a lifetime that is the default, it is unknown whether it was set. */}}
{{- define "rolegate.checkCertificates" -}}
{{- $certificates := .Values.certificates -}}
{{- $issuer := $certificates.issuerRef -}}
{{- $isCertManager := eq $certificates.mode "cert-manager" -}}
{{- if or $issuer.name (ne $issuer.kind "Issuer") (ne $issuer.group "cert-manager.io") -}}
{{- if not $isCertManager -}}
{{- fail (printf "certificates.issuerRef has no effect in mode %s: set certificates.mode to cert-manager, or remove certificates.issuerRef" $certificates.mode) -}}
{{- end -}}
{{- if not $issuer.name -}}
{{- fail "certificates.issuerRef has no effect without certificates.issuerRef.name: set the name of the issuer, or remove certificates.issuerRef" -}}
{{- end -}}
{{- end -}}
{{- $issuesCa := or (eq $certificates.mode "self-managed") (and $isCertManager (not $issuer.name)) -}}
{{- if and (not $issuesCa) (ne $certificates.caLifetime "8760h") -}}
{{- $reason := ternary "with certificates.issuerRef.name, because the issuer has its own CA" "in mode secret, because you provide the certificate" $isCertManager -}}
{{- fail (printf "certificates.caLifetime has no effect %s: remove it" $reason) -}}
{{- end -}}
{{- if and (eq $certificates.mode "secret") (ne $certificates.lifetime "720h") -}}
{{- fail "certificates.lifetime has no effect in mode secret, because you provide the certificate: remove it" -}}
{{- end -}}
{{- if and $issuesCa (le (include "rolegate.hours" $certificates.caLifetime | int) (include "rolegate.hours" $certificates.lifetime | int)) -}}
{{- fail (printf "certificates.lifetime (%s) must be shorter than certificates.caLifetime (%s)" $certificates.lifetime $certificates.caLifetime) -}}
{{- end -}}
{{- end -}}

{{- define "rolegate.checkEnv" -}}
{{- $values := dict "AWS_ROLE_ARN" "aws.roleArn" "AWS_WEB_IDENTITY_TOKEN_FILE" "aws.roleArn" "AWS_REGION" "aws.region" -}}
{{- $names := list -}}
{{- range include "rolegate.env" . | fromYamlArray -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $ofUser := list -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- $value := get $values .name -}}
{{- fail (printf "extraEnv: %s is already set by %s: remove it from extraEnv, or remove %s" .name $value $value) -}}
{{- end -}}
{{- if has .name $ofUser -}}
{{- fail (printf "extraEnv: %s is listed twice: remove one of the two" .name) -}}
{{- end -}}
{{- $ofUser = append $ofUser .name -}}
{{- end -}}
{{- end -}}

{{- define "rolegate.checkVolumes" -}}
{{- $names := list -}}
{{- range include "rolegate.volumes" . | fromYamlArray -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range .Values.extraVolumes -}}
{{- if has .name $names -}}
{{- fail (printf "extraVolumes: there is already a volume %s: use another name" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $paths := list -}}
{{- range include "rolegate.volumeMounts" . | fromYamlArray -}}
{{- $paths = append $paths .mountPath -}}
{{- end -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $names) -}}
{{- fail (printf "extraVolumeMounts: volume %s does not exist; add it to extraVolumes" .name) -}}
{{- end -}}
{{- if has (clean .mountPath) $paths -}}
{{- fail (printf "extraVolumeMounts: there is already a mount at %s: use another path" .mountPath) -}}
{{- end -}}
{{- $paths = append $paths (clean .mountPath) -}}
{{- end -}}
{{- end -}}

{{/*
Rejects sources of files in directories that no volume is mounted at, above or below: the image contains none. Parameters: `root`, `value`,
the name of the value, and `sources`.
*/}}
{{- define "rolegate.checkDirectories" -}}
{{- $mounts := concat (include "rolegate.volumeMounts" .root | fromYamlArray) (default list .root.Values.extraVolumeMounts) -}}
{{- range .sources -}}
{{- if hasPrefix "files=" . -}}
{{- $directory := trimPrefix "files=" . | clean -}}
{{- $isMounted := false -}}
{{- range $mounts -}}
{{- $path := clean .mountPath -}}
{{- if or (hasPrefix (printf "%s/" $path) (printf "%s/" $directory)) (hasPrefix (printf "%s/" $directory) $path) -}}
{{- $isMounted = true -}}
{{- end -}}
{{- end -}}
{{- if not $isMounted -}}
{{- fail (printf "%s: no volume is mounted at %s: add one to extraVolumes and extraVolumeMounts%s" $.value $directory (ternary ", or use roleFiles.configMap" "" (eq $.value "roleSources"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
