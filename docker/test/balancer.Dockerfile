ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends haproxy \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
