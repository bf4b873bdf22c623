"""The doctor's checks: each looks at one thing and says what it found and what to do about it.

What may crash a process (GL, CUDA, Vulkan, a broken package) is tried in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envs.backend import choose_gl, require_device
from episodes.extras import install

ROOT = Path(__file__).resolve().parents[2]
OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"
NEEDED = ("numpy", "pyarrow", "torch", "diffusers", "transformers", "accelerate", "safetensors", "hydra-core",
          "gymnasium", "robosuite", "mujoco", "av", "pillow", "filelock", "rich")  # fmt: skip
ICD_FOLDERS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d")
GB = 2**30


@dataclass(frozen=True)
class Finding:
    """What a check found: level ok, note, warning or problem, and the fix in one line where there is one."""

    check: str
    level: str
    found: str
    fix: str = ""


def probe(code: str, seconds: float = 300, **environment: str) -> tuple[bool, str]:
    """Run Python code in a process of its own: (did it end well, the last line it said)."""
    return run([sys.executable, "-c", code], seconds, **environment)


def run(command: list[str], seconds: float = 300, **environment: str) -> tuple[bool, str]:
    """Run a command: (did it end well, its last line)."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=os.environ | environment, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {seconds:g} s; if the machine is busy, try again"
    except OSError as error:
        return False, str(error)
    if done.returncode < 0:
        return False, f"killed by signal {-done.returncode}"
    said = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode == 0, said[-1] if said else ""


def python() -> Finding:
    """The interpreter and its version."""
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] in ((3, 11), (3, 12)):
        return Finding("python", OK, found)
    return Finding("python", PROBLEM, found, "use Python 3.11 or 3.12: make setup looks for one")


def packages() -> Finding:
    """Installed versions against constraints.txt."""
    wanted = pinned(ROOT / "constraints.txt")
    missing, other = [], []
    for name in NEEDED:
        try:
            version = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if wanted.get(canonical(name), version) != version:
            other.append(f"{name} {version}, tested with {wanted[canonical(name)]}")
    if missing:
        return Finding("packages", PROBLEM, f"not installed: {', '.join(missing)}", "make setup")
    if other:
        return Finding("packages", WARNING, "; ".join(other), f"{install('all')} -c constraints.txt")
    return Finding("packages", OK, f"{len(NEEDED)} as in constraints.txt" if wanted else f"{len(NEEDED)} installed")


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path: Path) -> dict[str, str]:
    """{package: version} of a constraints file; empty where there is none (an installed package)."""
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = [line.split("#")[0].strip().partition("==") for line in lines]
    return {canonical(name): version for name, sep, version in pairs if sep}


def rendering() -> Finding:
    """One small picture, drawn by the backend that a run would take or else by any other that works."""
    script = ROOT / "scripts" / "check_system.py"
    if not script.exists():
        return Finding("rendering", NOTE, "not tried: scripts/ is not here", "run the doctor in a checkout")
    chosen = os.environ.get("MUJOCO_GL")
    try:  # what a run checks first
        choose_gl()
        require_device()
    except ImportError as error:
        what, _, fix = str(error).rpartition("; ")
        return Finding("rendering", PROBLEM, what, fix)
    finally:
        if chosen is None:
            os.environ.pop("MUJOCO_GL", None)
    failed: list[str] = []
    for backend in [chosen] if chosen else ["egl", "osmesa"]:
        drawn, said = run([sys.executable, str(script), "render"], MUJOCO_GL=backend, PYOPENGL_PLATFORM=backend)
        if drawn:
            return Finding("rendering", OK, f"MUJOCO_GL={backend} draws" + "".join(f"; {f}" for f in failed))
        failed.append(f"{backend} does not ({said[:120]})")
    fix = "apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri (or libosmesa6)"
    return Finding("rendering", PROBLEM, "; ".join(failed), fix if not chosen else f"unset MUJOCO_GL, or {fix}")


