# The image of agent and init container: node, a static tini and the one bundled file in /usr/lib/langflow-leader, with the
# libraries that node needs; and mkfifo for the agent. No shell, no package manager. `install` copies the first directory to any
# other; an image volume of it (subPath usr/lib/langflow-leader) is mounted in the same place.

# The same for every platform.
FROM --platform=$BUILDPLATFORM docker.io/library/node:24-bookworm-slim AS bundle
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY agent ./agent
COPY deploy/bundle ./deploy/bundle
# Also started by name: kubectl exec POD -c agent -- langflow-leader status.
RUN node deploy/bundle/build.mjs /image/usr/lib/langflow-leader/langflow-leader.mjs \
 && sed -i '1s|.*|#!/usr/lib/langflow-leader/node|' /image/usr/lib/langflow-leader/langflow-leader.mjs \
 && mkdir -p /image/usr/local/bin \
 && ln -s /usr/lib/langflow-leader/langflow-leader.mjs /image/usr/local/bin/langflow-leader
RUN npm sbom --sbom-format cyclonedx --omit dev > npm.cdx.json

FROM docker.io/library/node:24-bookworm-slim AS programs
RUN apt-get update && apt-get install -y --no-install-recommends binutils patchelf tini
COPY deploy/image /src
RUN sh /src/collect.sh /image
COPY --from=bundle /src/npm.cdx.json /src/
RUN mkdir -p /image/usr/share/langflow-leader \
 && node /src/sbom.mjs /image < /src/npm.cdx.json > /image/usr/share/langflow-leader/sbom.cdx.json
# Does what was put together start?
COPY --from=bundle /image/ /image/
RUN ln -s /image/usr/lib/langflow-leader /usr/lib/langflow-leader \
 && /usr/lib/langflow-leader/tini -s -- /image/usr/local/bin/langflow-leader --version

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="langflow-leader" \
      org.opencontainers.image.description="Keeps exactly one LangFlow acting on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=programs /image/ /
COPY LICENSE /LICENSE
ENV NODE_ENV=production PATH=/usr/local/bin:/usr/lib/langflow-leader:/usr/libexec/langflow-leader
USER 1000:1000
ENTRYPOINT ["/usr/lib/langflow-leader/tini", "--", "/usr/lib/langflow-leader/node", "--disable-sigusr1", "/usr/lib/langflow-leader/langflow-leader.mjs"]
CMD ["agent"]
