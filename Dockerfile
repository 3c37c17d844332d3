# The daemon in an image without a shell's help: docker build -t state-sidecar .
# Both stages share one base, so that the virtual environment finds the Python it was made with. For a base without a
# shell (its Python at the same path), give RUNTIME_BASE as well.
ARG BASE=python:3.11-slim
ARG RUNTIME_BASE=${BASE}

FROM ${BASE} AS build
WORKDIR /src
# Versions first: this layer is rebuilt only when a requirement changes. Wheels only, each with its known hash.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --no-cache-dir --only-binary=:all: --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /opt/state-sidecar \
 && /opt/build/bin/python -m pip --python /opt/state-sidecar/bin/python install \
      --no-cache-dir --only-binary=:all: --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY clients/python clients/python
COPY sidecar sidecar
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . ./clients/python \
 && /opt/build/bin/python -m pip --python /opt/state-sidecar/bin/python install --no-cache-dir --no-deps /wheels/*.whl \
 && mkdir -m 0750 /data

FROM ${RUNTIME_BASE}
COPY --from=build /opt/state-sidecar /opt/state-sidecar
# State lives in a volume; everything else may be read-only.
COPY --from=build --chown=10001:10001 /data /data
VOLUME ["/data"]
WORKDIR /data
ENV PATH=/opt/state-sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_SIDECAR_DATA_DIR=/data
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/state-sidecar/bin/state-sidecar"]
CMD ["serve"]
