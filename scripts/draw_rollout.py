"""Draws README's picture: the best policy of a run at work, the value of every moment below it.

python scripts/draw_rollout.py [RUN] [TARGET]      # the newest of runs/recap_sim; docs/rollout.gif
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium

import envs  # noqa: F401  registers the tasks
import foresight
from envs.replay import replay

ROOT = Path(__file__).resolve().parents[1]
SEED, STEPS, SIZE = 5, 55, 256


def main(run: str, target: Path) -> Path:
    """Roll the policy out where models look (64 pixels), draw it again for people, and put the value below."""
    policy, value = foresight.load_policy(run), foresight.load_value(run)
    (episode,) = foresight.rollout(policy, [_make(64)], [foresight.Trial(SEED)], source="picture")
    large = replay(_make(SIZE), episode)
    assert large is not None, "the episode could not be drawn again"
    scores = {"how well it goes, by ViVa": value.score(episode)}
    return foresight.plot_value(replace(episode, images=large), scores, target)


def _make(size: int) -> Any:
    return gymnasium.make("foresight/Lift-v0", disable_env_checker=True, image_size=size, max_steps=STEPS)


if __name__ == "__main__":
    given = sys.argv[1:]
    print(main(given[0] if given else "runs/recap_sim", Path(given[1]) if given[1:] else ROOT / "docs" / "rollout.gif"))
