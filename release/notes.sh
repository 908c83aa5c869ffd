#!/usr/bin/env bash
# Prints the release notes of a version, its section of CHANGELOG.md: release/notes.sh VERSION
#
# The heading is `## VERSION` or `## VERSION (DATE)`. Relative links lead to the files of the tag if REPOSITORY_URL is set.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -ne 1 ]; then
    echo "usage: $0 VERSION" >&2
    exit 2
fi
version=$1
notes=$(awk -v version="$version" '
    /^## / { inside = ($2 == version); next }
    inside { print }
' CHANGELOG.md)
if [ -z "${notes//[[:space:]]/}" ]; then
    echo "CHANGELOG.md has no section '## $version', or it is empty: rename the section \"Unreleased\"" >&2
    exit 1
fi
if [ -n "${REPOSITORY_URL:-}" ]; then
    notes=$(printf '%s\n' "$notes" | sed -E "s,\]\(([^):#]+\.[a-z]+),](${REPOSITORY_URL%/}/blob/v$version/\1,g")
fi
# Without the empty lines at the start.
printf '%s\n' "$notes" | sed '/./,$!d'
