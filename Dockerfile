# docker build -t likeness . && docker run --rm -p 7860:7860 likeness
# The index that PyTorch's "get started" page names for the CPU makes the image much smaller, the one for another CUDA
# fits it to a GPU's driver: docker build --build-arg PIP_EXTRA_INDEX_URL=... (docs/hosting.md)

FROM node:20-slim AS viewer
WORKDIR /likeness
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY app app
RUN npm run vendor

FROM python:3.11-slim
# The same two libraries as in packages.txt and .ci/run. Their versions are the base image's business.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /likeness
COPY requirements.txt constraints.txt ./
ARG PIP_EXTRA_INDEX_URL
RUN python -m pip install --no-cache-dir --requirement requirements.txt --constraint constraints.txt

COPY . .
COPY --from=viewer /likeness/app/static/vendor app/static/vendor

# Caches of matplotlib (a dependency of MediaPipe) and Gradio go where this user may write.
RUN useradd --create-home --uid 1000 likeness
USER 1000
ENV PYTHONUNBUFFERED=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_TEMP_DIR=/home/likeness/gradio

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/likeness/alive', timeout=4)"]
CMD ["python", "-m", "app", "serve", "--host", "0.0.0.0", "--port", "7860"]
