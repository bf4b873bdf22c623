"""The folder a run leaves behind, and how the same command finds it again."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from episodes.files import remove_temporary, write_atomic, writer_lock, writing
from episodes.store_index import named
from experiments import TYPED
from experiments.loop.addresses import digest

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "gymnasium", "robosuite", "mujoco", "numpy")
NOT_IDENTITY = ("runs", "cache", "fresh", "workers", "videos", "track")
"""Settings that change where or how fast a run happens, not what it computes."""


def write_json(path: Path, value: Any) -> None:
    """Write indented json atomically; NaN is not json and becomes null."""
    write_atomic(path, json.dumps(_plain(value), indent=1).encode())


def read_json(path: Path, kind: type[T], remedy: str) -> T:
    """Read a json file whose outermost value is a `kind`; anything else is a one-line ValueError naming the file."""
    with named(path, remedy):
        value = json.loads(path.read_bytes())
        if not isinstance(value, kind):
            raise ValueError(f"holds a {type(value).__name__}, expected a {kind.__name__}")
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def command_line(*leave_out: str) -> str:
    """The command as typed, with the interpreter left to the reader, without the settings `leave_out`."""
    program, *words = TYPED
    words = [word for word in words if word.partition("=")[0] not in leave_out]
    return shlex.join(["foresight", *words] if Path(program).name == "foresight" else ["python", program, *words])


class RunFolder:
    """One run's folder under runs/<experiment>/; continues the newest unfinished run of the same settings.

    `leaves`: a file that the command writes after it has finished; a run without it was stopped before, and continues.
    A lock inside refuses a second writer (ValueError). `stage(name)` times a stage into run.json.
    """

    def __init__(self, experiment: str, config: DictConfig, title: str, leaves: str = "") -> None:
        identity = OmegaConf.to_container(config, resolve=True)
        assert isinstance(identity, dict)
        identity = {k: v for k, v in identity.items() if k not in NOT_IDENTITY}
        config_hash = digest(experiment, identity)
        root = Path(config.runs) / experiment
        found = None
        for old in sorted(root.glob("*/run.json"), reverse=True) if not config.fresh else []:
            facts = _facts(old)
            whole = facts.get("finished") and (not leaves or (old.parent / leaves).exists())
            if facts.get("config_hash") == config_hash and not whole:
                found = old.parent
                break
        self.path = found or _new_folder(root, f"{time.strftime('%Y%m%d-%H%M%S')}-seed{config.seed}")
        self._lock = writer_lock(self.path / "lock", str(self.path))
        remove_temporary(self.path)
        known = self.path / "run.json"
        self.facts: dict[str, Any] = _facts(known) if known.exists() else {}
        self.continued = bool(self.facts)
        self.facts |= {"title": title, "command": command_line(), "config_hash": config_hash, "seed": config.seed}
        self.facts.setdefault("started", time.strftime("%Y-%m-%dT%H:%M:%S"))
        self.facts.setdefault("stages", {})
        self.facts["finished"] = None
        write_atomic(self.path / "config.yaml", OmegaConf.to_yaml(config, resolve=True).encode())
        self._device = config.device
        write_json(self.path / "environment.json", environment(config.device))
        write_json(known, self.facts)

    def record(self, name: str, facts: Any) -> None:
        """Keep facts that are only known once the run has begun, beside the environment and for a continued run."""
        self.facts[name] = facts
        write_json(self.path / "run.json", self.facts)
        write_json(self.path / "environment.json", environment(self._device) | {name: facts})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside as a stage of the run."""
        started = time.monotonic()
        print(f"[{name}] ...", flush=True)
        yield
        seconds = time.monotonic() - started
        self.facts["stages"][name] = self.facts["stages"].get(name, 0.0) + seconds
        write_json(self.path / "run.json", self.facts)
        print(f"[{name}] {seconds:.0f} s", flush=True)

    def finish(self) -> None:
        """Mark the run as finished, and let others write to it."""
        self.facts["finished"] = time.strftime("%Y-%m-%dT%H:%M:%S")
        write_json(self.path / "run.json", self.facts)
        self._lock.release()


def _new_folder(root: Path, name: str) -> Path:
    """Make a folder that was not there before: two runs may begin in one second, or a clock go back to one."""
    with writing(root / name):
        root.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            try:
                (root / name).mkdir()
                return root / name
            except FileExistsError:
                name = f"{name.split('.')[0]}.{number}"
    raise AssertionError


def _facts(path: Path) -> dict[str, Any]:
    remedy = "remove that run's folder, or start anew with fresh=true"
    facts = read_json(path, dict, remedy)
    with named(path, remedy):
        stages = facts.get("stages", {})
        if not isinstance(stages, dict) or not all(isinstance(s, (int, float)) for s in stages.values()):
            raise ValueError(f"stages is {stages!r}, expected seconds by name")
    return facts


def revision(root: Path) -> str:
    """The git revision of the checkout at `root`, whatever folder the command is run in, or why there is none."""
    if not (root / ".git").exists():
        return "not a git checkout"
    outside = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}  # a hook's variables name its own

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=False, env=outside)

    try:
        head = git("rev-parse", "HEAD")
        if head.returncode:
            return "unknown (git cannot read the checkout)"
        return head.stdout.strip() + (" (modified)" if git("diff", "--quiet", "HEAD").returncode else "")
    except OSError:
        return "unknown (git cannot be run)"


def environment(device: str) -> dict[str, Any]:
    """What the run ran on: git revision, package versions, device."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    hardware = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        import torch

        hardware = torch.cuda.get_device_name(device) if torch.cuda.is_available() else "no CUDA device"
    return {
        "git_revision": revision(ROOT),
        "packages": versions,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": f"{device} ({hardware})",
    }
