"""Jerk-limited joint trajectories: what SIMPLER's controllers follow between two policy actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from episodes.extras import install

SIMPLER_EXTRA = install("simpler")
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """What every joint of one controller may do."""

    velocity: float  # rad/s
    acceleration: float  # rad/s^2
    jerk: float  # rad/s^3


ARM_LIMITS = Limits(velocity=1.5, acceleration=2.0, jerk=50.0)
GRIPPER_LIMITS = Limits(velocity=1.0, acceleration=7.0, jerk=50.0)


def plan(start: Array, velocity: Array, goal: Array, limits: Limits, times: Array) -> tuple[Array, Array]:
    """Time-optimal jerk-limited motion from (start, velocity, 0 acceleration) to rest at `goal`.

    start, velocity, goal (J,) rad, rad/s; times (S,) seconds from the start; returns positions and velocities (S, J).
    All joints arrive together; after the arrival they stay. The profile is Ruckig's (Berscheid & Kroeger 2021), as in
    SIMPLER. ValueError: a number that is not finite.
    """
    try:
        import ruckig
    except ImportError as error:
        raise ImportError(f"the Google robot's controllers need ruckig; install it with: {SIMPLER_EXTRA}") from error
    if not all(np.isfinite(x).all() for x in (start, velocity, goal)):
        raise ValueError(f"joint trajectory from {start} at {velocity} to {goal}: every number must be finite")
    joints = len(start)
    problem = ruckig.InputParameter(joints)
    problem.current_position, problem.current_velocity = start.tolist(), velocity.tolist()
    problem.target_position = goal.tolist()
    problem.max_velocity = [limits.velocity] * joints
    problem.max_acceleration = [limits.acceleration] * joints
    problem.max_jerk = [limits.jerk] * joints
    trajectory = ruckig.Trajectory(joints)
    result = ruckig.Ruckig(joints).calculate(problem, trajectory)
    assert int(result) >= 0, f"ruckig: {result} for {start} at {velocity} to {goal}"
    positions, velocities = np.empty((len(times), joints)), np.empty((len(times), joints))
    for k, t in enumerate(times):
        positions[k], velocities[k], _ = trajectory.at_time(min(float(t), trajectory.duration))
    velocities[times > trajectory.duration] = 0.0
    return positions, velocities
