#!/usr/bin/env bash
# Packages the chart of a release, with its image and its home: release/chart.sh IMAGE DIGEST HOME OUTPUT
#
# IMAGE is the repository of the image with its registry, DIGEST the digest of the image for all architectures (sha256:…), and HOME the URL
# of the source repository (https://…): `home` and `sources` of the chart, and the runbooks of its alerts. Requires helm, or the program
# that the variable HELM names.
set -euo pipefail

if [ $# -ne 4 ]; then
    echo "usage: $0 IMAGE DIGEST HOME OUTPUT" >&2
    exit 2
fi
image=$1 digest=$2 home=$3 output=$4
repository=$(cd "$(dirname "$0")/.." && pwd)
if ! [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]]; then
    echo "$0: $digest is not a digest such as sha256:… (64 hexadecimal digits)" >&2
    exit 1
fi
if [[ $image == *[:@\ ]* && ! $image =~ ^[^/]+:[0-9]+/[^:@\ ]+$ ]]; then
    echo "$0: $image must be a repository, without a tag or a digest" >&2
    exit 1
fi
if ! [[ $home =~ ^https://[A-Za-z0-9./_-]+$ ]]; then
    echo "$0: $home is not the URL of a repository such as https://github.com/OWNER/rolegate" >&2
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
{
    grep -v '^# release/chart\.sh adds ' "$repository/charts/rolegate/Chart.yaml"
    printf 'home: %s\nsources:\n  - %s\n' "$home" "$home"
} >"$work/rolegate/Chart.yaml"
"${HELM:-helm}" package --destination "$output" "$work/rolegate"
