"""What one worker of the SIMPLER sweep does: environments kept from trial to trial, a policy, and a row per trial.

A trial whose policy server does not answer is tried again and then becomes an error row: nothing is known about the
policy's success in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.remote import RemoteActor, ServerError, served, served_spec
from envs.simpler.catalogue import SIMPLER_TASKS
from envs.simpler.protocol import SimplerTrial
from episodes.types import EnvSpec, Episode, Observation
from experiments.loop.schemas import SimplerSweepConfig

BLOCK = 5  # trials of one task and scene that a worker runs before it reports, at least
DEFAULT_SIZE = 256  # pixels


class RandomActor:
    """Uniform actions of a tenth of the action space's range, gripper at random; seeded per episode."""

    execute = 1

    def __init__(self, spec: Any, slots: int = 1, length: int = 1) -> None:
        self.high = np.array(spec.action_high, np.float32) * np.array([0.1] * 6 + [1.0], np.float32)
        self.rngs = [np.random.default_rng(0)] * slots
        self.execute = length

    def reset(self, mask: npt.NDArray[np.bool_], seeds: npt.NDArray[np.int64], instructions: Sequence[str]) -> None:
        """Seed the draws of the episodes that begin."""
        for i in np.flatnonzero(mask):
            self.rngs[i] = np.random.default_rng(int(seeds[i]))

    def act(self, observations: Sequence[Observation | None]) -> npt.NDArray[np.float32]:
        """Small uniform actions with the gripper at random, float32 (n, K, A)."""
        chunks = np.zeros((len(observations), self.execute, len(self.high)), np.float32)
        for i, observation in enumerate(observations):
            if observation is not None:
                chunks[i] = self.rngs[i].uniform(-self.high, self.high, chunks[i].shape)
        return chunks


def is_remote(policy: str) -> bool:
    """Whether a policy is a server's address."""
    return policy.startswith(("ws://", "wss://"))


def drawn_size(settings: SimplerSweepConfig) -> tuple[int, int]:
    """Pixels (H, W) at which the environments draw: what is asked for, else what the policy was trained on."""
    if settings.image_size:
        return settings.image_size, settings.image_size
    if settings.adapter:
        from agents.adapter import load_adapter

        return load_adapter(settings.adapter).draw_size
    spec = policy_spec(settings)
    return (DEFAULT_SIZE, DEFAULT_SIZE) if spec is None else spec.image_size


def policy_spec(settings: SimplerSweepConfig) -> EnvSpec | None:
    """For which environment the policy is; None where it does not say (random, scripted, foreign servers)."""
    if is_remote(settings.policy):
        return served_spec(settings.policy)
    if settings.policy in ("random", "scripted"):
        return None
    from networks.checkpoint import load_config, reading_checkpoint

    folder = Path(settings.policy)
    raw = load_config(folder)
    with reading_checkpoint(folder):
        return EnvSpec.from_json(raw["spec"])


def policy_content(settings: SimplerSweepConfig) -> str:
    """The hash of the policy; "" where it does not say (random, scripted, foreign servers).

    Errors: it is not the one that `settings.content` names.
    """
    if is_remote(settings.policy):
        content = "" if settings.adapter else served(settings.policy)[1]
    elif settings.policy in ("random", "scripted"):
        content = ""
    else:
        from agents.make import policy_content as saved_content

        content = saved_content(Path(settings.policy))
    if settings.content not in ("", content):
        raise ValueError(
            f"policy={settings.policy}: its content is {content[:12] or 'unknown'}, not {settings.content[:12]}; leave "
            "content out, or name that policy"
        )
    return content


def check_tasks(settings: SimplerSweepConfig, plan: Sequence[SimplerTrial]) -> None:
    """ValueError where the policy is for another environment than a planned one."""
    spec = policy_spec(settings)
    own = [t.name for t in SIMPLER_TASKS.values() if spec is not None and t.env_id == spec.env_id]
    others = sorted({t.group for t in plan if t.task not in own})
    if spec is not None and others:
        groups = sorted({t.group for t in plan if t.task in own})
        way = f"use tasks=[{','.join(groups)}]" if groups else "name another policy, or tasks that it is for"
        raise ValueError(f"policy={settings.policy} is for {spec.env_id}, not for all of {', '.join(others)}; {way}")


