#!/usr/bin/env bash
# attest-sbom.sh IMAGE DIGEST: attests in the registry the bill of materials that each platform's image contains. Needs docker
# with buildx, jq, and a cosign with the right to sign.
set -euo pipefail
image=$1
digest=$2
bill=$(mktemp)
trap 'rm -f "$bill"' EXIT

# The index also contains buildx's own attestations, with the platform "unknown".
platforms=$(docker buildx imagetools inspect --raw "$image@$digest" |
  jq -r '.manifests[] | select(.platform.os != "unknown") | "\(.digest) \(.platform.os)/\(.platform.architecture)"')
[ -n "$platforms" ] || { echo "$image@$digest names no platform" >&2; exit 1; }

while read -r one platform; do
  container=$(docker create --quiet --platform "$platform" "$image@$one")
  docker cp --quiet "$container:/usr/share/langflow-leader/sbom.cdx.json" "$bill"
  docker rm "$container" > /dev/null
  cosign attest --yes --type cyclonedx --predicate "$bill" "$image@$one"
done <<< "$platforms"
