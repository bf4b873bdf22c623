"""Where the robots, objects and photographs lie: a given folder, or a cache filled from upstream and verified.

Nothing of them is shipped. `upstream.csv` names every file that the protocol needs, with its repository, commit, path
and git blob id. `python -m envs.simpler.assets` downloads what is missing and `--check` verifies a folder.
Licences: docs/simpler.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from episodes.files import write_atomic
from episodes.progress import progress
from episodes.stopping import refusing

LIST = Path(__file__).with_name("upstream.csv")
SOURCE = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
TIMEOUT = 60.0  # s without an answer


@dataclass(frozen=True)
class Asset:
    """One file: where it belongs under `data/`, where it comes from, and what it must be."""

    local: str
    repository: str
    commit: str
    path: str
    blob: str  # git blob id

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return SOURCE.format(repository=self.repository, commit=self.commit, path=self.path.replace(" ", "%20"))


@lru_cache
def upstream() -> tuple[Asset, ...]:
    """Every file that the protocol needs."""
    with open(LIST, newline="") as file:
        return tuple(Asset(**row) for row in csv.DictReader(file))


def cache_folder() -> Path:
    """Where downloaded assets go: FORESIGHT_CACHE or ~/.cache/foresight, there `simpler-assets`."""
    root = os.environ.get("FORESIGHT_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "foresight")
    return Path(root) / "simpler-assets"


def asset_folder() -> Path:
    """The folder that holds `data/`: MS_ASSET_DIR where it is set, else the cache. ValueError: there is nothing."""
    given = os.environ.get("MS_ASSET_DIR")
    folder = Path(given) if given else cache_folder()
    if not (folder / "data" / "robots" / "googlerobot").is_dir():
        raise ValueError(
            f"{folder}: no SIMPLER assets; `python -m envs.simpler.assets` downloads them, or set MS_ASSET_DIR to a "
            "folder that has them"
        )
    return folder


def blob_id(content: bytes) -> str:
    """The name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\x00" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Report:
    """What a folder has of the listed files."""

    present: tuple[Asset, ...]  # the right content
    changed: tuple[Asset, ...]  # other content
    missing: tuple[Asset, ...]


def check(folder: Path, assets: Sequence[Asset] | None = None) -> Report:
    """Compare every listed file with its git blob id."""
    present: list[Asset] = []
    changed: list[Asset] = []
    missing: list[Asset] = []
    for asset in upstream() if assets is None else assets:
        path = folder / "data" / asset.local
        if not path.is_file():
            missing.append(asset)
        else:
            (present if blob_id(path.read_bytes()) == asset.blob else changed).append(asset)
    return Report(tuple(present), tuple(changed), tuple(missing))


def fetch(url: str) -> bytes:
    """The content behind a URL; ValueError: it cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError) as error:
        raise ValueError(
            f"{url}: cannot be downloaded ({error}); check the network and run the same command again"
        ) from error


def download(
    folder: Path, assets: Sequence[Asset] | None = None, get: Callable[[str], bytes] = fetch, quiet: bool = False
) -> int:
    """Fetch the listed files that `folder` lacks or has changed, verify each, and return how many were fetched.

    What was fetched before stays, so an interrupted download continues. ValueError: no network, a full disk, or a file
    that is not what its git blob id says (it is not written).
    """
    found = check(folder, assets)
    wanted = [*found.missing, *found.changed]
    with progress("SIMPLER assets", len(wanted), quiet=quiet) as bar:
        for asset in wanted:
            content = get(asset.url)
            if blob_id(content) != asset.blob:
                raise ValueError(
                    f"{asset.url}: {len(content)} bytes that are not the file wanted (git blob {blob_id(content)}, not "
                    f"{asset.blob}); try again later"
                )
            write_atomic(folder / "data" / asset.local, content)
            bar.advance()
    return len(wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Download, or check; returns 1 where something is missing or changed."""
    parser = argparse.ArgumentParser(prog="python -m envs.simpler.assets", description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("folder", nargs="?", type=Path, help="default: MS_ASSET_DIR, else the cache")
    parser.add_argument("--check", action="store_true", help="download nothing, say what is missing or changed")
    options = parser.parse_args(arguments)
    folder = options.folder or (Path(os.environ["MS_ASSET_DIR"]) if os.environ.get("MS_ASSET_DIR") else cache_folder())
    with refusing("assets"):
        if not options.check:
            count = download(folder)
            print(f"{folder}: {count} of {len(upstream())} files downloaded, all verified")
            return 0
        found = check(folder)
        for word, assets in (("missing", found.missing), ("changed", found.changed)):
            for asset in assets:
                print(f"{word}  {asset.local}")
        print(f"{folder}: {len(found.present)} verified, {len(found.missing)} missing, {len(found.changed)} changed")
        return 0 if not found.missing and not found.changed else 1


if __name__ == "__main__":
    sys.exit(main())
