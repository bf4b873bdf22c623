"""SIMPLER's controllers for ManiSkill 3: the Google robot's planned ones, and WidowX's pose targets.

All three compute in float64 numpy, batched over environments, and are checked against recorded targets of the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from mani_skill.agents.controllers.base_controller import BaseController, ControllerConfig
from scipy.spatial.transform import Rotation

from envs.simpler.kinematics import Chain
from envs.simpler.planner import ARM_LIMITS, GRIPPER_LIMITS, Limits, plan

Array = npt.NDArray[np.float64]

STILL = 1e-3  # rad, a gripper command below it keeps the last goal (SIMPLER)
SLACK = 0.01  # rad, the gripper's goal may be this far outside the joint limits (SIMPLER)
FINGER_INERTIA = 0.01  # kg m^2, added to each finger joint: the fingers weigh 16-33 g and are driven with 60 N m, and
# without it PhysX 5 leaves a residue of their contact forces that pushes the wrist (0.8 degrees a second)
FINGERS_MEET = 2.12  # rad, sum of the two finger angles from which they press on each other and hold nothing

chain = lru_cache(Chain)


def delta_pose(R: Array, p: Array, action: Array, centre: Array) -> tuple[Array, Array]:
    """SIMPLER's "align" frames: move by action[:, :3], turn by the rotation vector action[:, 3:6] in the base's axes.

    The turn is about `centre` (B, 3), the sensed position: p' = centre + dR (p - centre) + dp.
    """
    turn = Rotation.from_rotvec(action[:, 3:6]).as_matrix()
    return turn @ R, centre + np.einsum("bij,bj->bi", turn, p - centre) + action[:, :3]


class _Controller(BaseController):
    """What the three share: drives with gains per joint, and numpy in place of tensors."""

    config: Any
    sets_target_qpos = True
    sets_target_qvel = False

    def set_drive_property(self) -> None:
        c, n = self.config, len(self.joints)
        damping = np.broadcast_to(np.asarray(c.damping, np.float64), n)
        # SAPIEN 2 closes the share x / (1 + x) of the gap in a step, x = stiffness / damping * dt; SAPIEN 3, whose
        # drives act within the step, 1 - exp(-x). This stiffness makes the two equal (0.2-0.6 % less; the arm's lag
        # depends on it).
        x = np.asarray(c.stiffness, np.float64) / damping * self.articulation.px.timestep
        gains = [damping * np.log1p(x) / self.articulation.px.timestep, damping, np.broadcast_to(c.force_limit, n)]
        for joint, stiffness, damping, force in zip(self.joints, *gains):
            joint.set_drive_properties(float(stiffness), float(damping), force_limit=float(force), mode="force")
            joint.set_friction(0.0)

    def _numpy_qpos(self) -> Array:
        return self.qpos.cpu().numpy().astype(np.float64)  # (B, J)

    def _initialize_joints(self) -> None:
        super()._initialize_joints()
        limits = self.articulation.get_qlimits()[0, self.active_joint_indices].cpu().numpy().astype(np.float64)
        self.low, self.high = limits[:, 0], limits[:, 1]

    def _drive(self, positions: Array, velocities: Array | None = None) -> None:
        """Set the drives' targets (B, J); a simulation step follows.

        The drives get no target outside the joint limits: PhysX did that by itself in SAPIEN 2, so that a joint creeps
        up to its limit there, and does not in SAPIEN 3.
        """
        positions = np.clip(positions, self.low, self.high)
        if self.scene.gpu_sim_enabled:
            self.articulation.set_joint_drive_targets(
                torch.as_tensor(positions, dtype=torch.float32), self.joints, self.active_joint_indices
            )
            self.scene.px.gpu_apply_articulation_target_position()
            if velocities is not None:
                self.articulation.set_joint_drive_velocity_targets(
                    torch.as_tensor(velocities, dtype=torch.float32), self.joints, self.active_joint_indices
                )
                self.scene.px.gpu_apply_articulation_target_velocity()
            return
        for j, joint in enumerate(self.joints):
            drive = joint._objs[0]
            drive.set_drive_target(float(positions[0, j]))
            if velocities is not None:
                drive.set_drive_velocity_target(float(velocities[0, j]))


@dataclass
class PoseConfig(ControllerConfig):
    """`joint_names` starts with the joints of the chain to `tip`; further ones (the head's) are held where they are."""

    urdf: str
    tip: str
    stiffness: Any
    damping: Any
    force_limit: Any
    limits: Limits | None = ARM_LIMITS  # None: no trajectory, the drives get the goal at once (WidowX)
    iterations: int = 100  # of the inverse kinematics


class PoseController(_Controller):
    """End-effector deltas (B, 6) in metres and rotation vectors, by inverse kinematics.

    With `limits` (Google robot): the delta applies to the sensed pose, and a jerk-limited trajectory leads from where
    the last one had got to (planned, not sensed). Without (WidowX): the delta applies to the last target pose, which it
    turns about the sensed position. Where
    the kinematics find no solution the goal is the sensed joint angles.
    """

    config: PoseConfig

    def _initialize_joints(self) -> None:
        super()._initialize_joints()
        self.chain = chain(self.config.urdf, self.config.tip)
        n = len(self.chain.names)
        assert tuple(self.config.joint_names[:n]) == self.chain.names, (self.config.joint_names, self.chain.names)
        self._times = (np.arange(self._sim_steps) + 1) * self.articulation.px.timestep
        self._fresh: npt.NDArray[np.bool_] = np.ones(self.scene.num_envs, bool)

    def _initialize_action_space(self) -> None:
        self.single_action_space = spaces.Box(-np.pi / 2, np.pi / 2, (6,), np.float32)

    def reset(self) -> None:
        """Plan from the present joints in the environments that were reset."""
        self._fresh |= self.scene._reset_mask.cpu().numpy()
        if not hasattr(self, "_position"):
            self._position = self._numpy_qpos()
            self._velocity = np.zeros_like(self._position)
            self._target: tuple[Array, Array] = self.chain.forward(self._position[:, : len(self.chain.names)])
        self.found = np.ones(self.scene.num_envs, bool)

    def set_action(self, action: torch.Tensor) -> None:
        """Plan the joints of one control step towards the commanded poses, actions (B, 6)."""
        qpos, n = self._numpy_qpos(), len(self.chain.names)
        R, p = self.chain.forward(qpos[:, :n])
        centre, fresh = p, self._fresh[:, None]
        if self.config.limits is None:
            R, p = np.where(fresh[..., None], R, self._target[0]), np.where(fresh, p, self._target[1])
        self._target = delta_pose(R, p, action.cpu().numpy().astype(np.float64), centre)
        solution, self.found = self.chain.inverse(*self._target, qpos[:, :n], self.config.iterations)
        goal = qpos.copy()
        goal[:, :n] = np.where(self.found[:, None], solution, qpos[:, :n])
        self.goal = goal
        start, velocity = np.where(fresh, qpos, self._position), np.where(fresh, 0.0, self._velocity)
        self._fresh[:] = False
        self._step = 0
        if self.config.limits is None:
            self._drive(goal)
            return
        plans = [plan(*row, self.config.limits, self._times) for row in zip(start, velocity, goal)]
        self._plan = np.stack([positions for positions, _ in plans], axis=1)  # (S, B, J)
        self._position = self._plan[-1]
        self._velocity = np.stack([velocities[-1] for _, velocities in plans])

    def before_simulation_step(self) -> None:
        """Drive to the plan's next joint positions."""
        if self.config.limits is not None:
            self._drive(self._plan[self._step])
            self._step += 1


@dataclass
class GripperConfig(ControllerConfig):
    """Drives of the Google robot's planned gripper (N m/rad, N m s/rad, N m)."""

    stiffness: float
    damping: float
    force_limit: float
    reach: float = 1.31  # rad that a command of 1 means
    limits: Limits = GRIPPER_LIMITS


class PlannedGripper(_Controller):
    """The Google robot's fingers (B, 1): a delta of up to 1.31 rad on the drive's target, +1 closes, 0 keeps the goal.

    Every step plans anew from the sensed angles. Its start velocity is the velocity target in force at the end of the
    previous step, except where the fingers press on each other: there it is the measured one. SIMPLER takes the sensed
    velocity in both cases, which in SAPIEN 2 reads as full closing speed while something is squeezed and as zero while
    the fingers press on each other. SAPIEN 3 reports an opening velocity while squeezing, and the grasp would be lost.
    """

    config: GripperConfig
    sets_target_qvel = True

    def set_drive_property(self) -> None:
        """The drives' stiffness and damping, and the inertia of the fingers' motors."""
        super().set_drive_property()
        for joint in self.joints:
            for drive in joint._objs:
                drive.set_armature([FINGER_INERTIA])

    def _initialize_joints(self) -> None:
        super()._initialize_joints()
        self._times = (np.arange(self._sim_steps) + 1) * self.articulation.px.timestep
        self._low, self._high = self.low - SLACK, self.high + SLACK

    def _initialize_action_space(self) -> None:
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self) -> None:
        """Hold the present opening in the environments that were reset."""
        qpos, mask = self._numpy_qpos(), self.scene._reset_mask.cpu().numpy()[:, None]
        if not hasattr(self, "goal"):
            self.goal, self._position, self._velocity, self._before = qpos, qpos, np.zeros_like(qpos), qpos
            return
        for name, value in (("goal", qpos), ("_position", qpos), ("_velocity", 0.0), ("_before", qpos)):
            setattr(self, name, np.where(mask, value, getattr(self, name)))

    def set_action(self, action: torch.Tensor) -> None:
        """Plan one control step to the goal that actions (B, 1), a change, move."""
        qpos = self._numpy_qpos()
        delta = np.clip(action.cpu().numpy().astype(np.float64), -1.0, 1.0) * self.config.reach  # (B, 1)
        moved = np.clip(self._position[:, :1] + delta, self._low[:1], self._high[:1])  # both fingers follow the first
        self.goal = np.where(np.abs(delta) < STILL, self.goal, moved)
        together = (qpos.sum(axis=1, keepdims=True) > FINGERS_MEET) & np.ones_like(qpos, bool)
        measured = (qpos - self._before) / self.articulation.px.timestep
        fastest = self.config.limits.velocity
        velocity = np.clip(np.where(together, measured, self._velocity), -fastest, fastest)
        plans = [plan(*row, self.config.limits, self._times) for row in zip(qpos, velocity, self.goal)]
        self._plan = np.stack([positions for positions, _ in plans], axis=1)  # (S, B, J)
        self._speeds = np.stack([velocities for _, velocities in plans], axis=1)
        self._position, self._velocity = self._plan[-1], self._speeds[-1]
        self._step = 0

    def before_simulation_step(self) -> None:
        """Drive to the plan's next position and speed."""
        self._drive(self._plan[self._step], self._speeds[self._step])
        self._step += 1
        if self._step == len(self._plan) and not self.scene.gpu_sim_enabled:
            self._before = self._numpy_qpos()  # one simulation step before the end, for the measured velocity


@dataclass
class FingerConfig(ControllerConfig):
    """Drives of WidowX's fingers (N/m, N s/m, N) and the positions that commands of -1 and +1 mean."""

    low: float  # m, what a command of -1 means
    high: float  # m, +1
    stiffness: float
    damping: float
    force_limit: float


class FingerController(_Controller):
    """WidowX's fingers (B, 1): -1 is closed, +1 open, in between in proportion; both fingers get the same target."""

    config: FingerConfig

    def _initialize_action_space(self) -> None:
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def set_action(self, action: torch.Tensor) -> None:
        """Drive to the finger positions that actions (B, 1), a position, mean."""
        share = 0.5 + 0.5 * np.clip(action.cpu().numpy().astype(np.float64), -1.0, 1.0)
        self.goal = np.repeat(self.config.low + share * (self.config.high - self.config.low), len(self.joints), axis=1)
        self._drive(self.goal)


PoseConfig.controller_cls = PoseController
GripperConfig.controller_cls = PlannedGripper
FingerConfig.controller_cls = FingerController
