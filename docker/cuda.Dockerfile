# For hosts with an NVIDIA GPU: the same image on CUDA, with ONNX Runtime's build for it. Build from the repository root:
#
#   docker build -f docker/cuda.Dockerfile -t emo-serve:0.1.0-cuda .
#
# This file is linted and no more: it has not been built or run. The session still asks for the CPU provider alone
# (app/engine/session.py, which names it), so until it asks for CUDA's this image computes on the CPU.

ARG CUDA_IMAGE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04

# ---- build -----------------------------------------------------------------------------------------------------------
FROM ${CUDA_IMAGE} AS build
# The distribution's present Python; the image is rebuilt for its updates.
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
# ONNX Runtime comes apart, by version: its build for CUDA is a package of another name, which the lock does not hold.
ARG ONNXRUNTIME_GPU=1.31.1
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/python -m pip install --require-hashes --no-deps -r requirements/build.txt \
    && python3 -m venv --without-pip /opt/venv \
    && sed '/^onnxruntime==/,/[^\\]$/d' requirements/runtime.txt >requirements/cuda.txt \
    && /opt/tools/bin/python -m pip --python /opt/venv/bin/python install --no-compile --require-hashes --no-deps \
       --only-binary :all: -r requirements/cuda.txt \
    && /opt/tools/bin/python -m pip --python /opt/venv/bin/python install --no-compile --no-deps --only-binary :all: \
       "onnxruntime-gpu==${ONNXRUNTIME_GPU}"
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN /opt/tools/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/tools/bin/python -m pip --python /opt/venv/bin/python install --no-compile --no-deps /wheels/*.whl \
    && rm /opt/venv/bin/emo \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib

# ---- the image -------------------------------------------------------------------------------------------------------
FROM ${CUDA_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="emo-serve" \
      org.opencontainers.image.description="An HTTP server for image classifiers and object detectors of the EMO family, on CUDA" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
# One process: each worker would hold the models in the GPU's memory once more.
ENV PATH=/opt/venv/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 EMO_WORKERS=1 XDG_CACHE_HOME=/tmp/.cache
COPY --from=build /opt/venv /opt/venv
COPY models /models
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["emo-serve", "serve", "--host", "0.0.0.0", "--port", "8000", "--models", "/models"]
