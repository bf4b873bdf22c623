"""From values to advantages, right at the end of an episode.

Everything here is in the value's own scale. Two scales have rewards and exact returns (episodes/returns.py):
viva: r_t = -1/(2T), V = 1 - G/2;  recap: r_t = -1/maxlen.
"""

from __future__ import annotations

import numpy as np


def n_step(values: np.ndarray, rewards: np.ndarray, exact: np.ndarray, n: int) -> np.ndarray:
    """Return the n-step advantage of every step, float32 (T,).

        A_t = sum_{k=t}^{t+n-1} r_k + V(t+n) - V(t)      if t + n < T
        A_t = G_t - V(t)                                  otherwise, G_t the exact return-to-go

    values (T+1,), rewards (T,) without the terminal one, exact (T,) the exact return-to-go, which counts the terminal
    reward once. With V = G the advantage is 0 everywhere. Source: pi*0.6 eq. 5 ff. (RECAP); n = 50 there.
    """
    T = len(rewards)
    if n < 1:
        raise ValueError(f"advantage n={n}: the number of steps must be at least 1")
    assert values.shape == (T + 1,) and exact.shape == (T,), (values.shape, exact.shape, T)
    total = np.concatenate([[0.0], np.cumsum(rewards, dtype=np.float64)])
    t = np.arange(T)
    end = np.minimum(t + n, T)
    inside = total[end] - total[t] + values[end] - values[t]
    return np.where(t + n < T, inside, exact - values[:T]).astype(np.float32)


def chunk(values: np.ndarray, H: int, tail: str = "scaled") -> np.ndarray:
    """Return WVM's chunk advantage of every step, float32 (T,).

        Delta_t = V(min(t + H - 1, T - 1)) - V(t)         (WVM eq. E.4)

    tail="printed" is the equation: near the end it has fewer steps to rise, so good last steps score about 0 and a
    percentile filter drops successful endings. tail="scaled" multiplies by (H - 1) / (tail - t); the last step, which
    has no step after it, takes the value of the one before. values (T+1,), of which the first T are used.
    """
    if tail not in ("printed", "scaled"):
        raise ValueError(f"advantage tail={tail!r}: choose printed or scaled")
    if H < 2:
        raise ValueError(f"advantage chunk H={H}: a chunk has at least 2 steps")
    v = values[:-1].astype(np.float64)
    T = len(v)
    t = np.arange(T)
    end = np.minimum(t + H - 1, T - 1)
    delta = v[end] - v
    if tail == "scaled":
        delta = delta * (H - 1) / np.maximum(end - t, 1)
        if T > 1:
            delta[-1] = delta[-2]
    return delta.astype(np.float32)
