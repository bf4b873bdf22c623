"""Loads ManiSkill 3 and SAPIEN quietly, with the asset folder they are to use; the only file that does."""

from __future__ import annotations

import logging
import os
import warnings
from types import ModuleType

from envs.simpler.assets import asset_folder

SIMPLER_EXTRA = "pip install -e .[simpler]"
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


def drawing_error() -> str | None:
    """Why SAPIEN cannot draw on this machine, or None where it can; the answer costs about a second."""
    import sapien

    try:
        scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem()])
        scene.set_ambient_light([0.5, 0.5, 0.5])
        camera = scene.add_camera("probe", 8, 8, 1.0, 0.1, 10.0)
        scene.update_render()
        camera.take_picture()
        camera.get_picture("Color")
    except RuntimeError as error:
        return NO_VULKAN.format(error=str(error).splitlines()[0])
    return None
