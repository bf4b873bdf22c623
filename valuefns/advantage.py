"""From values to advantages, right at the end of an episode, in progress units (1 is the whole task).

Every advantage below is a difference of the surplus of an episode, the value plus the time already paid for:

    U_t = p_t + sum_{k<t} r_k        p_t the value in progress units, r_k <= 0 the cost of step k

U is constant along an episode for an exact value, so every advantage of an exact value is 0, whatever the horizon, the
smoothing, the scale or the time cost. Where the episode terminated, U_T holds its outcome; where time ran out it holds
the value of the final observation (bootstrap), because a limit on the clock is no outcome that a state can foresee.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter, savgol_filter

Float = npt.NDArray[np.float64]


def surplus(progress: npt.ArrayLike, rewards: npt.ArrayLike, outcome: float | None = None, smoothing: int = 1) -> Float:
    """Return the surplus U of every frame, float64 (T+1,).

    progress (T+1,), rewards (T,) without the terminal one. outcome: what the episode ended with, in progress units,
    counted once in place of the value of the final observation; None bootstraps from that value. smoothing: frames
    (odd) that U is averaged over, at the ends along a straight line; an episode with fewer is averaged over what it
    has. An outcome is known, and is not averaged.
    Source: pi*0.6 eq. 5 ff. Ours: the bootstrap where the episode was truncated, the smoothing.
    """
    if smoothing < 1 or smoothing % 2 == 0:
        raise ValueError(f"advantage smoothing={smoothing}: use an odd number of frames, 1 for none")
    p, r = np.asarray(progress, np.float64), np.asarray(rewards, np.float64)
    assert p.shape == (len(r) + 1,), (p.shape, r.shape)
    U = p + np.concatenate([[0.0], np.cumsum(r)])
    known = len(U) if outcome is None else len(U) - 1  # frames whose value is an estimate
    window = min(smoothing, known - (known + 1) % 2)  # the largest odd number of frames there are
    if window > 1:
        U[:known] = savgol_filter(U[:known], window, polyorder=1, mode="interp")
    if outcome is not None:
        U[-1] = outcome + r.sum()
    return U


def n_step(U: Float, n: int) -> Float:
    """Return the n-step advantage of every step, float64 (T,).

        A_t = U_{min(t+n, T)} - U_t = sum_{k=t}^{min(t+n,T)-1} r_k + p_{min(t+n,T)} - p_t

    Source: pi*0.6 eq. 5 ff. (RECAP); n = 50 there.
    """
    if n < 1:
        raise ValueError(f"advantage n={n}: the number of steps must be at least 1")
    T = len(U) - 1
    return U[np.minimum(np.arange(T) + n, T)] - U[:-1]


def gae(U: Float, lam: float) -> Float:
    """Return the generalised advantage estimate of every step, undiscounted, float64 (T,).

        A_t = sum_{k=0}^{T-1-t} lambda^k (U_{t+k+1} - U_{t+k})

    Source: Schulman et al. 2016, eq. 16, gamma = 1. Ours: here, in place of RECAP's n steps.
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"advantage lam={lam}: lambda lies in [0, 1]")
    return np.asarray(lfilter([1.0], [1.0, -lam], np.diff(U)[::-1])[::-1])


def chunk(progress: npt.ArrayLike, H: int, tail: str = "scaled") -> Float:
    """Return WVM's chunk advantage of every step, float64 (T,).

        Delta_t = p(min(t + H - 1, T - 1)) - p(t)         (WVM eq. E.4)

    tail="printed" is the equation: near the end it has fewer steps to rise, so good last steps score about 0 and a
    percentile filter drops successful endings. tail="scaled" multiplies by (H - 1) / (tail - t); the last step, which
    has no step after it, takes the value of the one before. progress (T+1,), of which the first T are used.
    """
    if tail not in ("printed", "scaled"):
        raise ValueError(f"advantage tail={tail!r}: choose printed or scaled")
    if H < 2:
        raise ValueError(f"advantage chunk H={H}: a chunk has at least 2 steps")
    p = np.asarray(progress, np.float64)[:-1]
    T = len(p)
    t = np.arange(T)
    end = np.minimum(t + H - 1, T - 1)
    delta: Float = p[end] - p
    if tail == "scaled":
        delta = delta * (H - 1) / np.maximum(end - t, 1)
        if T > 1:
            delta[-1] = delta[-2]
    return delta
