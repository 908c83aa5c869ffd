#!/usr/bin/env bash
# Writes SHA256SUMS for all files of a directory: release/checksums.sh DIRECTORY
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 DIRECTORY" >&2
    exit 2
fi
cd "$1"
rm -f SHA256SUMS
sums=$(find . -maxdepth 1 -type f -printf '%P\0' | LC_ALL=C sort --zero-terminated | xargs --null sha256sum --)
printf '%s\n' "$sums" >SHA256SUMS
