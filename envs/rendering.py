"""Camera images straight from MuJoCo's MjvScene and MjrContext, at policy steps only.

robosuite renders through a 640 x 480 multisampled buffer and draws every reflective surface twice. Here the buffer
has the image's size and one sample, and reflections are off. The physics never sees any of it: only fields that drawing
reads change.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from envs.backend import NO_GL, choose_gl, forked
from envs.tasks.base import Camera

MODES = ("stock", "fast")
LARGE_MESH = 400  # faces; the panda's 17 meshes above it are 96 % of its 168,000 faces


def _gl_context(width: int, height: int) -> Any:
    if forked():
        raise RuntimeError(
            "this process was forked from one that had loaded EGL, which may never answer after a fork; start the "
            'workers with context="spawn" (gymnasium.make_vec(..., vector_kwargs={"context": "spawn"}), '
            'AsyncVectorEnv(..., context="spawn"), SubprocVecEnv(..., start_method="spawn"))'
        )
    # By name: mujoco.GLContext read MUJOCO_GL when mujoco was first imported, perhaps before choose_gl.
    gl = choose_gl()
    try:
        if gl == "egl":
            from mujoco.egl import GLContext
        elif gl == "osmesa":
            from mujoco.osmesa import GLContext
        else:
            from mujoco import GLContext
        return GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise ImportError(NO_GL.format(gl=gl, error=error)) from error


_open: weakref.WeakSet[Renderer] = weakref.WeakSet()


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()


def _free(context: Any, gl: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()


def place_camera(model: mujoco.MjModel, camera: Camera) -> int:
    """Apply a camera's position, target and field of view to the model; returns the camera's id."""
    index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera.name)
    assert index >= 0, f"no camera {camera.name} in the model"
    if camera.fovy is not None:
        model.cam_fovy[index] = camera.fovy
    if camera.position is not None and camera.target is not None:
        back = np.asarray(camera.position) - np.asarray(camera.target)  # a camera looks along its -z
        back = back / np.linalg.norm(back)
        right = np.cross((0.0, 0.0, 1.0), back)
        right = right / np.linalg.norm(right)
        rotation = np.column_stack([right, np.cross(back, right), back])
        model.cam_pos[index] = camera.position
        mujoco.mju_mat2Quat(model.cam_quat[index], rotation.ravel())
    return index


def simplify_meshes(model: mujoco.MjModel) -> None:
    """Draw the collision shapes (mostly convex hulls) of robot links in place of their large visual meshes.

    Only geom_group, geom_rgba and geom_matid change, which the physics does not read. A link keeps the mean colour of
    the meshes it loses, weighted by faces.
    """
    colour: dict[int, list[tuple[float, npt.NDArray[np.float64]]]] = {}
    for geom in range(model.ngeom):
        mesh = model.geom_dataid[geom]
        if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_MESH or model.geom_group[geom] != 1:
            continue
        body, material, faces = model.geom_bodyid[geom], model.geom_matid[geom], model.mesh_facenum[mesh]
        rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
        colour.setdefault(body, []).append((float(faces), np.array(rgba, np.float64)))
    for body, parts in colour.items():
        joint = model.body_jntadr[model.body_rootid[body]]
        if joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            continue  # an object: its texture tells what it is
        geoms = np.flatnonzero(model.geom_bodyid == body)
        shapes = [g for g in geoms if model.geom_group[g] == 0]
        if sum(faces for faces, _ in parts) < LARGE_MESH * 2 or not shapes:
            continue
        total = sum(faces for faces, _ in parts)
        mean = sum((faces * rgba for faces, rgba in parts), np.zeros(4)) / total
        model.geom_group[[g for g in geoms if model.geom_group[g] == 1]] = 3
        for g in shapes:
            model.geom_group[g], model.geom_rgba[g], model.geom_matid[g] = 1, mean, -1


class Renderer:
    """Renders uint8 (H, W, 3) images of one model; several may live in one process.

    `mode` "stock" draws robosuite's own meshes, materials and lights; "fast" calls `simplify_meshes` once. Both skip
    reflections. `close()` frees the GL context; one left open is freed at exit, before the interpreter tears down.
    """

    def __init__(self, model: mujoco.MjModel, cameras: Mapping[str, Camera], size: tuple[int, int], mode: str) -> None:
        assert mode in MODES, mode
        self.model, self.size = model, size
        self.cameras = {name: place_camera(model, camera) for name, camera in cameras.items()}
        if mode == "fast":
            simplify_meshes(model)
        H, W = size
        self._gl = _gl_context(W, H)
        self._gl.make_current()
        # The context copies these when it is created; then the model gets its own values back.
        kept = (model.vis.global_.offwidth, model.vis.global_.offheight, model.vis.quality.offsamples)
        model.vis.global_.offwidth, model.vis.global_.offheight, model.vis.quality.offsamples = W, H, 0
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        model.vis.global_.offwidth, model.vis.global_.offheight, model.vis.quality.offsamples = kept
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[1] = 1  # robosuite's visual group; 0 holds the collision geoms
        if mode == "fast":
            self._option.flags[mujoco.mjtVisFlag.mjVIS_CONVEXHULL] = 1
        self._camera, self._perturb = mujoco.MjvCamera(), mujoco.MjvPerturb()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._viewport = mujoco.MjrRect(0, 0, W, H)
        self._pixels = np.empty((H, W, 3), np.uint8)
        self._placed = False
        self._finalizer = weakref.finalize(self, _free, self._context, self._gl)
        # mujoco ends the EGL display in an exit handler that the first context registered; handlers run last in, first
        # out, so one registered after a context frees it in time (a finalizer's own exit handler may come too late).
        self._finalizer.atexit = False
        if not _open:
            atexit.register(_close_all)
        _open.add(self)

    def __call__(self, data: mujoco.MjData) -> dict[str, npt.NDArray[np.uint8]]:
        """Render every camera: {name: uint8 (H, W, 3)}, first row at the top."""
        assert self._finalizer.alive, "the renderer is closed"
        if not self._placed:  # the cameras were moved after the data's last step, which still has them where they were
            mujoco.mj_camlight(self.model, data)
            self._placed = True
        self._gl.make_current()  # another renderer of this process may be current; drawing into it would go unnoticed
        images = {}
        for k, (name, index) in enumerate(self.cameras.items()):
            self._camera.fixedcamid = index
            if k == 0:
                mujoco.mjv_updateScene(
                    self.model, data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
                )
            else:
                mujoco.mjv_updateCamera(self.model, data, self._camera, self._scene)
            mujoco.mjr_render(self._viewport, self._scene, self._context)
            mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
            images[name] = np.ascontiguousarray(self._pixels[::-1])
        return images

    def moving(self, data: mujoco.MjData) -> dict[str, npt.NDArray[np.bool_]]:
        """Which pixels of every camera show something that can move, a robot link or an object: {name: (H, W)}."""
        self(data)  # places the cameras and fills the scene
        can_move = self.model.body_weldid[self.model.geom_bodyid] != 0
        masks, flags = {}, (int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR))
        for flag in flags:
            self._scene.flags[flag] = 1
        for name, index in self.cameras.items():
            self._camera.fixedcamid = index
            mujoco.mjv_updateCamera(self.model, data, self._camera, self._scene)
            mujoco.mjr_render(self._viewport, self._scene, self._context)
            mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
            number = self._pixels[::-1].astype(np.int32) @ (1, 256, 65536)  # 0 is the background
            shown = np.zeros(number.max() + 1, np.bool_)
            for geom in self._scene.geoms[: self._scene.ngeom]:
                if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and 0 <= geom.segid < number.max():
                    shown[geom.segid + 1] = can_move[geom.objid]
            masks[name] = shown[number]
        for flag in flags:
            self._scene.flags[flag] = 0
        return masks

    def close(self) -> None:
        """Free the GL context; calling it again does nothing."""
        self._finalizer()
