ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
# For tests: Debian's present versions will do.
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends haproxy nginx-light \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
CMD ["false"]
