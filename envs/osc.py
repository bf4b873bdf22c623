"""robosuite's control loop without its bookkeeping: the same states bit for bit, several times faster.

robosuite evaluates operational space control (Khatib 1987, IEEE J. Robotics and Automation 3(1)) in Python at every
2 ms substep. Between two policy actions only the state changes, so the look-ups by name, the action limits, the zero
velocity of the fixed base and the gripper's command need not be found again, and the torques come from one compiled
function (`envs.osc_kernel`). benchmarks/osc_speed.py measures what is left beside the physics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

Advance = Callable[[npt.NDArray[np.float64], int], None]  # (action, substeps): one policy step


def advance_stock(raw: Any, action: npt.NDArray[np.float64], substeps: int) -> None:
    """One policy step as in robosuite's MujocoEnv.step, without its observations, reward and horizon."""
    for substep in range(substeps):
        raw.sim.step1()
        raw._pre_action(action, substep == 0)
        raw.sim.step2()


def control_loop(raw: Any) -> Advance:
    """The fastest loop that has `raw`'s dynamics: `FastControl`, or `advance_stock` where that is not made for it."""
    return FastControl(raw) if supported(raw) else partial(advance_stock, raw)


class FastControl:
    """The same as `advance_stock`, for the stock fixed-impedance OSC_POSE of one arm (`supported`).

    robosuite's records of recent positions, forces and torques (robot.recent_*) and its copies of the arm's state
    (robot.part_controllers["right"].ref_pos and others) are not kept.
    """

    def __init__(self, raw: Any) -> None:
        from robosuite.utils import transform_utils

        from envs.osc_kernel import set_torques  # loads numba

        self._raw, self._set_torques, self._transforms = raw, set_torques, transform_utils
        self._model, self._data = model, data = raw.sim.model._model, raw.sim.data._data
        arm, actuators = raw.robots[0].part_controllers["right"], raw.robots[0]._ref_actuators_indexes_dict
        self._site = raw.sim.model.site_name2id(arm.ref_name)
        self._position, self._rotation = data.site_xpos[self._site], data.site_xmat[self._site].reshape(3, 3)
        self._jacobian, self._full_mass = np.zeros((2, 3, model.nv)), np.zeros((model.nv, model.nv))
        self._indices = [np.array(i, np.int64) for i in (arm.qvel_index, arm.qpos_index, actuators["right"])]
        self._limits = model.actuator_ctrlrange[self._indices[2]]
        self._gripper = np.array(actuators["right_gripper"])
        self._gripper_limits = model.actuator_ctrlrange[self._gripper].T
        raw.robots[0].composite_controller.update_state()
        self._to_base = transform_utils.pose_inv(transform_utils.make_pose(arm.origin_pos, arm.origin_ori))
        self._pose = np.eye(4)

    def __call__(self, action: npt.NDArray[np.float64], substeps: int) -> None:
        model, data = self._model, self._data
        assert self._raw.sim.data._data is data, "the model was rebuilt; so must be its FastControl"
        mujoco.mj_step1(model, data)
        known = self._set_goal(action)
        set_torques, jacobian, (jac_pos, jac_rot) = self._set_torques, self._jacobian, self._jacobian
        site, qM, full_mass, inputs = self._site, data.qM, self._full_mass, self._inputs()
        for substep in range(substeps):
            if substep > 0:
                mujoco.mj_step1(model, data)
            if substep > 0 or not known:
                mujoco.mj_jacSite(model, data, jac_pos, jac_rot, site)
                mujoco.mj_fullM(model, full_mass, qM)
                set_torques(jacobian, full_mass, *inputs)
            mujoco.mj_step2(model, data)

    def _set_goal(self, action: npt.NDArray[np.float64]) -> bool:
        """Set the arm's goal and the gripper's command; True if the first torques are set, too.

        The goal is action times full scale from the present pose in the base's frame. Only the latter's origin is
        looked up once, as the base stands still.
        """
        robot = self._raw.robots[0]
        arm, gripper = robot.part_controllers["right"], robot.part_controllers["right_gripper"]
        if not arm.new_update:  # after a reset robosuite takes them from a state in which the fingers were elsewhere
            self._raw._pre_action(action, True)
            return True
        delta = arm.scale_action(action[:6])
        self._pose[:3, 3], self._pose[:3, :3] = self._position, self._rotation
        in_base = self._to_base.dot(self._pose)
        turn = self._transforms.quat2mat(self._transforms.axisangle2quat(delta[3:]))
        arm.goal_pos, arm.goal_ori = in_base[:3, 3] + delta[:3], np.dot(turn, in_base[:3, :3])
        gripper.new_update = False  # its command needs no state
        gripper.set_goal(robot.gripper["right"].format_action(action[6:]))
        self._data.ctrl[self._gripper] = np.clip(gripper.run_controller(), *self._gripper_limits)
        return False

    def _inputs(self) -> tuple[npt.NDArray[Any], ...]:
        """What `set_torques` reads and writes beside the Jacobian and the mass matrix, for all substeps of a step."""
        arm, data = self._raw.robots[0].part_controllers["right"], self._data
        return (
            *(data.qpos, data.qvel, data.qfrc_bias, self._position, self._rotation),
            arm.origin_pos + np.dot(arm.origin_ori, arm.goal_pos),
            np.dot(arm.origin_ori, arm.goal_ori),
            *(np.array([arm.kp, arm.kd]), np.array(arm.initial_joint), self._limits, *self._indices, data.ctrl),
        )


def supported(raw: Any) -> bool:
    """True for one fixed-base arm under the stock OSC_POSE controller, whose loop is written out above."""
    from robosuite.controllers.composite.composite_controller import CompositeController
    from robosuite.controllers.parts.arm.osc import OperationalSpaceController

    robot = raw.robots[0]
    arm = robot.part_controllers.get("right")
    return (
        len(raw.robots) == 1
        and type(robot.composite_controller) is CompositeController
        and set(robot.part_controllers) == {"right", "right_gripper"}
        and type(arm) is OperationalSpaceController
        and arm.impedance_mode == "fixed"
        and arm.input_ref_frame == "base"
        and arm.input_type == "delta"
        and arm.use_ori
        and arm._goal_update_mode == "achieved"
        and arm.position_limits is None
        and not np.array(arm.orientation_limits).any()
        and arm.uncoupling
        and arm.lite_physics
        and raw.lite_physics
        and arm.interpolator_pos is None
        and arm.interpolator_ori is None
        and arm.num_ref_sites == 1
    )
