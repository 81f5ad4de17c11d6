FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source

# The service's environment has no pip of its own: the build's pip fills it from outside.
COPY requirements/serve.txt requirements/build.txt requirements/
RUN python -m venv --without-pip /opt/ser \
 && python -m pip --python /opt/ser/bin/python install --require-hashes -r requirements/serve.txt \
 && python -m pip install --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY api api
COPY ser_core ser_core
COPY models/default models/default
# Not in the image: LiteRT's accelerator for GPUs, the packages' own tests and type stubs.
RUN python -m hatchling build -t wheel \
 && python -m pip --python /opt/ser/bin/python install --no-deps --no-index dist/*.whl \
 && find /opt/ser -name libLiteRtWebGpuAccelerator.so -delete \
 && find /opt/ser -type d -name tests -prune -exec rm -rf {} + \
 && find /opt/ser -name '*.pyi' -delete


FROM python:3.12-slim
COPY --from=build /opt/ser /opt/ser
ENV PATH=/opt/ser/bin:$PATH HOST=0.0.0.0 PORT=8000 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
USER 10001:10001
WORKDIR /tmp
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import os, http.client; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["ser"]
CMD ["serve"]
