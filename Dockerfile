# Two targets, on linux/amd64 and linux/arm64:
#   service  the default: what serves, and nothing more
#   lab      TensorFlow and librosa as well: train, evaluate, export, or serve by TensorFlow
ARG PYTHON=3.12.12-slim-bookworm

FROM python:${PYTHON} AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source


FROM base AS wheel
COPY requirements/build.txt requirements/
RUN python -m pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY api api
COPY ser_core ser_core
COPY models/default models/default
RUN python -m hatchling build -t wheel


# The environments have no pip of their own: the base's pip fills them from outside.
FROM base AS service-environment
COPY requirements/serve.txt requirements/
RUN python -m venv --without-pip /opt/ser \
 && python -m pip --python /opt/ser/bin/python install --require-hashes -r requirements/serve.txt
COPY --from=wheel /source/dist dist
# Not in the image: LiteRT's accelerator for GPUs, the packages' own tests and type stubs.
RUN python -m pip --python /opt/ser/bin/python install --no-deps --no-index dist/*.whl \
 && find /opt/ser -name libLiteRtWebGpuAccelerator.so -delete \
 && find /opt/ser -type d -name tests -prune -exec rm -rf {} + \
 && find /opt/ser -name '*.pyi' -delete


FROM base AS lab-environment
# On arm64 one package has no wheel and is compiled; the compiler stays behind in this stage.
# hadolint ignore=DL3008
RUN if [ "$(uname -m)" = aarch64 ]; then \
      apt-get update \
      && apt-get install -y --no-install-recommends g++ \
      && rm -rf /var/lib/apt/lists/*; \
    fi
COPY requirements/train.txt requirements/
RUN python -m venv --without-pip /opt/ser \
 && python -m pip --python /opt/ser/bin/python install --require-hashes -r requirements/train.txt
COPY --from=wheel /source/dist dist
RUN python -m pip --python /opt/ser/bin/python install --no-deps --no-index dist/*.whl


FROM python:${PYTHON} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ser-service" \
      org.opencontainers.image.description="Speech emotion recognition as a REST service" \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-NC-SA-4.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/ser/bin:$PATH HOME=/tmp HOST=0.0.0.0 PORT=8000 \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
USER 10001:10001
WORKDIR /tmp
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import os, http.client; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["ser"]
CMD ["serve"]


FROM runtime AS lab
COPY --from=lab-environment /opt/ser /opt/ser
ENV SER_RUNTIME=tensorflow TF_CPP_MIN_LOG_LEVEL=2 NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib
# Where data and models are mounted: -v "$PWD:/work"
WORKDIR /work


FROM runtime AS service
COPY --from=service-environment /opt/ser /opt/ser
