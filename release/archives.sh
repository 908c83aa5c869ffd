#!/usr/bin/env bash
# Packs the programs of all platforms: release/archives.sh VERSION PROGRAMS OUTPUT
#
# PROGRAMS contains OS-ARCHITECTURE/rolegate (rolegate.exe for Windows) for each line of release/platforms. The one of linux-amd64 writes
# the completion scripts of all archives, so this runs on Linux on amd64. Requires GNU tar and Python.
#
# krew unpacks directories and regular files only, so an archive must not contain links. With the same programs and SOURCE_DATE_EPOCH, the
# archives are the same.
set -euo pipefail

if [ $# -ne 3 ]; then
    echo "usage: $0 VERSION PROGRAMS OUTPUT" >&2
    exit 2
fi
version=$1
programs=$(cd "$2" && pwd)
mkdir -p "$3"
output=$(cd "$3" && pwd)
repository=$(cd "$(dirname "$0")/.." && pwd)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-315532800}" TZ=UTC

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/completions"
# Artifacts of workflows lose their modes.
chmod +x "$programs/linux-amd64/rolegate"
generate() { "$programs/linux-amd64/rolegate" completions "$1" >"$work/completions/$2"; }
generate bash rolegate.bash
generate zsh _rolegate
generate fish rolegate.fish
generate powershell _rolegate.ps1
"$programs/linux-amd64/rolegate" completions kubectl >"$work/kubectl_complete-rolegate"

while read -r platform; do
    name=rolegate-$version-$platform
    folder=$work/$name
    mkdir "$folder"
    install -m 0644 "$repository/LICENSE" "$repository/README.md" "$repository/CHANGELOG.md" "$folder/"
    cp -r "$work/completions" "$folder/completions"
    case $platform in
    windows-*)
        install -m 0755 "$programs/$platform/rolegate.exe" "$folder/rolegate.exe"
        # kubectl finds it as the plugin `rolegate`.
        printf '@"%%~dp0rolegate.exe" %%*\r\n' >"$folder/kubectl-rolegate.cmd"
        ;;
    *)
        install -m 0755 "$programs/$platform/rolegate" "$folder/rolegate"
        install -m 0755 "$repository/release/kubectl-rolegate" "$work/kubectl_complete-rolegate" "$folder/"
        ;;
    esac
    find "$folder" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    case $platform in
    windows-*)
        (cd "$work" && python3 -m zipfile -c "$output/$name.zip" "$name")
        ;;
    *)
        tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=ustar "$name" |
            gzip --no-name -9 >"$output/$name.tar.gz"
        ;;
    esac
done <"$repository/release/platforms"
