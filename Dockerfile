# docker build -t foresight .                      (CUDA torch; --build-arg TORCH_INDEX_URL=... picks another build)
# docker run --rm -v "$PWD/runs:/foresight/runs" foresight experiments/recap_sim.py
FROM python:3.11-slim-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends \
        git make gcc libc6-dev linux-libc-dev \
        libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /foresight
COPY . .
ARG TORCH_INDEX_URL=""
RUN PIP_NO_CACHE_DIR=1 make setup TORCH_INDEX_URL="$TORCH_INDEX_URL"

ENV MUJOCO_GL=egl
ENTRYPOINT [".venv/bin/python"]
CMD ["experiments/recap_sim.py"]