def make_actor(settings: SimplerSweepConfig, envs: Sequence[Any]) -> Any:
    """The policy for these environments; ValueError where it is made for others."""
    spec = envs[0].spec_
    if settings.policy == "random":
        return RandomActor(spec, len(envs), max(settings.execute, 1))
    if settings.policy == "scripted":
        from envs.oracles.mix import OracleMix
        from envs.simpler.oracles import oracle

        return oracle(envs, OracleMix.only("expert"))
    if is_remote(settings.policy):
        from agents.adapter import load_adapter

        adapter = load_adapter(settings.adapter) if settings.adapter else None
        return RemoteActor(settings.policy, spec, len(envs), adapter, settings.timeout, settings.execute,
                           content=settings.content)  # fmt: skip
    from agents.make import load_policy

    policy_content(settings)  # a folder may have been trained again since the sweep began
    loaded = load_policy(Path(settings.policy), settings.device)
    spec.require_same(loaded.spec, f"policy={settings.policy}")
    return loaded


class Session:
    """The environments and the policy of a worker, kept while task, pictures and policy stay the same."""

    def __init__(self) -> None:
        self.key: Any = None
        self.envs: list[Any] = []
        self.actor: Any = None

    def open(self, settings: SimplerSweepConfig, task: str, size: tuple[int, int], images: bool) -> None:
        """Make the environments and the actor of a job, or keep those that fit."""
        key = (task, settings.policy, settings.adapter, size, images, settings.slots)
        if key != self.key:
            self.close()
            from envs.simpler.env import SimplerEnv

            spec = policy_spec(settings)
            gripper = spec.gripper if spec is not None else ""
            self.envs = [
                SimplerEnv(task, image_size=size, images=images, gripper=gripper) for _ in range(settings.slots)
            ]
            self.key = key
        if self.actor is None:
            self.actor = make_actor(settings, self.envs)

    def close(self) -> None:
        """Close the environments and the actor."""
        for env in self.envs:
            env.close()
        if hasattr(self.actor, "close"):
            self.actor.close()
        self.key, self.envs, self.actor = None, [], None


_session = Session()


@dataclass(frozen=True)
class Job:
    """Trials of one task and scene, for one worker."""

    trials: tuple[SimplerTrial, ...]
    size: tuple[int, int]
    film: str = ""  # folder for videos; rows are not wanted then


def row_of(trial: SimplerTrial, settings: SimplerSweepConfig) -> dict[str, Any]:
    """What is known of a trial before it is run."""
    return {
        "key": trial.key,
        "task": trial.group,
        "setting": trial.setting,
        "variant": trial.variant,
        "environment": trial.task,
        "place": trial.place,
        "policy": settings.policy,
        "backend": settings.backend,
        "instruction": "",
        "final": None,
        "any": None,
        "progress": None,
        "steps": None,
        "error": "",
    }


def run_job(settings: SimplerSweepConfig, job: Job) -> list[dict[str, Any]]:
    """Roll out the job's trials and return their rows; `error` says why one has no result."""
    rows = []
    for trial, episode, error in episodes(settings, job):
        row = row_of(trial, settings)
        if episode is None:
            row["error"] = error
        else:
            row |= {
                "instruction": episode.instruction,
                "final": bool(episode.success),
                "any": bool((episode.progress >= 1.0).any()),
                "progress": float(np.nanmax(episode.progress)),
                "steps": len(episode),
            }
            if job.film:
                row["video"] = film(Path(job.film), trial, episode)
        rows.append(row)
    return rows


def episodes(settings: SimplerSweepConfig, job: Job) -> Iterator[tuple[SimplerTrial, Episode | None, str]]:
    """Every trial with its episode, or with the reason why there is none, in order."""
    from envs.rollout import rollout

    waiting = list(job.trials)
    failed = dict.fromkeys((t.key for t in waiting), 0)
    drawn = bool(job.film)
    while waiting:
        try:
            _session.open(settings, waiting[0].task, job.size, settings.images or drawn)
            execute = settings.execute or None
            made = rollout(
                _session.actor,
                _session.envs,
                tuple(waiting),  # type: ignore[arg-type]
                source=f"policy:{settings.policy}",
                execute=execute,
                draw_all=drawn,
            )
            for episode in made:
                yield waiting.pop(0), episode, ""
        except ServerError as error:
            at_work = waiting[: settings.slots]  # in flight when it happened, at most
            for trial in at_work:
                failed[trial.key] += 1
            for trial in at_work:
                if failed[trial.key] >= settings.attempts:
                    waiting.remove(trial)
                    yield trial, None, str(error)


def film(folder: Path, trial: SimplerTrial, episode: Episode) -> str:
    """Write an episode with its progress as an mp4 and return the file's name."""
    from experiments.report.video import draw_video

    name = f"{trial.key.replace('/', '--')}.mp4"
    outcome = "success" if episode.success else "failure"
    draw_video(
        folder / name,
        list(episode.images.values()),
        episode.progress,
        title=f"{outcome}: {episode.instruction} ({trial.place})",
        fps=episode.hz,
    )
    return name
