"""Every definition of "how well is it going" that a value can be trained on or compared with, and its step rewards.

Scales. `progress`, `annotated`, `oracle`: 0 at the start, 1 at success. `viva`: V = 1 - G/2 in (0, 1], a success above
0.5. `recap`: minus the remaining steps as a share of the time limit, in [-1, 0]. Higher is better in all of them.

Frames. An episode of T steps has T frames at which an action was taken, t = 0..T-1, and the final observation t = T.
`viva_*`, `recap_return` and `oracle_return` have T + 1 entries (the last one is the final observation), rewards have T.
`progress_return` and `annotated_return` follow the papers: T is the number of frames of the video, the last being 1.

Everything is float64, so that a plateau is exactly flat and an exact value has an advantage of exactly 0 (to 1e-12).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from episodes.types import SEGMENTS, Episode

Float = npt.NDArray[np.float64]

_SLOPE = {"advance": 1, "hesitation": 0, "retry": -1, "failure": 0}


def progress_return(T: int) -> Float:
    """Linear progress of an expert video of T frames: v_t = t / (T-1), shape (T,), in [0, 1].

    Errors: T < 2 is a ValueError. Source: GVL section 3; WVM section 3.1.
    Differs from the paper: WVM writes t/T, but its annotated curves (B.1) end at exactly 1 on frame T-1; so does this.
    """
    if T < 2:
        raise ValueError(f"progress_return: T is {T}; progress needs at least 2 frames")
    return np.arange(T) / (T - 1)


def annotated_return(
    T: int,
    m: int,
    n: int,
    kind: Literal["hesitation", "retry"],
    retry_divisor: Literal["T-2x", "T-1-2x"] = "T-2x",
) -> Float:
    """Progress of a successful video of T frames with one suboptimal segment [m, n] (inclusive), shape (T,), in [0, 1].

    Piecewise linear through (0, 0), (m, v_m), (n, v_n), (T-1, 1) with x = n - m:
    hesitation v_m = v_n = m / (T-1-x); retry v_m = m / (T-2x), v_n = max(0, (m-x) / (T-2x)).
    `retry_divisor`: the paper's T-2x makes the last slope slightly steeper than the first two; T-1-2x makes all equal.

    Errors (ValueError; count and report them, late retries are lost systematically): not 0 < m < n < T-1; a retry with
    a divisor <= 0; a retry with v_m > 1. Source: WVM equations B.1 to B.3.
    """
    if not 0 < m < n < T - 1:
        raise ValueError(f"annotated_return: segment [{m}, {n}] of {T} frames; it needs 0 < m < n < T-1")
    x = n - m
    if kind == "hesitation":
        v_m = v_n = m / (T - 1 - x)
    elif kind == "retry":
        if retry_divisor not in ("T-2x", "T-1-2x"):
            raise ValueError(f"annotated_return: retry_divisor is {retry_divisor!r}; use 'T-2x' or 'T-1-2x'")
        divisor = T - 2 * x - (retry_divisor == "T-1-2x")
        if divisor <= 0:
            raise ValueError(
                f"annotated_return: retry [{m}, {n}] of {T} frames has {retry_divisor} = {divisor}; drop it"
            )
        v_m, v_n = m / divisor, max(0.0, (m - x) / divisor)
        if v_m > 1:
            raise ValueError(f"annotated_return: retry [{m}, {n}] of {T} frames starts at {v_m:.3f} > 1; drop it")
    else:
        raise ValueError(f"annotated_return: kind is {kind!r}; use 'hesitation' or 'retry'")
    return np.interp(np.arange(T), [0, m, n, T - 1], [0.0, v_m, v_n, 1.0])


def oracle_return(segments: npt.ArrayLike, success: bool, rate: float | None = None) -> Float:
    """Progress from per-step segment labels, any number of segments, shape (T+1,), in [0, 1] (ours).

    u_0 = 0; u_{t+1} = max(0, u_t + s_t) with s = +1 advance, 0 hesitation or failure, -1 retry; v_t = min(1, r u_t).
    segments (T,): indices into SEGMENTS of the steps. On success r = 1 / u_T, so the curve ends at exactly 1. A failure
    has no end to fix r by: r is `rate`, the progress per advancing step (of the task's successes, where known), and 1/T
    without one: then the curve stays below 1 unless every single step advanced.

    Errors (ValueError): no steps, an unlabelled step, a success without net advance, a rate given for a success.
    """
    labels = np.asarray(segments)
    T = len(labels)
    if T == 0:
        raise ValueError("oracle_return: no steps; an episode has at least one")
    names = [SEGMENTS[int(label)] for label in labels]
    if "unlabelled" in names:
        raise ValueError(
            f"oracle_return: step {names.index('unlabelled')} is unlabelled; only labelled episodes have one"
        )
    u = np.zeros(T + 1)
    for t, name in enumerate(names):
        u[t + 1] = max(0.0, u[t] + _SLOPE[name])
    if success:
        if rate is not None:
            raise ValueError(f"oracle_return: rate {rate} given for a success, whose end fixes the rate; leave it out")
        if u[T] == 0:
            raise ValueError("oracle_return: a success whose labels have no net advance; check the segment labels")
        values: Float = u / u[T]  # divided, not multiplied: the end is exactly 1
    else:
        values = u * (1.0 / T if rate is None else rate)
    return np.minimum(values, 1.0, out=values)


def viva_cost_to_go(T: int, success: bool) -> Float:
    """ViVa's cost-to-go G_t = (T-1-t)/T, plus 1 on failure, shape (T+1,): success in [0, 1), failure in [1, 2).

    The latent target is z = G - 1 in [-1, 1). The entry t = T repeats the end of the last step: 0 on success, 1 on
    failure (ours: the final observation costs nothing more, and the penalty of a failure stays with its value).
    Errors: T < 1 is a ValueError. Source: ViVa equations 1 and 2 (there t counts from 1).
    """
    _check_steps(T, "viva_cost_to_go")
    return np.maximum(T - 1 - np.arange(T + 1), 0) / T + (0.0 if success else 1.0)


def viva_return(T: int, success: bool) -> Float:
    """ViVa's value as this project exposes it: V_t = 1 - G_t / 2, shape (T+1,), in (0, 1]; success is above 0.5.

    V_{T-1} = V_T = 1 on success and 0.5 on failure. Its slope is half of progress: p = 2V - 1 is in progress units.
    Differs from the paper: the decoded mean z in [-1, 1] falls with progress as written; V = (1 - z) / 2 rises.
    """
    return 1.0 - viva_cost_to_go(T, success) / 2


def viva_rewards(T: int) -> Float:
    """Step rewards in the scale of `viva_return`, shape (T,): -1/(2T) per step and 0 at the last, success or failure.

    V_t = sum_{k=t}^{T-1} r_k + V_T, so r_t + V_{t+1} - V_t = 0 for an exact V. What the outcome is worth (1 or 0.5) is
    V_T, the value of the final observation, and no reward: it cannot be counted twice. Source: ViVa equation 1.
    """
    _check_steps(T, "viva_rewards")
    return np.where(np.arange(T) < T - 1, -1.0 / (2 * T), 0.0)


def recap_return(
    T: int, success: bool, max_steps: int, c_fail: float, failure_scale: Literal["clip", "joint"] = "clip"
) -> Float:
    """RECAP's return: minus the steps still to take (and C_fail on failure), normalised, shape (T+1,), in [-1, 0].

    Undiscounted sum of -1 per step, 0 at the last step of a success, -C_fail at the last step of a failure:
    V_t = -(T-1-t) / max_steps on success, in (-1, 0]; on failure -(T-1-t) - C_fail, divided by max_steps and clipped at
    -1 ("clip"), or success and failure alike divided by max_steps + C_fail ("joint", nothing is clipped). The entry
    t = T repeats T-1: 0 on success, the scaled -C_fail on failure.

    max_steps: the task's longest episode, in steps; c_fail: in steps, undisclosed by the paper.
    Errors (ValueError): T outside 1..max_steps, c_fail < 0, an unknown failure_scale. Source: pi*0.6 equation 5.
    """
    _check_steps(T, "recap_return")
    if max_steps < T:
        raise ValueError(f"recap_return: {T} steps with max_steps {max_steps}; use the task's longest episode")
    if not c_fail >= 0:
        raise ValueError(f"recap_return: c_fail is {c_fail}; it is a cost in steps, at least 0")
    if failure_scale not in ("clip", "joint"):
        raise ValueError(f"recap_return: failure_scale is {failure_scale!r}; use 'clip' or 'joint'")
    steps = -np.maximum(T - 1 - np.arange(T + 1), 0).astype(np.float64) - (0.0 if success else c_fail)
    return steps / (max_steps + c_fail) if failure_scale == "joint" else np.maximum(steps / max_steps, -1.0)


def recap_rewards(
    T: int, success: bool, max_steps: int, c_fail: float, failure_scale: Literal["clip", "joint"] = "clip"
) -> Float:
    """Step rewards in the scale of `recap_return`, shape (T,): r_t = V_t - V_{t+1}, -1/max_steps where nothing clips.

    V_t = sum_{k=t}^{T-1} r_k + V_T, so r_t + V_{t+1} - V_t = 0 for an exact V; while the clip holds V at -1 a step
    costs nothing. Errors as `recap_return`.
    Differs from the paper: -C_fail is V_T, the value of the final observation, instead of the last reward, so that a
    learned V_T does not count it a second time. The exact return-to-go of frame t is `recap_return(...)[t]`.
    """
    values = recap_return(T, success, max_steps, c_fail, failure_scale)
    return values[:-1] - values[1:]


def episode_return(
    episode: Episode, kind: Literal["viva", "oracle", "recap"], max_steps: int = 0, c_fail: float = 0.0
) -> Float:
    """The return of one episode, shape (T+1,), by the name of its definition (recap needs max_steps and c_fail)."""
    if kind == "viva":
        return viva_return(len(episode), episode.success)
    if kind == "oracle":
        return oracle_return(episode.segments, episode.success)
    if kind == "recap":
        return recap_return(len(episode), episode.success, max_steps, c_fail)
    raise ValueError(f"episode_return: {kind!r} is not defined for every episode; use 'viva', 'oracle' or 'recap'")


def _check_steps(T: int, what: str) -> None:
    if T < 1:
        raise ValueError(f"{what}: T is {T}; an episode has at least one step")
