"""Which torch would pip take here, and how big is it? `torch_plan.py VERSION [INDEX_URL]` prints e.g. `CUDA 2740` (MB).

`pip install --dry-run` would answer too, but it fetches whole wheels from an index that does not serve their metadata
apart: gigabytes, to learn that there is no room for them. So pip's own finder is asked; it is no public interface, and
constraints.txt pins the pip it belongs to.
"""

import os
import sys

from pip._internal.commands.install import InstallCommand
from pip._vendor.packaging.specifiers import SpecifierSet

CUDA_LIBRARIES_MB = 2210  # what the CUDA build of torch 2.13.0 pulls besides itself, measured
CPU_MAX_MB = 350  # a Linux wheel above this is a CUDA build: CPU wheels are 100-200 MB, CUDA ones 500-900 MB


def plan(file_name: str, megabytes: float, platform: str = sys.platform) -> tuple[str, int]:
    """(CUDA or CPU, megabytes to download) for a torch wheel of this name and size."""
    if platform != "linux" or "+cpu" in file_name or megabytes < CPU_MAX_MB:
        return "CPU", round(megabytes)
    return "CUDA", round(megabytes + CUDA_LIBRARIES_MB)


def best_file(version: str, index_url: str | None) -> tuple[str, float]:
    """(name, megabytes) of the file that pip would install; pip's configuration and environment apply."""
    command = InstallCommand("install", "")
    options, _ = command.parse_args(["--quiet", *(["--index-url", index_url] if index_url else [])])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        best = finder.find_best_candidate("torch", SpecifierSet(f"=={version}")).best_candidate
        if best is None:
            sys.exit(f"pip finds no torch {version} for this Python")
        if best.link.scheme == "file":
            return best.link.filename, os.stat(best.link.file_path).st_size / 1e6
        answer = session.head(best.link.url_without_fragment, allow_redirects=True, timeout=20)
        answer.raise_for_status()
        return best.link.filename, int(answer.headers["Content-Length"]) / 1e6


if __name__ == "__main__":
    print(*plan(*best_file(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)))
