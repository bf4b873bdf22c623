"""One cell of the reward-shaping study: train an agent, follow its true success, and see what the value says of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import envs
from envs.tasks.base import Task
from episodes import seeds as seed_ranges
from episodes.progress import progress
from episodes.types import Episode
from experiments.loop.schemas import ShapingStudyConfig
from experiments.studies.engine import plain
from experiments.studies.shaping.levels import levels
from experiments.studies.shaping.rewards import ARMS, Reward, shaping
from experiments.studies.shaping.value import ShapingValue, applied_value, held_level
from valuefns.shaping.readers import ClockReader, InfoReader, Reader, ShuffledReader
from valuefns.shaping.terms import Shaper


@dataclass(frozen=True)
class ShapingJob:
    """What one process needs to run a cell."""

    settings: ShapingStudyConfig
    arm: str
    seed: int
    value: ShapingValue
    videos: Path  # a folder for those of hacks


def make_agent_env(settings: ShapingStudyConfig, *, images: bool = False, dense: bool = False) -> Any:
    """The task's environment as the agent observes it; `images` for looking at what it does."""
    import gymnasium

    import envs  # noqa: F401  registers the ids

    task = settings.task
    return gymnasium.make(
        task.env_id, disable_env_checker=True, image_size=task.image_size, cameras=tuple(task.cameras), hz=task.hz,
        hold_steps=settings.agent.hold_steps, render=task.render, max_steps=settings.agent.max_steps,
        images=images or settings.agent.pixels, state=not settings.agent.pixels, dense=dense,
    ).unwrapped  # fmt: skip


def make_training_envs(job: ShapingJob) -> Any:
    """The shaped VecEnv of an arm: Monitor inside records the environment's own rewards."""
    from functools import partial

    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, VecTransposeImage

    from agents.sb3 import ShapedVecEnv

    settings, arm = job.settings, ARMS[job.arm]
    config = shaping(arm, settings.agent.gamma, settings.study.every, job.value.low, job.value.high, job.value.claim)
    terminal = Shaper(config, 1).reads_terminal
    venv = DummyVecEnv([partial(_training_env, settings, arm, config.every, terminal)] * settings.agent.envs)
    venv.seed(seed_ranges.train_block(job.seed, 1).start)
    shaped: VecEnv = ShapedVecEnv(venv, _source(job, arm), config)
    if settings.agent.pixels:  # replay buffers take what is inside VecNormalize, so pictures are turned there
        shaped = VecTransposeImage(shaped)
    # outside: replay buffers take the rewards that it has seen; positions in metres are small numbers
    keys = ["proprio"] if settings.agent.pixels else None  # the algorithm itself scales pictures
    return VecNormalize(shaped, norm_reward=False, gamma=settings.agent.gamma, norm_obs_keys=keys)


def _training_env(settings: ShapingStudyConfig, arm: Reward, every: int, terminal: bool) -> Any:
    from gymnasium.wrappers import FlattenObservation
    from stable_baselines3.common.monitor import Monitor

    from envs.partial_action import PartialAction
    from envs.viewed import Viewed

    env = make_agent_env(settings, dense=arm.source == "dense")
    if settings.agent.actions:
        env = PartialAction(env, settings.agent.actions)
    if not settings.agent.pixels:
        env = FlattenObservation(Viewed(env, every, terminal) if arm.source == "value" else env)
    return Monitor(env, info_keywords=("is_success",))


def _source(job: ShapingJob, arm: Reward) -> Any:
    if arm.source == "value":
        return applied_value(job.settings, job.value.folder)
    readers: dict[str, Reader] = {
        "": InfoReader(), "progress": InfoReader(), "dense": InfoReader("dense"),
        "clock": ClockReader(job.settings.agent.max_steps), "shuffled": ShuffledReader(job.value.pool, job.seed),
    }  # fmt: skip
    return readers[arm.source]


