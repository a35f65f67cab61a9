# For hosts with an NVIDIA GPU: the same server with ONNX Runtime's build for CUDA. From the repository root:
#
#   docker build -f docker/cuda.Dockerfile -t emo-serve:1.0.0-cuda .
#   docker run --gpus all -p 127.0.0.1:8000:8000 emo-serve:1.0.0-cuda
#
# CUDA itself comes with NVIDIA's packages for Python; the host has the driver and NVIDIA's container toolkit. Where the
# GPU cannot be had the container ends and says why. It has not been run on a GPU.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---- build -----------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/cuda.txt requirements/
# Everything as in the other image but for the package onnxruntime.
RUN --mount=type=cache,target=/root/.cache/pip \
    sed '/^onnxruntime==/,/[^\\]$/d' requirements/runtime.txt >requirements/rest.txt \
    && python -m pip install --require-hashes --no-deps -r requirements/build.txt \
    && python -m venv --without-pip /opt/venv \
    && for lock in rest cuda; do \
         python -m pip --python /opt/venv/bin/python install --no-compile --require-hashes --no-deps --only-binary :all: \
           -r "requirements/$lock.txt" || exit 1; \
       done
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m pip --python /opt/venv/bin/python install --no-compile --no-deps /wheels/*.whl \
    && rm /opt/venv/bin/emo
RUN PYTHONPYCACHEPREFIX=/opt/bytecode /opt/venv/bin/python -c 'import emo_serve.__main__, emo_serve.process.server, emo_serve.engine.tuning.command'

# ---- the image -------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
ARG VERSION=1.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="emo-serve" \
      org.opencontainers.image.description="An HTTP server for image classifiers and object detectors of the EMO family, on CUDA" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:${PATH} PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 XDG_CACHE_HOME=/tmp/.cache MALLOC_ARENA_MAX=2 \
    EMO_HOST=0.0.0.0 EMO_MODELS=/models EMO_SESSION__PROVIDER=cuda
# What the container toolkit is to bring in from the host's driver.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build /opt /opt
COPY models /models
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os; from urllib.request import urlopen; port = os.environ.get('EMO_PORT') or os.environ.get('PORT', ''); urlopen(f'http://127.0.0.1:{port if port.isdigit() else 8000}/readyz', timeout=4)"]
# Settings and no options, so that `docker run IMAGE serve` and `docker run IMAGE tune` find the same.
ENTRYPOINT ["emo-serve"]
CMD ["serve"]
