# The container image: rolegate, and what it needs to resolve names and to trust public CAs. It has no shell, no package manager and no user
# database.
#
#   docker build --tag rolegate:VERSION .
#
# To build only the last stage, from a root file system that image/root.sh created in DIR, as the tests do (no image is pulled):
#
#   buildah build --build-context root=DIR --tag rolegate:test .

# For a release, replace the tag by the digest that the registry reports for it at that time (docker buildx imagetools inspect TAG), and
# build the image from that commit. A digest must never be copied from elsewhere.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# `rolegate --version` prints it.
ARG REVISION=
RUN ROLEGATE_COMMIT="$REVISION" cargo build --locked --release --bin rolegate
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
# A numeric user, so that Kubernetes can verify `runAsNonRoot`.
USER 65532:65532
# Reviews over HTTPS; probes and metrics.
EXPOSE 8443 8080
ENTRYPOINT ["/rolegate"]
