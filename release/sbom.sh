#!/usr/bin/env bash
# Writes the software bill of materials (CycloneDX 1.5, JSON) of the program: release/sbom.sh TARGET OUTPUT
#
# TARGET is a target triple of Rust: other targets have other dependencies. Requires cargo-cyclonedx.
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: $0 TARGET OUTPUT" >&2
    exit 2
fi
target=$1
mkdir -p "$(dirname "$2")"
output=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$(dirname "$0")/.."

# The file is written next to Cargo.toml, under this name.
name=.rolegate-sbom-$$
trap 'rm -f "$name.json"' EXIT
cargo cyclonedx --format json --spec-version 1.5 --target "$target" --no-build-deps --override-filename "$name" --quiet
# Without the directory of this build.
sed "s,path+file://$PWD#,path+file:///rolegate#,g" "$name.json" >"$output"
