#!/bin/sh
# Gray release: staging follows the branch, production follows the tag `production`. Waits until staging has the flows of this
# commit, tests them there, and moves the tag. Run it in a clone, on the commit to release.
set -eu
trap '[ $? = 0 ] || echo "release.sh has failed: production is unchanged" >&2' EXIT
# The smoke test would use this address instead of staging's.
unset LANGFLOW_URL
[ -z "$(git status --porcelain flows)" ] || { echo "flows/ has changes that are not committed" >&2; exit 1; }

# lfx status fails unless staging has each flow as it is in flows/.
for attempt in $(seq 24); do
  lfx status --env staging && break
  sleep 5
done
pytest tests --langflow-env staging
lfx status --env staging # staging has not moved on in the meantime

release=release-$(date -u +%Y%m%d-%H%M%S)
git push --atomic origin "HEAD:refs/tags/$release" +HEAD:refs/tags/production
echo "$release is in production"
