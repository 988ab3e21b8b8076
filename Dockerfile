# The image of agent and init container: node, a static tini, and the one bundled file.
FROM docker.io/library/node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY agent ./agent
COPY deploy/bundle ./deploy/bundle
RUN node deploy/bundle/build.mjs

FROM docker.io/library/node:24-bookworm-slim AS tini
RUN apt-get update && apt-get install -y --no-install-recommends tini

FROM docker.io/library/node:24-bookworm-slim
LABEL org.opencontainers.image.title="langflow-leader" \
      org.opencontainers.image.description="Keeps exactly one LangFlow acting on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=tini /usr/bin/tini-static /usr/local/bin/tini-static
COPY --from=build /src/dist/langflow-leader.mjs /opt/langflow-leader.mjs
COPY LICENSE /LICENSE
ENV NODE_ENV=production
USER 1000:1000
ENTRYPOINT ["/usr/local/bin/tini-static", "--", "node", "/opt/langflow-leader.mjs"]
CMD ["agent"]
