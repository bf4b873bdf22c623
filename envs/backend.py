"""Loads robosuite and MuJoCo quietly and headless; the only file that chooses MUJOCO_GL."""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
from types import ModuleType

ROBOSUITE_EXTRA = "pip install -e .[robosuite]"
NO_GL = "MUJOCO_GL={gl} cannot draw here ({error}); install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6"


def egl_devices() -> int:
    """Number of EGL devices that can render without a display (0 without the library or its device extension)."""
    library = ctypes.util.find_library("EGL")
    if library is None:
        return 0
    get_proc = ctypes.CDLL(library).eglGetProcAddress
    get_proc.restype, get_proc.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address = get_proc(b"eglQueryDevicesEXT")
    if not address:
        return 0
    count = ctypes.c_int(0)
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))(address)
    return count.value if query(0, None, ctypes.byref(count)) else 0


def choose_gl() -> str:
    """Set MUJOCO_GL, unless it is set, to egl where a device answers, else to osmesa, else to disabled; returns it."""
    if "MUJOCO_GL" not in os.environ:
        software = "osmesa" if ctypes.util.find_library("OSMesa") else "disabled"
        os.environ["MUJOCO_GL"] = "egl" if egl_devices() else software
    if os.environ["MUJOCO_GL"] in ("egl", "osmesa"):
        os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])
    return os.environ["MUJOCO_GL"]


def load_robosuite() -> ModuleType:
    """Import robosuite headless and without its import warnings; ImportError names the extra that installs it."""
    choose_gl()
    quiet = logging.getLogger("robosuite_logs")  # robosuite's own logger: five warnings at import, one info per reset
    quiet.addFilter(lambda record: record.levelno >= logging.ERROR)
    try:
        import robosuite
    except ImportError as error:
        raise ImportError(f"this environment needs robosuite ({error}); install it with: {ROBOSUITE_EXTRA}") from error
    except AttributeError as error:  # PyOpenGL's way of saying that the library of MUJOCO_GL is missing
        raise ImportError(NO_GL.format(gl=os.environ["MUJOCO_GL"], error=error)) from error
    return robosuite
