# Two images of one source: `train` holds everything, `serve` predicts and has no torch.
# In each, the packages are a layer below the source, so a change of the source installs none of them.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm
FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 1000 --create-home distill && install --directory --owner distill /data
WORKDIR /app
COPY pyproject.toml ./
# Without its source, the project is its dependencies.
RUN touch README.md LICENSE

FROM base AS train
# A smaller image: --build-arg PIP_EXTRA_INDEX_URL=<the index of torch's CPU builds>.
ARG PIP_EXTRA_INDEX_URL
# Version of the server. docker-compose.yml sets both.
ARG PREFECT_VERSION=3.9.1
RUN pip install ".[demo,compose]" "prefect==${PREFECT_VERSION}"
COPY README.md LICENSE prefect.yaml ./
COPY configs configs
COPY adapter_distill adapter_distill
COPY models models
COPY pipeline pipeline
COPY flows flows
# Editable: prefect.yaml and the configs are found beside the packages.
RUN pip install --no-deps --editable .
USER distill
VOLUME /data

FROM base AS serve
# Only what prediction imports; the project itself without the dependencies of training.
RUN pip install "onnxruntime>=1.22" "tokenizers>=0.22" "numpy>=2.0" "pydantic>=2.11" \
    "pyarrow>=18" "scipy>=1.14" "filelock>=3.15" "safetensors>=0.5" "tqdm>=4.66" "psutil>=5.9" \
    "typer>=0.15" "rich>=13.9" "mlflow-skinny>=3.4,<4" "kserve>=0.21,<0.22"
COPY README.md LICENSE ./
COPY adapter_distill adapter_distill
COPY models models
COPY pipeline pipeline
COPY flows flows
RUN pip install --no-deps .
USER distill
