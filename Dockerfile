# The studio in two images, `--target web` for the page and `--target worker` for what trains and serves;
# `make install` does the work, as on any machine. For NVIDIA cards give the worker --build-arg BACKEND=cuda.
FROM python:3.11-slim-bookworm AS base

# vLLM and torch compile kernels when they first run, so a compiler stays in the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home studio \
    && install -d -o studio -m 700 /data

WORKDIR /studio
COPY pyproject.toml constraints.txt Makefile README.md ./
COPY prolora prolora
ENV PATH=/studio/.venv/bin:$PATH PYTHONPATH=/studio PYTHONUNBUFFERED=1 STUDIO_DATA=/data HF_HOME=/data/hub
VOLUME /data


FROM base AS web

ARG TORCH_INDEX=
RUN make install PYTHON=python3 BACKEND=web TORCH_INDEX="$TORCH_INDEX"
COPY . .
USER 1000
ENV STUDIO_HOST=0.0.0.0
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz')"]
CMD ["python", "-m", "app.main"]


FROM base AS worker

ARG BACKEND=cpu
ARG TORCH_INDEX=
RUN make install PYTHON=python3 BACKEND="$BACKEND" TORCH_INDEX="$TORCH_INDEX"
COPY . .
USER 1000
CMD ["python", "-m", "worker"]
