"""What a VideoVLA policy imagines beside what then happens, and whether the two agree where it succeeds.

    python -m experiments.imagination POLICY_FOLDER --trials 20 --out runs/imagination

Rolls a saved policy out, keeps the video that it imagines with every chunk of actions, and writes into --out:
videos/<seed>.mp4 (what happened | what was last imagined, their similarity below), rows.json (an entry per trial),
summary.json, and similarity.png: the similarity of trials that succeed and that fail (VideoVLA section 4.4, figure 3).
The foreground comes from the simulator's own segmentation; robosuite tasks only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from agents.make import load_policy
from agents.videovla import VideoVlaPolicy
from envs.ledger import Trial
from envs.rollout import rollout
from episodes import seeds
from episodes.stopping import refusing
from experiments.loop.checks import check_device
from experiments.loop.run_folder import command_line, write_json
from experiments.loop.schemas import TaskConfig
from experiments.loop.stages import make_env
from experiments.models.imagination import Dreamer, compared, summarised
from experiments.models.motion import MotionConfig
from experiments.report.imagination import draw, plot


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="folder of a trained videovla policy")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="offset into the evaluation seeds")
    parser.add_argument("--max-steps", type=int, default=55, help="time limit of a trial")
    parser.add_argument("--view", help="camera that is compared; the policy's first one unless named")
    parser.add_argument("--videos", type=int, default=6, help="trials that are drawn")
    parser.add_argument("--out", type=Path, default=Path("runs/imagination"))
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    with refusing("imagination"):
        run(args)
    return 0


def run(args: argparse.Namespace) -> None:
    check_device(args.device)
    policy = load_policy(args.policy, args.device)
    if not isinstance(policy, VideoVlaPolicy) or policy.config.latents < 2:
        raise ValueError(f"policy {args.policy}: it imagines nothing; name a videovla policy with latents of 2 or more")
    view = args.view or policy.cameras[0]
    if view not in policy.cameras:
        raise ValueError(f"--view {view}: the policy sees {', '.join(policy.cameras)}")
    if not 1 <= args.trials <= len(seeds.EVAL) - args.first:
        raise ValueError(f"--trials {args.trials}: give at least 1, and no more than there are evaluation seeds")
    spec, stride, config = policy.spec, policy.config.frame_stride, MotionConfig()
    task = TaskConfig(spec.env_id, spec.image_size[0], list(spec.cameras), spec.hz)
    env = make_env(task, args.max_steps)
    if not hasattr(env, "foreground"):
        raise ValueError(f"policy {args.policy}: {spec.env_id} gives no segmentation; use a robosuite task")
    dreamer = Dreamer(policy, env, view)
    trials = [Trial(s) for s in seeds.EVAL[args.first : args.first + args.trials]]
    rows: list[dict[str, Any]] = []
    for episode in rollout(dreamer, [env], trials, source=f"policy:{args.policy.name}"):
        scores = compared(episode, dreamer.dreams, view, stride, config)
        defined = [score for _, score, _ in scores if np.isfinite(score)]
        seed = episode.provenance.seed
        mean = float(np.mean(defined)) if defined else None
        facts = {"seed": seed, "success": episode.success, "similarity": mean, "plans": len(scores)}
        rows.append(facts | {"compared": len(defined), "pairs": sum(pairs for *_, pairs in scores)})
        if len(rows) <= args.videos:
            draw(args.out / "videos" / f"{seed}.mp4", episode, dreamer.dreams, scores, view, stride)
        said = "undefined" if mean is None else f"{mean:+.2f}"
        print(f"seed {seed}: {'succeeds' if episode.success else 'fails':<8}  similarity {said}", flush=True)
    env.close()
    write_json(args.out / "rows.json", rows)
    settings = {"policy": str(args.policy), "view": view, "motion": asdict(config)}
    write_json(args.out / "summary.json", {"command": command_line(), **settings, **summarised(rows)})
    plot(args.out / "similarity.png", rows)
    print((args.out / "summary.json").read_text())


if __name__ == "__main__":
    sys.exit(main())
