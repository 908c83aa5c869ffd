#!/usr/bin/env bash
# Packages the chart of a release, with its image: release/chart.sh IMAGE DIGEST OUTPUT
#
# IMAGE is the repository of the image with its registry, DIGEST the digest of the image for all architectures (sha256:…). Requires helm, or the
# program that the variable HELM names.
set -euo pipefail

if [ $# -ne 3 ]; then
    echo "usage: $0 IMAGE DIGEST OUTPUT" >&2
    exit 2
fi
image=$1 digest=$2 output=$3
repository=$(cd "$(dirname "$0")/.." && pwd)
if ! [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]]; then
    echo "$0: $digest is not a digest such as sha256:… (64 hexadecimal digits)" >&2
    exit 1
fi
if [[ $image == *[:@\ ]* && ! $image =~ ^[^/]+:[0-9]+/[^:@\ ]+$ ]]; then
    echo "$0: $image must be a repository, without a tag or a digest" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$repository/charts/rolegate" "$work/rolegate"
awk -v image="$image" -v digest="$digest" '
    /^[^ #]/ { inside = ($1 == "image:") }
    inside && /^  repository:/ { print "  repository: \"" image "\""; repositories++; next }
    inside && /^  digest:/ { print "  digest: \"" digest "\""; digests++; next }
    { print }
    END { if (repositories != 1 || digests != 1) { print "values.yaml has no image.repository and image.digest" >"/dev/stderr"; exit 1 } }
' "$repository/charts/rolegate/values.yaml" >"$work/rolegate/values.yaml"
"${HELM:-helm}" package --destination "$output" "$work/rolegate"
