#!/usr/bin/env bash
# Prints the Homebrew formula: release/formula.sh VERSION REPOSITORY_URL DOWNLOADS ARCHIVES
#
# DOWNLOADS is the URL of the directory that the archives are downloaded from, ARCHIVES the directory that contains them here.
set -euo pipefail

if [ $# -ne 4 ]; then
    echo "usage: $0 VERSION REPOSITORY_URL DOWNLOADS ARCHIVES" >&2
    exit 2
fi
version=$1 repository_url=$2 downloads=$3 archives=$4

archive() {
    local name=rolegate-$version-$1.tar.gz digest
    digest=$(sha256sum "$archives/$name" | cut -d ' ' -f 1)
    cat <<END
      url "${downloads%/}/$name"
      sha256 "$digest"
END
}

cat <<END
class Rolegate < Formula
  desc "Checks that IAM roles trust the Kubernetes ServiceAccounts that use them"
  homepage "$repository_url"
  version "$version"
  license "Apache-2.0"

  on_macos do
    on_arm do
$(archive darwin-arm64)
    end
    on_intel do
$(archive darwin-amd64)
    end
  end

  on_linux do
    on_arm do
$(archive linux-arm64)
    end
    on_intel do
$(archive linux-amd64)
    end
  end

  def install
    bin.install "rolegate"
    # kubectl finds it as the plugin \`rolegate\`.
    bin.install_symlink "rolegate" => "kubectl-rolegate"
    # kubectl runs it to complete the words after \`kubectl rolegate\`.
    bin.install "kubectl_complete-rolegate"
    bash_completion.install "completions/rolegate.bash" => "rolegate"
    zsh_completion.install "completions/_rolegate"
    fish_completion.install "completions/rolegate.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/rolegate --version")
    assert_match "wrong-subject", shell_output("#{bin}/rolegate explain wrong-subject")
  end
end
END
