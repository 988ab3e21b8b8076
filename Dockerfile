# The image of the agent and the init container. /usr/lib/langflow-leader contains node with its libraries, a static tini and the
# bundled program. The agent also needs mkfifo. There is no shell and no package manager. `install` copies that directory to a
# volume. As an alternative, an image volume (subPath usr/lib/langflow-leader) can be mounted in the same place.

# Equal for all platforms.
FROM --platform=$BUILDPLATFORM docker.io/library/node:24-bookworm-slim AS bundle
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY agent ./agent
COPY deploy/bundle ./deploy/bundle
# Also started by name: kubectl exec POD -c agent -- langflow-leader status --url http://127.0.0.1:8090.
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
# Check that the program starts.
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
