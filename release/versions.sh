#!/usr/bin/env bash
# Checks that every file names the same version: release/versions.sh [TAG]
#
# With a tag (v0.1.0), it must be that version, and CHANGELOG.md must have a section for it. Prints the version.
set -euo pipefail
cd "$(dirname "$0")/.."

# The first match in a file; the expression has one group.
found() {
    local file=$1 expression=$2 value
    value=$(sed -nE "s/$expression/\1/p" "$file" | head -n 1)
    if [ -z "$value" ]; then
        echo "$file: no version found" >&2
        exit 1
    fi
    printf '%s\n' "$value"
}

version=$(found Cargo.toml '^version = "([^"]+)"$')
failed=0
compare() {
    local place=$1 value=$2
    if [ "$value" != "$version" ]; then
        echo "$place has version $value, Cargo.toml has $version: change one of them" >&2
        failed=1
    fi
}
compare 'Cargo.lock (package rolegate)' "$(sed -nE '/^name = "rolegate"$/{n;s/^version = "(.*)"$/\1/p}' Cargo.lock)"
compare 'charts/rolegate/Chart.yaml (version)' "$(found charts/rolegate/Chart.yaml '^version: "?([^"]+)"?$')"
compare 'charts/rolegate/Chart.yaml (appVersion)' "$(found charts/rolegate/Chart.yaml '^appVersion: "?([^"]+)"?$')"
compare 'Dockerfile (VERSION)' "$(found Dockerfile '^ARG VERSION=(.+)$')"
compare 'action.yml (version)' "$(found action.yml '^    default: "([0-9]+\.[0-9]+\.[0-9]+[^"]*)"$')"
if [ $# -ge 1 ]; then
    if [ "$1" != "v$version" ]; then
        echo "tag $1 is not v$version, the version in Cargo.toml: set the version, or delete the tag" >&2
        failed=1
    fi
    release/notes.sh "$version" >/dev/null || failed=1
fi
[ "$failed" = 0 ]
printf '%s\n' "$version"
