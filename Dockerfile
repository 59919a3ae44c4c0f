# Two images from one file: `pipeline` runs the steps in a cluster, `serve` answers pictures.
#   docker build --target pipeline -t imageloop-pipeline .
#   docker build --target serve -t imageloop-serve .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS installer
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy PIP_DISABLE_PIP_VERSION_CHECK=1
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app

FROM installer AS pipeline-environment
COPY requirements/pipeline.txt .
RUN uv venv /app/.venv && VIRTUAL_ENV=/app/.venv uv pip sync --require-hashes --no-cache pipeline.txt

FROM installer AS serve-environment
COPY requirements/serving.txt .
RUN uv venv /app/.venv && VIRTUAL_ENV=/app/.venv uv pip sync --require-hashes --no-cache serving.txt

FROM ${BASE} AS pipeline
RUN useradd --create-home --uid 10001 imageloop
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 IMAGELOOP_HOME=/home/imageloop
WORKDIR /app
COPY --from=pipeline-environment /app/.venv /app/.venv
COPY run.py ./
COPY classifier classifier/
COPY adapters adapters/
COPY configs configs/
COPY materializers materializers/
COPY operations operations/
COPY pipelines pipelines/
COPY records records/
COPY seldon seldon/
COPY steps steps/
USER 10001
ENTRYPOINT ["python", "run.py"]

FROM ${BASE} AS serve
RUN useradd --no-create-home --uid 10001 imageloop
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONPATH=/app
WORKDIR /app
COPY --from=serve-environment /app/.venv /app/.venv
COPY classifier classifier/
COPY records records/
COPY seldon seldon/
USER 10001
ENV IMAGELOOP_BIND=0.0.0.0
EXPOSE 9000
CMD ["python", "-m", "seldon.launcher"]
