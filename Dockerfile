# The container image: rolegate, what it needs to resolve names and to trust public CAs, and nothing else: no shell, no
# package manager, no user database.
#
#   docker build --tag rolegate:VERSION .
#
# The last stage alone, around a root that image/root.sh laid out in DIR (no image is pulled; this is what the tests do):
#
#   buildah build --build-context root=DIR --tag rolegate:test .

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin rolegate
RUN image/root.sh target/release/rolegate /image

FROM scratch AS root
COPY --from=build /image /

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="rolegate" \
      org.opencontainers.image.description="Kubernetes admission webhook that gives pods their AWS identity and refuses pods whose IAM role does not trust them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=root / /
# A number, so that Kubernetes can see for `runAsNonRoot` that it is not root.
USER 65532:65532
# Reviews over HTTPS; probes and metrics.
EXPOSE 8443 8080
ENTRYPOINT ["/rolegate"]
