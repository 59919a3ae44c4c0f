# Images from one file: `pipeline` runs the steps in a cluster, `serve` runs the prediction service, `serve-v2` MLServer (Open Inference Protocol).
#   docker build --target serve -t imageloop-serve .
#   docker build --target serve --build-arg ACCELERATOR=gpu -t imageloop-serve-gpu .
#   docker build --target pipeline -t imageloop-pipeline .
#checkov:skip=CKV_DOCKER_7:the base is named by its digest, in BASE
# What is in them by name and hash: requirements/*.txt, and the base by its digest. Two builds of one commit hold the same files.
ARG BASE=python:3.12-slim-bookworm@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254

FROM ${BASE} AS installer
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# PYTHONHASHSEED: the order in which sets are written into compiled files
ENV UV_LINK_MODE=copy PIP_DISABLE_PIP_VERSION_CHECK=1 UV_PYTHON_DOWNLOADS=never PYTHONHASHSEED=0
RUN python -m pip install --no-cache-dir uv==0.13.9
WORKDIR /app

FROM installer AS serve-environment
# Gunicorn's parser is compiled; the compiler stays in this stage. -g0: debug information would name the folder of the build.
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV CFLAGS=-g0
# ACCELERATOR=gpu: ONNX Runtime with CUDA and its libraries, some 3 GB more
ARG ACCELERATOR=
COPY requirements/serving${ACCELERATOR:+-$ACCELERATOR}.txt /tmp/serving.txt
RUN uv venv /app/.venv && VIRTUAL_ENV=/app/.venv uv pip sync --require-hashes --no-cache /tmp/serving.txt
COPY imageloop/*.py imageloop/
COPY imageloop/data imageloop/data/
COPY imageloop/embeddings imageloop/embeddings/
COPY imageloop/model imageloop/model/
COPY imageloop/records imageloop/records/
COPY seldon/__init__.py seldon/launcher.py seldon/microservice.py seldon/graph_units.py seldon/
COPY seldon/service seldon/service/
COPY seldon/web seldon/web/
# Compiled one after the other and by hash: by several processes, or with the time of their making, files would differ from build to build.
RUN python -m compileall -q --invalidation-mode unchecked-hash .

# The package comes by mount (/mnt/models, where Seldon's storage initializer puts what modelUri names), the key that verifies it too.
# Nothing is written but /tmp: run it with a read-only root and a tmpfs there.
FROM ${BASE} AS serve
ARG VERSION=0.0.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="ImageLoop service" org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${COMMIT}"
COPY --from=serve-environment /app /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONPATH=/app HOME=/tmp IMAGELOOP_BIND=0.0.0.0 NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    IMAGELOOP_VERIFICATION_KEY=/mnt/keys/signing.pub
WORKDIR /app
USER 10001
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9000/health/status', timeout=2)"]
CMD ["python", "-m", "seldon.launcher"]

# The same package behind MLServer and the Open Inference Protocol: `python run.py render --as kserve` names this one.
FROM installer AS v2-environment
COPY requirements/mlserver.txt /tmp/
RUN uv venv /app/.venv && VIRTUAL_ENV=/app/.venv uv pip sync --require-hashes --no-cache /tmp/mlserver.txt
COPY imageloop/*.py imageloop/
COPY imageloop/data imageloop/data/
COPY imageloop/embeddings imageloop/embeddings/
COPY imageloop/model imageloop/model/
COPY seldon/__init__.py seldon/v2_runtime.py seldon/
COPY seldon/service seldon/service/
RUN python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${BASE} AS serve-v2
ARG VERSION=0.0.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="ImageLoop service, protocol V2" org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${COMMIT}"
COPY --from=v2-environment /app /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONPATH=/app HOME=/tmp IMAGELOOP_VERIFICATION_KEY=/mnt/keys/signing.pub
WORKDIR /tmp
USER 10001
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9000/v2/health/ready', timeout=2)"]
CMD ["mlserver", "start", "/mnt/models"]

FROM installer AS pipeline-environment
# `make lock-cpu` makes a lock without CUDA's libraries: --build-arg TORCH_BACKEND=cpu
ARG TORCH_BACKEND=
COPY requirements/pipeline${TORCH_BACKEND:+-$TORCH_BACKEND}.txt /tmp/pipeline.txt
RUN uv venv /app/.venv && \
    VIRTUAL_ENV=/app/.venv uv pip sync --require-hashes --no-cache ${TORCH_BACKEND:+--torch-backend "$TORCH_BACKEND"} /tmp/pipeline.txt
COPY run.py ./
COPY classifier.py ./
COPY cli cli/
COPY imageloop imageloop/
COPY configs configs/
COPY materializers materializers/
COPY operations operations/
COPY pipelines pipelines/
COPY seldon seldon/
COPY steps steps/
RUN python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${BASE} AS pipeline
ARG VERSION=0.0.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="ImageLoop pipeline" org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${COMMIT}"
# By hand: useradd would write the day of the build.
RUN echo 'imageloop:x:10001:10001::/home/imageloop:/usr/sbin/nologin' >>/etc/passwd && \
    echo 'imageloop:x:10001:' >>/etc/group && install -d -o 10001 -g 10001 /home/imageloop
COPY --from=pipeline-environment /app /app
# DVC would write to /var/tmp, and the root may be read-only. ZenML's entry point loads PyTorch before our own code can set how threads wait.
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 IMAGELOOP_HOME=/home/imageloop DVC_SITE_CACHE_DIR=/tmp/dvc OMP_WAIT_POLICY=PASSIVE \
    IMAGELOOP_COMMIT=${COMMIT}
WORKDIR /app
USER 10001
ENTRYPOINT ["python", "run.py"]

# All of a site but its servers, for compose.yaml: the monitor, and the local cluster whose replicas have an environment of their own.
FROM pipeline AS site
COPY --from=serve-environment /app/.venv /app/.venv-serving
COPY requirements/serving.txt requirements/
COPY stacks stacks/
COPY deploy/observability deploy/observability/
COPY deploy/compose deploy/compose/
ENV ZENML_CONFIG_PATH=/home/imageloop/.zenml ZENML_REPOSITORY_PATH=/home/imageloop/repository ZENML_CUSTOM_SOURCE_ROOT=/app \
    ZENML_ANALYTICS_OPT_IN=false PYTHONPATH=/app
ENTRYPOINT ["deploy/compose/start.sh"]
