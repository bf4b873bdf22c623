"""What would pip download for torch? Reads the report of `pip install --dry-run --report`; prints e.g. `CUDA 2950`.

First word: CUDA or CPU (or MPS-capable builds, which are named CPU too). Second: megabytes, `3000 or more` where a
server does not say.
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

USUAL_MB = {"CUDA": 3000, "CPU": 200}


def size_bytes(url: str) -> int | None:
    """Bytes of one file by URL (file: or http), or None where the server does not say."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        return os.stat(urllib.request.url2pathname(parts.path)).st_size
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10, context=context) as answer:
            return int(answer.headers["Content-Length"])
    except (urllib.error.URLError, TimeoutError, TypeError, ValueError):
        return None


def plan(report: dict) -> tuple[str, int]:
    """(kind, megabytes) of everything that a pip report would install."""
    items = report["install"]
    gpu = any(item["metadata"]["name"].lower().startswith(("nvidia", "cuda", "triton")) for item in items)
    kind = "CUDA" if gpu else "CPU"
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(size_bytes, [item["download_info"]["url"] for item in items]))
    if any(size is None for size in sizes):
        return kind, USUAL_MB[kind]
    return kind, round(sum(sizes) / 1e6)


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        print(*plan(json.load(f)))
