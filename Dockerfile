# Targets: worker-cpu, worker-gpu, trainer.
#
#   docker build --target worker-cpu -t sluice:0.1.0-cpu .
#
# PYTHON_IMAGE takes a tag or name@sha256:...; `docker buildx imagetools inspect python:3.11-slim-bookworm`
# prints the digest that pins it. It has to be a Debian with Python 3.11 to 3.13 and pip.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What every image runs on: an init that reaps decoder processes, a user without rights.
FROM ${PYTHON_IMAGE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sluice

FROM base AS runtime
ENV PATH=/opt/sluice/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["/usr/bin/tini", "--", "sluice"]

# An empty environment that the base's pip fills: the result has no pip of its own.
FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv --without-pip /opt/sluice

# Our code, in an environment of its own that is laid over that of the dependencies: both lie in /opt/sluice,
# and a change of code makes only this layer anew.
FROM build AS code
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY models models
COPY trainer trainer
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/sluice/bin/python install --quiet --no-deps .

# ONNX Runtime names sympy for a tool that shapes models by hand; serving does without its 80 MB.
FROM build AS packages-cpu
COPY requirements/image-cpu.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/sluice/bin/python install --quiet --require-hashes -r image-cpu.txt \
    && python3 -m pip --python /opt/sluice/bin/python uninstall --quiet --yes sympy mpmath

# CUDA and cuDNN come as wheels: only the libraries that the provider links, where a CUDA runtime base also
# brings NPP, NCCL, cuSPARSE and cuSOLVER. TENSORRT_PACKAGE, for example tensorrt-cu13-libs==10.13.*, adds TensorRT.
FROM build AS packages-gpu
ARG TENSORRT_PACKAGE=
COPY requirements/image-gpu.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/sluice/bin/python install --quiet --require-hashes -r image-gpu.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "$TENSORRT_PACKAGE" ]; then \
    python3 -m pip --python /opt/sluice/bin/python install --quiet "$TENSORRT_PACKAGE"; fi
# A path without the version of Python, for LD_LIBRARY_PATH.
RUN ln -s /opt/sluice/lib/python3.*/site-packages /opt/sluice/site-packages

FROM build AS packages-trainer
# An index for torch, for example https://download.pytorch.org/whl/cpu; empty: pip's own, with CUDA.
ARG TORCH_INDEX=
COPY requirements/torch.txt requirements/image-trainer.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/sluice/bin/python install --quiet \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r torch.txt \
    && python3 -m pip --python /opt/sluice/bin/python install --quiet --require-hashes -r image-trainer.txt

FROM runtime AS worker-cpu
COPY --from=packages-cpu /opt/sluice /opt/sluice
COPY --from=code /opt/sluice /opt/sluice
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sluice worker (cpu)" \
    org.opencontainers.image.description="Streaming video moderation: Kafka in, verdicts out. ONNX Runtime with OpenVINO." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
EXPOSE 9464
CMD ["worker"]

FROM runtime AS worker-gpu
COPY --from=packages-gpu /opt/sluice /opt/sluice
COPY --from=code /opt/sluice /opt/sluice
ENV LD_LIBRARY_PATH=/opt/sluice/site-packages/nvidia/cu13/lib:/opt/sluice/site-packages/nvidia/cudnn/lib:/opt/sluice/site-packages/tensorrt_libs \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SLUICE_INFERENCE__PROVIDER=cuda
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sluice worker (gpu)" \
    org.opencontainers.image.description="Streaming video moderation: Kafka in, verdicts out. ONNX Runtime with CUDA 13 and cuDNN 9." \
    org.opencontainers.image.licenses="Apache-2.0 AND LicenseRef-NVIDIA-CUDA-EULA" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
EXPOSE 9464
CMD ["worker"]

FROM runtime AS trainer
COPY --from=packages-trainer /opt/sluice /opt/sluice
COPY --from=code /opt/sluice /opt/sluice
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sluice trainer" \
    org.opencontainers.image.description="Trains, measures and exports Sluice's models." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
CMD ["train", "--help"]
