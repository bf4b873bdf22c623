"""Loads robosuite and MuJoCo quietly and headless; the only file that chooses MUJOCO_GL."""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
from types import ModuleType

from episodes.extras import install

ROBOSUITE_EXTRA = install("robosuite")
NO_GL = "MUJOCO_GL={gl} cannot draw here ({error}); install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6"


_egl_in = 0  # the process in which EGL was chosen and its library loaded; 0: none


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
    global _egl_in
    if "MUJOCO_GL" not in os.environ:
        software = "osmesa" if ctypes.util.find_library("OSMesa") else "disabled"
        os.environ["MUJOCO_GL"] = "egl" if egl_devices() else software
    if os.environ["MUJOCO_GL"] == "egl" and _egl_in == 0:
        _egl_in = os.getpid()
    if os.environ["MUJOCO_GL"] in ("egl", "osmesa"):
        os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])
    return os.environ["MUJOCO_GL"]


def require_device() -> None:
    """An ImportError where MUJOCO_EGL_DEVICE_ID names no device that robosuite and EGL both take, saying which do."""
    named = os.environ.get("MUJOCO_EGL_DEVICE_ID")
    if named is None or os.environ.get("MUJOCO_GL") != "egl":
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible and named.strip() not in [part.strip() for part in visible.split(",")]:
        raise ImportError(
            f"MUJOCO_EGL_DEVICE_ID={named} is not among CUDA_VISIBLE_DEVICES={visible}, and robosuite refuses that; "
            "unset MUJOCO_EGL_DEVICE_ID, or unset CUDA_VISIBLE_DEVICES and choose with device=cuda:N"
        )
    count = egl_devices()
    if not named.strip().isdecimal() or int(named) >= count:
        last = f"0 to {count - 1}" if count > 1 else "0" if count else "none"
        raise ImportError(
            f"MUJOCO_EGL_DEVICE_ID={named}: EGL has {count} devices here, numbered {last}; unset it or choose one"
        )


def forked() -> bool:
    """Whether this process is a fork of one in which EGL was chosen: it inherits a display whose threads are gone."""
    return _egl_in not in (0, os.getpid())


def load_robosuite() -> ModuleType:
    """Import robosuite headless and without its import warnings; ImportError names the extra that installs it."""
    choose_gl()
    require_device()
    quiet = logging.getLogger("robosuite_logs")  # robosuite's own logger: five warnings at import, one info per reset
    quiet.addFilter(lambda record: record.levelno >= logging.ERROR)
    try:
        import robosuite
    except ImportError as error:
        raise ImportError(f"this environment needs robosuite ({error}); install it with: {ROBOSUITE_EXTRA}") from error
    except AttributeError as error:  # PyOpenGL's way of saying that the library of MUJOCO_GL is missing
        raise ImportError(NO_GL.format(gl=os.environ["MUJOCO_GL"], error=error)) from error
    return robosuite