def vulkan() -> Finding:
    """Whether SAPIEN could render: its package, the loader and at least one driver."""
    if importlib.util.find_spec("sapien") is None:
        return Finding("vulkan", NOTE, "SAPIEN is not installed", "only SIMPLER needs it: install the extra [simpler]")
    loads, said = probe("import ctypes; ctypes.CDLL('libvulkan.so.1')")
    if not loads:
        return Finding("vulkan", PROBLEM, f"no Vulkan loader ({said[:120]})", "apt-get install -y libvulkan1")
    named = os.environ.get("VK_ICD_FILENAMES") or os.environ.get("VK_DRIVER_FILES")
    files = [Path(p) for p in named.split(":")] if named else [p for d in ICD_FOLDERS for p in Path(d).glob("*.json")]
    drivers = [p.name for p in files if p.is_file()]
    if not drivers:
        fix = "apt-get install -y mesa-vulkan-drivers, or the NVIDIA driver with its Vulkan part"
        return Finding("vulkan", PROBLEM, "no driver (ICD) file", fix)
    return Finding("vulkan", OK, f"drivers {', '.join(sorted(drivers))}")


def gpu() -> Finding:
    """What torch sees of a CUDA device."""
    code = "import torch as t; print(t.cuda.get_device_name() if t.cuda.is_available() else 'none', t.version.cuda)"
    worked, said = probe(code)
    if not worked:
        return Finding("gpu", PROBLEM, f"torch does not start ({said[:120]})", "make setup")
    if said.startswith("none"):
        found, fix = "torch sees no CUDA device", "device=cpu works; for a GPU install its driver and a CUDA torch"
        return Finding("gpu", WARNING if shutil.which("nvidia-smi") else NOTE, found, fix)
    return Finding("gpu", OK, said)


def disk() -> Finding:
    """Free space where runs and the cache go."""
    places = [place for place in (Path("."), Path("cache"), Path("runs")) if place.exists()]
    free = min(shutil.disk_usage(place).free for place in places)
    found = f"{free / GB:.1f} GB free here"
    if free < GB:
        return Finding("disk", PROBLEM, found, "free at least 1 GB, or name other folders: runs=... cache=...")
    if free < 5 * GB:
        return Finding("disk", WARNING, found, "a larger run keeps several GB in cache/; it may be deleted any time")
    return Finding("disk", OK, found)


def memory() -> Finding:
    """Memory and cores."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{total / GB:.0f} GB, {cores} cores"
    if total < 4 * GB:
        return Finding("memory", WARNING, found, "use workers=1")
    if cores < 2:
        return Finding("memory", WARNING, found, "use workers=1; a run takes about twice as long")
    return Finding("memory", OK, found)


def threads() -> Finding:
    """How many threads each worker would take."""
    value = os.environ.get("OMP_NUM_THREADS")
    if value in (None, "1"):
        return Finding("threads", OK, f"OMP_NUM_THREADS is {'1' if value else 'not set (the experiments set it to 1)'}")
    fix = "export OMP_NUM_THREADS=1: each worker is a process of its own, and they share the cores"
    return Finding("threads", WARNING, f"OMP_NUM_THREADS={value}", fix)


def assets() -> Finding:
    """ManiSkill's assets, which SIMPLER's scenes need."""
    named = os.environ.get("MS_ASSET_DIR")
    place = Path(named) if named else Path.home() / ".maniskill"
    if place.is_dir() and any(place.iterdir()):
        return Finding("assets", OK, str(place))
    if named:
        return Finding("assets", PROBLEM, f"MS_ASSET_DIR={named} has no files", "correct or unset MS_ASSET_DIR")
    return Finding(
        "assets", NOTE, f"none in {place}", "only SIMPLER needs them: set MS_ASSET_DIR to a folder that has them"
    )


def folders() -> Finding:
    """Whether runs and the cache can be written."""
    for name in ("runs", "cache"):
        place = Path(name)
        try:
            with tempfile.TemporaryFile(dir=place if place.is_dir() else place.parent) as file:
                file.write(b"x")
        except OSError as error:
            fix = f"make {place.resolve()} writable or choose another: {name}=..."
            return Finding("folders", PROBLEM, f"{name}/ cannot be written ({error.strerror})", fix)
    return Finding("folders", OK, "runs/ and cache/ can be written")


def video() -> Finding:
    """Whether PyAV can encode H.264."""
    code = "import av; print('h264:', 'libx264' in av.codecs_available or 'h264' in av.codecs_available)"
    worked, said = probe(code)
    if not worked:
        return Finding("video", PROBLEM, f"PyAV does not start ({said[:120]})", "make setup")
    if not said.endswith("True"):
        fix = "pip install -c constraints.txt --force-reinstall av"
        return Finding("video", PROBLEM, "PyAV has no h264 encoder", fix)
    return Finding("video", OK, "PyAV encodes h264")


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, packages, rendering, vulkan, gpu, disk, memory, threads, assets, folders, video,
)  # fmt: skip
