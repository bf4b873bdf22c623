"""Forward and inverse kinematics of one serial chain, batched over environments, from the robot's URDF.

Shapes: B environments, J joints of the chain; rotations are matrices, poses are (rotation, position) in the root frame.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-4  # norm of the error twist (m, rad) at which the search ends; SAPIEN 2's default
STEP = 0.1  # share of the Newton step that one iteration takes; SAPIEN 2's default
DAMPING = 1e-6  # of the least squares; SAPIEN 2's default


class Chain:
    """The joints between a URDF's root link and `tip`, in their order; fixed ones are folded into their neighbours.

    `names` (J,) are the moving joints, `low` and `high` their limits (rad; infinite where the URDF has none).
    ValueError: a tip that the file does not have.
    """

    def __init__(self, urdf: str | Path, tip: str) -> None:
        joints = {j.find("child").get("link"): j for j in ElementTree.parse(urdf).getroot().findall("joint")}  # type: ignore[union-attr]
        if tip not in joints:
            raise ValueError(f"{urdf}: no link {tip!r} that hangs on a joint; name another tip")
        path = []
        link = tip
        while link in joints:
            path.append(joints[link])
            link = joints[link].find("parent").get("link")  # type: ignore[union-attr,assignment]
        names, axes, before, low, high = [], [], [], [], []
        offset = np.eye(4)
        for joint in reversed(path):
            offset = offset @ _origin(joint)
            if joint.get("type") == "fixed":
                continue
            assert joint.get("type") in ("revolute", "continuous"), f"joint {joint.get('name')}: {joint.get('type')}"
            axis, limit = joint.find("axis"), joint.find("limit")
            bounded = joint.get("type") == "revolute" and limit is not None
            names.append(str(joint.get("name")))
            axes.append(_numbers(axis.get("xyz")) if axis is not None else np.array([1.0, 0.0, 0.0]))
            low.append(float(limit.get("lower")) if bounded else -np.inf)  # type: ignore[union-attr,arg-type]
            high.append(float(limit.get("upper")) if bounded else np.inf)  # type: ignore[union-attr,arg-type]
            before.append(offset)
            offset = np.eye(4)
        self.names = tuple(names)
        self.low, self.high = np.array(low), np.array(high)
        self._before = np.array(before)  # (J, 4, 4) from the previous joint's frame to this one's, at zero
        self._after = offset  # (4, 4) from the last joint's frame to the tip
        axes_J3 = np.array(axes) / np.linalg.norm(axes, axis=1, keepdims=True)
        self._axes = axes_J3
        self._cross = np.stack([_skew(a) for a in axes_J3])
        self._cross2 = self._cross @ self._cross

    def forward(self, q: Array) -> tuple[Array, Array]:
        """Pose of the tip at joint angles q (B, J): rotations (B, 3, 3) and positions (B, 3)."""
        T = self._frames(q)[0] @ self._after
        return T[:, :3, :3], T[:, :3, 3]

    def axes(self, q: Array) -> Array:
        """Direction (B, J, 3) of every joint's axis at joint angles q (B, J), in the root frame."""
        return self._frames(q)[1]

    def _frames(self, q: Array) -> tuple[Array, Array, Array]:
        """Pose of the last joint (B, 4, 4), and every joint's axis and place (B, J, 3), all in the root frame."""
        B, J = q.shape
        sin, cos = np.sin(q)[..., None, None], 1.0 - np.cos(q)[..., None, None]
        turn = np.zeros((B, J, 4, 4))
        turn[..., :3, :3] = np.eye(3) + sin * self._cross + cos * self._cross2  # Rodrigues
        turn[..., 3, 3] = 1.0
        turn = self._before @ turn
        T = np.broadcast_to(np.eye(4), (B, 4, 4))
        axes, places = np.empty((B, J, 3)), np.empty((B, J, 3))
        for j in range(J):
            T = T @ turn[:, j]
            axes[:, j] = T[:, :3, :3] @ self._axes[j]
            places[:, j] = T[:, :3, 3]
        return T, axes, places

    def inverse(self, R: Array, p: Array, start: Array, iterations: int = 100) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Joint angles (B, J) that bring the tip to rotation R (B, 3, 3) and position p (B, 3), and where that worked.

        Damped least squares on the error twist e = log(T_goal^-1 T(q)) of the last joint, in its frame,
        q <- q - 0.1 J^T (J J^T + 1e-6 I)^-1 e, from `start` until |e| < 1e-4; where that is not reached, it has not
        worked. The same search and numbers as in SIMPLER's kinematics (SAPIEN 2 on Pinocchio), so that the two end at
        the same angles, short of the goal by up to 1e-4, and like there the joint limits are not looked at.
        """
        goal = np.zeros((len(start), 4, 4))
        goal[:, :3, :3], goal[:, :3, 3], goal[:, 3, 3] = R, p, 1.0
        goal = goal @ np.linalg.inv(self._after)
        R, p = goal[:, :3, :3], goal[:, :3, 3]
        q = start.copy()
        found = np.zeros(len(q), bool)
        for _ in range(iterations + 1):
            T, axes, places = self._frames(q)
            tip_R = T[:, :3, :3]
            error = _log(np.swapaxes(R, 1, 2) @ tip_R, np.einsum("bji,bj->bi", R, T[:, :3, 3] - p))  # (B, 6)
            found |= np.linalg.norm(error, axis=1) < TOLERANCE
            if found.all():
                break
            turns = np.einsum("bji,bkj->bik", tip_R, axes)  # (B, 3, J) in the tip's frame
            moves = np.einsum("bji,bkj->bik", tip_R, _cross(axes, T[:, None, :3, 3] - places))
            jacobian = np.concatenate([moves, turns], axis=1)  # (B, 6, J)
            square = jacobian @ np.swapaxes(jacobian, 1, 2) + DAMPING * np.eye(6)
            step = np.einsum("bij,bi->bj", jacobian, np.linalg.solve(square, error[..., None])[..., 0])
            q = np.where(found[:, None], q, q - STEP * step)
        return q, found


def _log(R: Array, p: Array) -> Array:
    """Logarithm of rigid transforms: twists (B, 6), translation first."""
    w = _rotation_vector(R)
    angle = np.linalg.norm(w, axis=1, keepdims=True)
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    beta = np.where(small, 1 / 12 + angle**2 / 720, 1 / safe**2 - np.sin(safe) / (2 * safe * (1 - np.cos(safe))))
    across = _cross(w, p)
    return np.concatenate([p - 0.5 * across + beta * _cross(w, across), w], axis=1)


def _rotation_vector(R: Array) -> Array:
    """Axis times angle (B, 3) of rotations (B, 3, 3); scipy's checks cost more than all the rest of the search."""
    double = np.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], axis=1)
    sine = 0.5 * np.sqrt((double * double).sum(axis=1, keepdims=True))
    cosine = 0.5 * (R[:, 0, 0] + R[:, 1, 1] + R[:, 2, 2] - 1.0)[:, None]
    if cosine.min() < -0.9:  # near half a turn the axis is lost in the difference
        return Rotation.from_matrix(R).as_rotvec()
    angle = np.arctan2(sine, cosine)
    return 0.5 * double * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 1.0)


def _cross(a: Array, b: Array) -> Array:
    """a x b over the last axis; numpy's takes ten times as long for a few vectors."""
    x, y, z = a[..., 0], a[..., 1], a[..., 2]
    u, v, w = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def _skew(v: Array) -> Array:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def _numbers(text: str | None) -> Array:
    return np.array([float(x) for x in (text or "0 0 0").split()])


def _origin(joint: ElementTree.Element) -> Array:
    T = np.eye(4)
    origin = joint.find("origin")
    if origin is not None:
        T[:3, :3] = Rotation.from_euler("xyz", _numbers(origin.get("rpy"))).as_matrix()
        T[:3, 3] = _numbers(origin.get("xyz"))
    return T
