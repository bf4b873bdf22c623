"""One substep's joint torques, compiled: robosuite's own formulas called from a single compiled function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def compiled(function: Callable[..., None]) -> Any:
    """numba's njit, kept on disk where there is a place to: compiling takes seconds, loading a fraction of one."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(function)


@compiled
def set_torques(
    jacobian: Array,
    full_mass: Array,
    qpos: Array,
    qvel: Array,
    bias: Array,
    position: Array,
    rotation: Array,
    goal_position: Array,
    goal_rotation: Array,
    gains: Array,
    rest: Array,
    limits: Array,
    joint_qvel: Indices,
    joint_qpos: Indices,
    actuators: Indices,
    ctrl: Array,
) -> None:
    """ctrl[actuators] = clip(J^T (Lambda_p f, Lambda_r m) + bias + N^T tau_null), Khatib (1987) as in robosuite.

    f = kp e - kd v of the grip in N, m the same of its rotation in N m; Lambda_p and Lambda_r are the pseudo-inverses
    of J M^-1 J^T for position and rotation alone. With n joints of the arm: jacobian (2, 3, nv) of the grip's position
    and rotation, full_mass (nv, nv), position (3,) m and rotation (3, 3) of the grip, gains (2, 6) kp and kd, rest
    (n,) rad joint angles that the null space tends to, limits (n, 2) N m. Vectors are multiplied with np.dot because
    robosuite does: another order of summation would end in other bits.
    """
    n = len(joint_qvel)
    J, J_pos, J_rot = np.empty((6, n)), np.empty((3, n)), np.empty((3, n))
    mass = np.empty((n, n)).T  # Fortran order, as indexing both axes leaves it in robosuite
    for column in range(n):
        joint = joint_qvel[column]
        J_pos[:, column], J_rot[:, column] = jacobian[0, :, joint], jacobian[1, :, joint]
        for row in range(n):
            mass[row, column] = full_mass[joint_qvel[row], joint]
    J[:3], J[3:] = J_pos, J_rot
    kp, kd = gains[0], gains[1]
    force = (goal_position - position) * kp[:3] + -np.dot(jacobian[0], qvel) * kd[:3]
    moment = orientation_error(goal_rotation, rotation) * kp[3:] + -np.dot(jacobian[1], qvel) * kd[3:]
    _, lambda_pos, lambda_rot, nullspace = opspace_matrices(mass, J, J_pos, J_rot)
    wrench = np.concatenate((np.dot(lambda_pos, force), np.dot(lambda_rot, moment)))
    torques = np.dot(J.T, wrench) + bias[joint_qvel]
    torques += nullspace_torques(mass, nullspace, rest, qpos[joint_qpos], qvel[joint_qvel])
    for k in range(n):
        ctrl[actuators[k]] = min(max(torques[k], limits[k, 0]), limits[k, 1])