def run_cell(job: ShapingJob) -> dict[str, Any]:
    """Train the arm's agent under its seed; the curve and the final trials count the ENVIRONMENT's success alone."""
    import torch
    from stable_baselines3 import PPO, SAC

    from agents.sb3 import SB3Actor, bind, shaped_env
    from envs.rollout import Trial, rollout

    torch.set_num_threads(1)
    gc.collect()  # the closed environments of the cell before lie in robosuite's reference cycles, 500 MB a cell
    settings, agent_settings = job.settings, job.settings.agent
    venv = make_training_envs(job)
    algorithm = {"sac": SAC, "ppo": PPO}[agent_settings.algorithm]
    arguments = deepcopy(agent_settings.settings)  # Stable-Baselines3 writes into policy_kwargs
    policy = "MultiInputPolicy" if agent_settings.pixels else "MlpPolicy"
    agent = algorithm(policy, venv, gamma=agent_settings.gamma, seed=job.seed, device=settings.agent_device,
                      **arguments)  # fmt: skip
    bind(agent)
    watcher = make_agent_env(settings)
    pool = seed_ranges.TUNE[: settings.study.curve_trials]
    curve, seconds = [], 0.0
    with progress(f"{job.arm}, seed {job.seed}", agent_settings.steps) as bar:
        for point in range(agent_settings.evaluations + 1):
            target = agent_settings.steps * point // agent_settings.evaluations
            if target > agent.num_timesteps:
                started = time.perf_counter()
                agent.learn(target - agent.num_timesteps, reset_num_timesteps=False)
                seconds += time.perf_counter() - started
                bar.advance(int(agent.num_timesteps) - bar.done)
            actor = SB3Actor(agent, [watcher], agent_settings.actions)
            found = list(rollout(actor, [watcher], [Trial(s) for s in pool], source=job.arm))
            success = float(np.mean([e.success for e in found]))
            curve.append({"step": int(agent.num_timesteps), "success": success, "seconds": seconds})
    watcher.close()
    shaped = shaped_env(venv)
    assert shaped is not None
    reader = shaped.rewarder.reader
    cost = {"calls": reader.calls, "frames": reader.frames, "seconds": reader.seconds}
    card = shaped.shaping
    finals, followed = _final_trials(job, agent)
    venv.close()
    return {"curve": curve, "rows": finals, "levels": followed, "seconds": seconds, "value": cost, "shaping": card}


def _final_trials(job: ShapingJob, agent: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Every final trial, what the simulator says and what the value that looks at it; and the `levels` of them all."""
    from agents.sb3 import SB3Actor
    from envs.rollout import Trial, rollout

    settings, evaluation = job.settings, job.settings.evaluation
    value = applied_value(settings, job.value.folder)
    env = make_agent_env(settings, images=True)
    pool = seed_ranges.EVAL if evaluation.split == "eval" else seed_ranges.TUNE
    trials = [Trial(s) for s in pool[evaluation.first : evaluation.first + evaluation.trials]]
    rows = []
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    hacks: list[tuple[Episode, np.ndarray]] = []
    for episode in rollout(SB3Actor(agent, [env], settings.agent.actions), [env], trials, source=job.arm):
        read = value.score(episode)
        seen.append((read, episode.progress))
        claimed = held_level(read, settings.task.hold_steps) >= job.value.claim
        rows.append({
            "seed": episode.provenance.seed, "success": bool(episode.success), "claimed": bool(claimed),
            "steps": len(episode), "progress": float(episode.progress.max()),
        })  # fmt: skip
        if claimed and not episode.success and len(hacks) < settings.study.videos:
            hacks.append((episode, read))
    env.close()
    _draw(job, hacks)
    return rows, levels([read for read, _ in seen], [progress for _, progress in seen])


def _draw(job: ShapingJob, hacks: Sequence[tuple[Episode, np.ndarray]]) -> None:
    """Videos of episodes that the value calls a success and the simulator does not."""
    from experiments.report.video import draw_video

    low, high = job.value.low, job.value.high
    for k, (episode, read) in enumerate(hacks):
        T = len(episode)
        draw_video(
            job.videos / f"{cell_name(job.settings, job.arm, job.seed)}-{k}.mp4",
            [frames[:T] for frames in episode.images.values()],
            ((read[:T] - low) / (high - low)).astype(float),
            episode.progress[:T].astype(float),
            f"{job.arm}: claimed, not solved",
            episode.hz,
        )


def cell_name(settings: ShapingStudyConfig, arm: str, seed: int) -> str:
    """The key of a cell: task, algorithm, arm and seed."""
    return f"{task_of(settings).name}-{algorithm_of(settings)}-{arm}-seed{seed}"


def algorithm_of(settings: ShapingStudyConfig) -> str:
    """The algorithm's name in tables and files: one that learns from pictures is another."""
    return settings.agent.algorithm + ("-pixels" if settings.agent.pixels else "")


def task_of(settings: ShapingStudyConfig) -> Task:
    """The robosuite task of the settings; ValueError where there is none."""
    found = envs.find_task(settings.task.env_id)
    if not isinstance(found, Task):
        raise ValueError(f"task.env_id={settings.task.env_id!r}: choose task={', task='.join(envs.TASKS)}")
    return found


def identity(job: ShapingJob) -> dict[str, Any]:
    """What a cell's outcome depends on."""
    settings, study = job.settings, job.settings.study
    facts: dict[str, Any] = {
        "task": asdict(settings.task),
        "agent": asdict(settings.agent),
        "evaluation": asdict(settings.evaluation),
    }
    value = {k: v for k, v in asdict(job.value).items() if k not in ("folder", "pool", "held_out")}
    facts |= {"arm": job.arm, "seed": job.seed, "every": study.every, "curve": study.curve_trials, "value": value}
    return plain(facts)
