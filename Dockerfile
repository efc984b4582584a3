# The whole studio in one image: `make install` does the work, as on any machine.
# For a machine with an NVIDIA card build with --build-arg BACKEND=cuda.
FROM python:3.11-slim-bookworm

ARG BACKEND=cpu
ARG TORCH_INDEX=

# vLLM and torch compile kernels when they first run, so a compiler stays in the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /studio
COPY pyproject.toml constraints.txt Makefile README.md ./
COPY prolora prolora
RUN make install PYTHON=python3 BACKEND="$BACKEND" TORCH_INDEX="$TORCH_INDEX"
COPY . .

RUN useradd --create-home studio && mkdir /data && chown studio /data
USER studio
ENV PYTHONPATH=/studio STUDIO_DATA=/data STUDIO_HOST=0.0.0.0
VOLUME /data
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD [".venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz')"]
CMD [".venv/bin/python", "-m", "app"]
