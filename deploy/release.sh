#!/usr/bin/env bash
# The files of a release. The release workflow runs both commands, and test/e2e/release.e2e.ts tries them.
#
# release.sh chart DIR IMAGE DIGEST                   packages the chart, with the image of this release
# release.sh files DIR IMAGE DIGEST URL EXECUTABLES   adds the plugin for krew, made from the directory EXECUTABLES, the program
#                                                     for Node, the plain files, the SBOM, and the checksums of all files in DIR.
#                                                     URL: the address of the release's files
# HELM names the program `helm`.
set -euo pipefail
usage() { sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
[ $# -ge 4 ] || usage
mkdir -p "$2"
files=$(realpath "$2") image=$3 digest=$4
executables=$(realpath "${6:-.}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT

case $1-$# in
  chart-4)
    cp -r deploy/chart "$draft"
    repository=${GITHUB_REPOSITORY:-example/langflow-leader}
    grep -rl OWNER "$draft/chart" |
      xargs sed -i "s|github.com/OWNER/langflow-leader|github.com/$repository|; s|ghcr.io/OWNER/langflow-leader:|$image:|"
    if grep -rn OWNER "$draft/chart"; then exit 1; fi
    values=$draft/chart/values.yaml
    sed -i "s|^  repository: langflow-leader$|  repository: $image|; s|^  digest: \"\"|  digest: $digest|" "$values"
    grep -q "^  repository: $image$" "$values"
    grep -q "^  digest: $digest" "$values"
    "${HELM:-helm}" package "$draft/chart" --destination "$files"
    ;;
  files-6)
    export PATH=$PWD/node_modules/.bin:$PATH
    node deploy/krew/build.mjs "$files" "$5" "$executables"
    node deploy/bundle/build.mjs "$files/langflow-leader.mjs"
    for file in langflow.yaml langflow-production.yaml; do
      sed "s|image: langflow-leader:.*|image: $image@$digest|" "deploy/$file" > "$files/$file"
      grep -q "image: $image@$digest" "$files/$file"
    done
    npm sbom --sbom-format cyclonedx --omit dev > "$draft/npm.cdx.json"
    node deploy/image/sbom.mjs < "$draft/npm.cdx.json" > "$files/sbom.cdx.json"
    cd "$files"
    rm -f SHA256SUMS
    sha256sum -- * > "$draft/SHA256SUMS"
    mv "$draft/SHA256SUMS" .
    ;;
  *) usage ;;
esac
