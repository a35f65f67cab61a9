ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---- build: everything that serving needs, in one folder -------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# For the build alone: Debian's present version will do.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# `--build-arg EXTRA=grpc` brings the Open Inference Protocol over gRPC (docs/protocols.md), EXTRA=ray batch on many machines.
ARG EXTRA=
COPY requirements/build.txt requirements/runtime.txt requirements/grpc.txt requirements/ray.txt requirements/
# The environment itself gets no pip and no setuptools: nothing that installs travels along.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --require-hashes --no-deps -r requirements/build.txt \
    && python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --no-compile --require-hashes --no-deps --only-binary :all: \
       -r requirements/runtime.txt ${EXTRA:+-r requirements/${EXTRA}.txt}
COPY pyproject.toml README.md LICENSE ./
COPY app app
# The PyTorch side is not in this image, and so neither is its command.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m pip --python /opt/venv/bin/python install --no-compile --no-deps /wheels/*.whl \
    && rm /opt/venv/bin/emo
# What the server never loads: ONNX Runtime once more, for programs in C (the module for Python holds its own), its tools
# and protobuf, which only they import; tests and modules for them, stubs, sources and what only a debugger or linker reads.
# Licences and notices stay.
# hadolint ignore=DL3003
RUN cd /opt/venv/lib/python3*/site-packages \
    && rm -r onnxruntime/capi/libonnxruntime.so.* onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
       numpy/_core/include numpy/distutils numpy/f2py \
    && if [ -z "${EXTRA}" ]; then rm -r google; fi \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && rm numpy/_core/_simd.*.so numpy/_core/*_tests.*.so \
    && find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' \) -delete \
    && strip --strip-debug uvloop/*.so httptools/parser/*.so PIL/*.so \
    && strip --strip-unneeded numpy/_core/*.so numpy/random/*.so
# Bytecode of what is loaded, the standard library's too, which the base image comes without.
RUN PYTHONPYCACHEPREFIX=/opt/bytecode /opt/venv/bin/python -c 'import emo_serve.__main__, emo_serve.process.server, emo_serve.process.worker, emo_serve.engine.tuning.command'

# ---- the image --------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
ARG VERSION=1.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="emo-serve" \
      org.opencontainers.image.description="An HTTP server for image classifiers and object detectors of the EMO family" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:${PATH} PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 EMO_HOST=0.0.0.0 EMO_MODELS=/models
# Several containers that start on one machine would disturb each other's measurements and be ready seconds later.
ENV EMO_TUNE=false XDG_CACHE_HOME=/tmp/.cache
# Threads share two arenas of the C library; else each of them keeps freed pages for itself.
ENV MALLOC_ARENA_MAX=2
COPY --from=build /opt /opt
COPY models /models
# A number, so that an orchestrator can see that it is not root; nothing is written outside /tmp.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os; from urllib.request import urlopen; port = os.environ.get('EMO_PORT') or os.environ.get('PORT', ''); urlopen(f'http://127.0.0.1:{port if port.isdigit() else 8000}/readyz', timeout=4)"]
# Settings and no options, so that `docker run IMAGE serve` and `docker run IMAGE tune` find the same.
ENTRYPOINT ["emo-serve"]
CMD ["serve"]
