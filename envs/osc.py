"""robosuite's control loop without its bookkeeping: the same operations in the same order, in half the time.

robosuite evaluates operational space control (Khatib 1987, IEEE J. Robotics and Automation 3(1)) in Python at every
2 ms substep: F = Lambda (kp e - kd v), tau = J^T F + bias + N^T tau_null. Between two policy actions only the state
changes, so the look-ups by name, the action limits, the zero velocity of the fixed base and the gripper's command need
not be found again.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt


def advance_stock(raw: Any, action: npt.NDArray[np.float64], substeps: int) -> None:
    """One policy step as in robosuite's MujocoEnv.step, without its observations, reward and horizon."""
    for substep in range(substeps):
        raw.sim.step1()
        raw._pre_action(action, substep == 0)
        raw.sim.step2()


def advance(raw: Any, action: npt.NDArray[np.float64], substeps: int) -> None:
    """The same as `advance_stock`, bit for bit: robosuite sets the goal in the first substep, the rest is done here.

    Where the controller is not the stock fixed-impedance OSC_POSE of one arm, `advance_stock` is used.
    """
    if not supported(raw):
        advance_stock(raw, action, substeps)
        return
    from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

    model, data, robot = raw.sim.model._model, raw.sim.data._data, raw.robots[0]
    mujoco.mj_step1(model, data)
    raw._pre_action(action, True)
    mujoco.mj_step2(model, data)

    arm = robot.part_controllers["right"]
    actuators = robot._ref_actuators_indexes_dict["right"]
    low, high = model.actuator_ctrlrange[actuators, 0], model.actuator_ctrlrange[actuators, 1]
    site = raw.sim.model.site_name2id(arm.ref_name)
    joints, joint_qpos, actuators = np.array(arm.qvel_index), np.array(arm.qpos_index), np.array(actuators)
    goal_position = arm.origin_pos + np.dot(arm.origin_ori, arm.goal_pos)
    goal_rotation = np.dot(arm.origin_ori, arm.goal_ori)
    kp, kd = arm.kp, arm.kd
    jac_pos, jac_rot = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    J = np.zeros((6, len(joints)))
    J_pos, J_rot = np.zeros((3, len(joints))), np.zeros((3, len(joints)))
    full_mass = np.zeros((model.nv, model.nv))
    qpos, qvel, bias, ctrl, qM = data.qpos, data.qvel, data.qfrc_bias, data.ctrl, data.qM
    position, rotation = data.site_xpos[site], data.site_xmat[site].reshape(3, 3)
    for _ in range(substeps - 1):
        mujoco.mj_step1(model, data)
        mujoco.mj_jacSite(model, data, jac_pos, jac_rot, site)
        J_pos[:], J_rot[:] = jac_pos[:, joints], jac_rot[:, joints]
        J[:3], J[3:] = J_pos, J_rot
        mujoco.mj_fullM(model, full_mass, qM)
        mass = full_mass[joints, :][:, joints]
        joint_vel = qvel[joints]
        force = (goal_position - position) * kp[:3] + -np.dot(jac_pos, qvel) * kd[:3]
        torque = orientation_error(goal_rotation, rotation) * kp[3:6] + -np.dot(jac_rot, qvel) * kd[3:6]
        _, lambda_pos, lambda_rot, nullspace = opspace_matrices(mass, J, J_pos, J_rot)
        wrench = np.concatenate([np.dot(lambda_pos, force), np.dot(lambda_rot, torque)])
        torques = np.dot(J.T, wrench) + bias[joints]
        torques += nullspace_torques(mass, nullspace, arm.initial_joint, qpos[joint_qpos], joint_vel)
        ctrl[actuators] = np.minimum(np.maximum(torques, low), high)
        mujoco.mj_step2(model, data)


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
        and arm.uncoupling
        and arm.lite_physics
        and raw.lite_physics
        and arm.interpolator_pos is None
        and arm.interpolator_ori is None
        and arm.num_ref_sites == 1
    )
