"""Trials of a VideoVLA policy with what it imagined, drawn and summarised."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from agents.make import load_policy
from agents.videovla import VideoVlaPolicy
from envs.ledger import Trial
from envs.rollout import rollout
from episodes import seeds
from experiments.loop.checks import check_device
from experiments.loop.run_folder import command_line, write_json
from experiments.loop.schemas import TaskConfig
from experiments.loop.stages import make_env
from experiments.models.imagination import Dreamer, compared, summarised
from experiments.models.motion import MotionConfig
from experiments.models.schemas import ImagineConfig
from experiments.report.imagination import draw, plot


def run_all(config: DictConfig) -> None:
    """Roll the policy out and write rows, summary, videos and plot."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ImagineConfig)
    check_device(settings.device)
    out = Path(settings.out)
    policy = load_policy(Path(settings.policy), settings.device)
    if not isinstance(policy, VideoVlaPolicy) or policy.config.latents < 2:
        raise ValueError(f"policy {settings.policy}: imagines nothing; name a videovla policy with latents >= 2")
    view = settings.view or policy.cameras[0]
    if view not in policy.cameras:
        raise ValueError(f"view={view}: the policy sees {', '.join(policy.cameras)}")
    spec, stride, motion = policy.spec, policy.config.frame_stride, MotionConfig()
    task = TaskConfig(spec.env_id, spec.image_size[0], list(spec.cameras), spec.hz)
    env = make_env(task, settings.max_steps)
    if not hasattr(env, "foreground"):
        raise ValueError(f"policy {settings.policy}: {spec.env_id} gives no segmentation; use a robosuite task")
    dreamer = Dreamer(policy, env, view)
    trials = [Trial(s) for s in seeds.EVAL[settings.first : settings.first + settings.trials]]
    rows: list[dict[str, Any]] = []
    for episode in rollout(dreamer, [env], trials, source=f"policy:{Path(settings.policy).name}"):
        scores = compared(episode, dreamer.dreams, view, stride, motion)
        defined = [score for _, score, _ in scores if np.isfinite(score)]
        seed = episode.provenance.seed
        mean = float(np.mean(defined)) if defined else None
        row = {"seed": seed, "success": episode.success, "similarity": mean, "plans": len(scores)}
        rows.append(row | {"compared": len(defined), "pairs": sum(pairs for *_, pairs in scores)})
        if len(rows) <= settings.videos:
            draw(out / "videos" / f"{seed}.mp4", episode, dreamer.dreams, scores, view, stride)
        said = "undefined" if mean is None else f"{mean:+.2f}"
        print(f"seed {seed}: {'succeeds' if episode.success else 'fails':<8}  similarity {said}", flush=True)
    env.close()
    write_json(out / "rows.json", rows)
    facts = {"policy": settings.policy, "view": view, "motion": asdict(motion)}
    write_json(out / "summary.json", {"command": command_line(), **facts, **summarised(rows)})
    plot(out / "similarity.png", rows)
    print((out / "summary.json").read_text())
