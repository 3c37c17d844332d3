# The daemon in an image without a shell's help: docker build -t state-sidecar:0.1.0 . (docs/image.md)
# Give the bases by digest. The final one needs the Python of the first at the same path, and nothing else: no shell, no pip.
ARG BASE=python:3.11-slim
ARG RUNTIME_BASE=${BASE}

FROM ${BASE} AS build
# The times of files in wheels. With a builder that sets those of its layers, the same sources are the same image.
ARG SOURCE_DATE_EPOCH=315532800
# Where packages come from, as pip reads it: a mirror, or a folder of wheels without a network.
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONHASHSEED=0
WORKDIR /src
# Versions first: this layer is rebuilt only when a requirement changes. Wheels only, each with its known hash.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python3 -m venv /opt/build \
 && /opt/build/bin/python -m pip install --require-hashes -r requirements/build.txt \
 && python3 -m venv --without-pip /opt/state-sidecar \
 && /opt/build/bin/python -m pip --python /opt/state-sidecar/bin/python install --require-hashes -r requirements/runtime.txt
COPY LICENSE README.md pyproject.toml ./
COPY clients/python clients/python
COPY sidecar sidecar
COPY tools/sbom.py tools/
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . ./clients/python \
 && /opt/build/bin/python -m pip --python /opt/state-sidecar/bin/python install --no-deps /wheels/*.whl \
 && python3 tools/sbom.py /opt/state-sidecar \
 && mkdir -m 0750 /data
# The root is read-only: without byte code from here, each start would compile what it imports, Python's own library, too.
# The environment is never changed, so its byte code is not compared with its source; Python's is, as its base may be another.
RUN export PYTHONPYCACHEPREFIX=/opt/state-sidecar/pycache \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/state-sidecar/lib \
 && python3 -m compileall -q --invalidation-mode checked-hash -x '/(test|idlelib|lib2to3|ensurepip|(site|dist)-packages)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

FROM ${RUNTIME_BASE}
LABEL org.opencontainers.image.title="state-sidecar" \
      org.opencontainers.image.description="A gRPC daemon that runs beside each model-serving pod and gives it memory" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      state-sidecar.sbom="/opt/state-sidecar/sbom.cdx.json"
COPY --from=build /opt/state-sidecar /opt/state-sidecar
# State lives in a volume; everything else may be read-only.
COPY --from=build --chown=10001:10001 /data /data
VOLUME ["/data"]
WORKDIR /data
ENV PATH=/opt/state-sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/state-sidecar/pycache \
    STATE_SIDECAR_DATA_DIR=/data
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/state-sidecar/bin/state-sidecar"]
CMD ["serve"]
