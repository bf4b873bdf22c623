"""Loads ManiSkill 3 and SAPIEN quietly, with the asset folder they are to use; the only file that does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from functools import lru_cache
from types import ModuleType

from envs.simpler.assets import asset_folder
from episodes.extras import install

SIMPLER_EXTRA = install("simpler")
NO_VULKAN = (
    "SAPIEN cannot draw here ({error}); it needs a GPU with its driver, or Mesa 24.3 or later (Debian and Ubuntu: "
    "mesa-vulkan-drivers). `make simpler` looks into it; images=False does without"
)


def load_maniskill() -> ModuleType:
    """Import mani_skill; ImportError names the extra that installs it, ValueError an asset folder that is not there."""
    os.environ["MS_ASSET_DIR"] = str(asset_folder())  # mani_skill reads it once, when it is imported
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    logging.getLogger("mani_skill").setLevel(logging.ERROR)
    try:
        import mani_skill.envs
    except ImportError as error:
        raise ImportError(f"this environment needs ManiSkill 3 ({error}); install it with: {SIMPLER_EXTRA}") from error
    return mani_skill


def render_backend() -> str:
    """What SAPIEN draws with: "gpu" where a CUDA device can, else "cpu" (software Vulkan). ImportError: nothing can."""
    import sapien

    try:
        if sapien.Device("cuda").can_render():
            return "gpu"
    except RuntimeError:
        pass  # no CUDA device
    error = drawing_error()
    if error is not None:
        raise ImportError(error)
    return "cpu"


@lru_cache
def drawing_error() -> str | None:
    """Why software Vulkan does not work for SAPIEN on this machine, or None where it does.

    Tried in a process of its own, because a driver that is too old may end the process.
    """
    code = (
        "import sapien; r = sapien.render.RenderSystem(sapien.Device('cpu'));"
        "s = sapien.Scene([sapien.physx.PhysxCpuSystem(), r]);"
        "c = s.add_camera('probe', 8, 8, 1.0, 0.1, 10.0); s.update_render(); c.take_picture(); c.get_picture('Color')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
    return NO_VULKAN.format(error=lines[-1].strip())
