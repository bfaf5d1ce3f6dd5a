# LGEU-ReID on GPUs of desktops and data centres: TensorRT 11.1, CUDA 13.3, Python 3.12. It builds and runs engines;
# training and export need torch and are done elsewhere. How it is used: docs/deploy.md.
#
#   docker build --tag lgeu-reid .
#   docker build --target test .        the tests that need no GPU, in the image
ARG TENSORRT_IMAGE=nvcr.io/nvidia/tensorrt:26.07-py3
# Versions of the Python packages; empty for an image with Python 3.10 or CUDA 12, which takes others.
ARG CONSTRAINTS=constraints.txt
FROM ${TENSORRT_IMAGE} AS installed

# The release of the base image fixes the versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/lgeu-reid

# The plugin first: it changes less often than the Python around it. GPUs to compile for, e.g. "89;90"; empty: all.
ARG STRIP_GATE_ARCHITECTURES=
COPY engines/plugin engines/plugin
COPY scripts/install.sh scripts/build_plugin.sh scripts/fetch_tensorrt_headers.sh scripts/
RUN scripts/install.sh --architectures "${STRIP_GATE_ARCHITECTURES}" plugin

# TensorRT's own Python package is the image's, which the virtual environment sees.
ENV PATH=/opt/venv/bin:${PATH}
COPY . .
ARG CONSTRAINTS
RUN --mount=type=cache,target=/root/.cache/pip \
    scripts/install.sh --venv /opt/venv --constraints "${CONSTRAINTS}" packages check

FROM installed AS test
ARG CONSTRAINTS
RUN --mount=type=cache,target=/root/.cache/pip \
    scripts/install.sh --venv /opt/venv --constraints "${CONSTRAINTS}" test

FROM installed
ARG TENSORRT_IMAGE
LABEL org.opencontainers.image.title="LGEU-ReID" \
      org.opencontainers.image.description="Person re-identification with TensorRT: builds and runs engines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${TENSORRT_IMAGE}"
# Compiled kernels and fonts are kept where any user may write, so that `docker run --user` works.
ENV XDG_CACHE_HOME=/tmp/cache \
    XDG_CONFIG_HOME=/tmp/config
RUN useradd --create-home --uid 10001 --groups video lgeu \
    && install --directory --owner=lgeu --group=lgeu /data
USER 10001
# Models, images and results are mounted here.
WORKDIR /data
VOLUME /data
CMD ["lgeu", "--help"]
