"""Does this machine have what Foresight needs? `check_system.py WHAT`: exit 0 means yes.

WHAT is egl, osmesa, cv2, headers or compiler (what pip cannot bring), or packages or render (what pip has brought).
Everything is tried, not looked up: a library that is there may still not work, and packages whose metadata agree
(`pip check`) may still refuse each other at import.
"""

import ctypes
import ctypes.util
import importlib
import os
import pathlib
import shlex
import subprocess
import sys
import sysconfig

EGL_PLATFORM_DEVICE_EXT = 0x313F


def egl() -> bool:
    """Whether EGL opens a display on some device, which is how MuJoCo renders without a window system."""
    lib = ctypes.CDLL("libEGL.so.1")
    lib.eglGetProcAddress.restype = ctypes.c_void_p
    pointer, integer = ctypes.c_void_p, ctypes.c_int

    def function(name, result, *arguments):
        return ctypes.CFUNCTYPE(result, *arguments)(lib.eglGetProcAddress(name))

    query = function(b"eglQueryDevicesEXT", ctypes.c_uint, integer, pointer, pointer)
    display = function(b"eglGetPlatformDisplayEXT", pointer, ctypes.c_uint, pointer, pointer)
    initialize = function(b"eglInitialize", ctypes.c_uint, pointer, pointer, pointer)
    devices, count = (pointer * 16)(), integer(0)
    if not query(16, devices, ctypes.byref(count)):
        return False
    return any(initialize(display(EGL_PLATFORM_DEVICE_EXT, d, None), None, None) for d in devices[: count.value])


def osmesa() -> bool:
    return ctypes.CDLL(ctypes.util.find_library("OSMesa") or "libOSMesa.so.8").OSMesaCreateContextExt is not None


def cv2() -> bool:
    return all(ctypes.CDLL(name) for name in ("libGL.so.1", "libgthread-2.0.so.0", "libglib-2.0.so.0"))


def headers() -> bool:
    return pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file()


def compiler() -> bool:
    """Whether a C extension that uses the kernel's input headers compiles, with the compiler that pip would take."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    command += ["-I" + sysconfig.get_path("include"), "-fsyntax-only", "-x", "c", "-"]
    source = b"#include <Python.h>\n#include <linux/input.h>\n#include <linux/uinput.h>\n"
    return subprocess.run(command, input=source, capture_output=True).returncode == 0


PACKAGES = (
    "numpy scipy.optimize pyarrow.parquet av PIL matplotlib.pyplot jinja2 rich filelock h5py numba cv2 mujoco "
    "gymnasium torch diffusers transformers accelerate safetensors tensorboard hydra sentencepiece stable_baselines3"
)


def packages() -> bool:
    """Whether every package imports here; names the first that does not."""
    for name in PACKAGES.split():
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken package may raise anything at import
            print(f"cannot import {name}: {error}")
            return False
    return True


def render() -> bool:
    """Whether MuJoCo draws a red ball red, at the size asked for."""
    import mujoco

    scene = "<mujoco><worldbody><light pos='0 0 2'/><geom type='sphere' size='.3' rgba='1 0 0 1'/></worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(scene)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, 32, 48)
    renderer.update_scene(data)
    image = renderer.render()
    renderer.close()
    return bool(image.shape == (32, 48, 3) and image[..., 0].max() > image[..., 2].max())


if __name__ == "__main__":
    checks = {f.__name__: f for f in (egl, osmesa, cv2, headers, compiler, packages, render)}
    try:
        ok = checks[sys.argv[1]]()
    except (OSError, AttributeError, TypeError) as error:  # not there, or without the functions
        print(error, file=sys.stderr)
        ok = False
    sys.exit(0 if ok else 1)
