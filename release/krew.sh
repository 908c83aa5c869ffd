#!/usr/bin/env bash
# Prints the manifest of the kubectl plugin for krew: release/krew.sh VERSION REPOSITORY_URL DOWNLOADS ARCHIVES
#
# DOWNLOADS is the URL of the directory that the archives are downloaded from, ARCHIVES the directory that contains them here.
set -euo pipefail

if [ $# -ne 4 ]; then
    echo "usage: $0 VERSION REPOSITORY_URL DOWNLOADS ARCHIVES" >&2
    exit 2
fi
version=$1 repository_url=$2 downloads=$3 archives=$4

cat <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: rolegate
spec:
  version: v$version
  homepage: $repository_url
  shortDescription: Checks IAM roles of ServiceAccounts
  description: |
    Checks whether the trust policies of IAM roles admit the Kubernetes
    ServiceAccounts that use them (IRSA and EKS Pod Identity), explains why
    not, and prints the smallest change to a trust policy that fixes it.

    Only \`trust-policy --apply\` writes to AWS.
  caveats: |
    Trust policies are read with your AWS credentials. See:
      kubectl rolegate audit --help
    To complete its words on TAB, see:
      kubectl rolegate completions --help
  platforms:
END
while read -r platform; do
    case $platform in
    windows-*) extension=zip program=rolegate.exe ;;
    *) extension=tar.gz program=rolegate ;;
    esac
    archive=rolegate-$version-$platform.$extension
    digest=$(sha256sum "$archives/$archive" | cut -d ' ' -f 1)
    cat <<END
    - selector:
        matchLabels:
          os: ${platform%-*}
          arch: ${platform#*-}
      uri: ${downloads%/}/$archive
      sha256: $digest
      files:
        - from: "*/$program"
          to: .
        - from: "*/LICENSE"
          to: .
      bin: $program
END
done <"$(dirname "$0")/platforms"
