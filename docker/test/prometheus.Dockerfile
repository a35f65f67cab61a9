ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
# For tests: Debian's present version will do.
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 /prometheus
USER 10001:10001
CMD ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
