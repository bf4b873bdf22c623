"""The stages of the loop as jobs: plain settings in, files out, so that each is cached, resumed or sent to a worker."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from agents.controls import shuffle_within_phase
from agents.extraction import labeller
from agents.label_report import Share, label_report, warnings
from agents.make import continued_policy, load_policy, make_policy, policy_content
from agents.phases import progress_phases
from agents.policy import Policy
from agents.recap import improve
from envs.adapt import OwnTask
from envs.backend import choose_gl
from envs.ledger import Trial
from envs.oracles.mix import OracleMix
from envs.rollout import evaluate_trials, record, rollout
from envs.simpler.catalogue import SimplerTask
from envs.takeover import Takeover
from episodes import seeds
from episodes.files import copy_folder, make_once, write_atomic
from episodes.labels import Labels
from episodes.lerobot_layout import HEADER_PATH
from episodes.progress import under
from episodes.store import Episodes, EpisodeStore
from episodes.store_index import named
from episodes.windows import DecodedCache
from experiments.loop.addresses import digest
from experiments.loop.cached import cached
from experiments.loop.schemas import RecapSimConfig, TaskConfig
from experiments.studies.arms import TOKENS, Arm
from networks.latents import LatentEncoder, latents_config
from networks.settings import LatentsConfig
from valuefns.crossfit import cross_fit
from valuefns.registry import reads_latents

CACHE_FORMAT = 1  # raise it when a stage computes something else from the same settings; a value has its own `format`


def make_env(task: TaskConfig, max_steps: int) -> Any:
    """Build the environment of `task` (not wrapped: it checks its own inputs and ends its own episodes)."""
    import gymnasium

    import envs

    found = envs.find_task(task.env_id)
    if isinstance(found, SimplerTask):
        return _make_simpler(found, task, max_steps)
    if isinstance(found, OwnTask):
        return _make_own(found, task, max_steps)
    if task.gripper == "change":
        raise ValueError(f"task.gripper=change: {task.env_id} has a gripper that takes positions; leave it empty")
    return gymnasium.make(
        found.env_id,
        disable_env_checker=True,
        image_size=task.image_size,
        cameras=tuple(task.cameras),
        hz=task.hz,
        hold_steps=task.hold_steps,
        render=task.render,
        max_steps=max_steps,
    ).unwrapped


def _make_simpler(simpler: Any, task: TaskConfig, max_steps: int) -> Any:
    """A SIMPLER task, ended where it is solved; its camera and its rate are the task's own."""
    from envs.simpler.env import CAMERA, SimplerEnv

    own = {"cameras": [CAMERA[simpler.robot]], "hz": simpler.hz, "hold_steps": 1}
    for name, value in own.items():
        if getattr(task, name) != value:
            raise ValueError(f"task.{name}={getattr(task, name)}: {task.env_id} has task.{name}={value}")
    return SimplerEnv(
        simpler, image_size=task.image_size, max_steps=max_steps, stop_at_success=True, gripper=task.gripper
    )


def _make_own(own: OwnTask, task: TaskConfig, max_steps: int) -> Any:
    """The environment that a function of the user's makes; its cameras and rate are its own."""
    choose_gl()
    env = own.make(image_size=task.image_size, max_steps=max_steps)
    spec = getattr(env, "spec_", None)
    if spec is None:
        raise ValueError(f"task.env_id={own.env_id}: the function returned {env!r}; return envs.adapt(env, ...)")
    wanted = {"cameras": list(spec.cameras), "hz": spec.hz, "image_size": spec.image_size[0], "hold_steps": 1}
    for name, value in wanted.items():
        if getattr(task, name) != value:
            raise ValueError(f"task.{name}={getattr(task, name)}: {own.env_id} makes one with task.{name}={value}")
    return env


def make_oracle(mix: OracleMix, envs: Sequence[Any]) -> Any:
    """The scripted oracle of the environments' task: its own, ORACLE in envs/oracles/<task>.py, or SIMPLER's."""
    task = envs[0].unwrapped.task
    if isinstance(task, SimplerTask):
        from envs.simpler.oracles import oracle

        return oracle(envs, mix)
    return (task.oracle or import_module(f"envs.oracles.{task.name}").ORACLE)(envs, mix)


def collect(settings: RecapSimConfig) -> EpisodeStore:
    """Record the demonstrations, or continue or open them where they lie: in the cache or collect.store."""
    if settings.collect.store:
        return _given(settings)
    seed_block = seeds.train_block(settings.seed, settings.collect.episodes)
    address = digest(CACHE_FORMAT, settings.task, settings.collect, [seed_block.start, seed_block.stop])
    path = Path(settings.cache) / "datasets" / address
    make = partial(make_env, settings.task, settings.collect.max_steps)
    begun = (path / HEADER_PATH).exists

    def record_missing() -> None:
        if not begun():
            env = make()
            EpisodeStore.create(path, env.spec_).close()
            env.close()
        with EpisodeStore.open(path, "a") as writer:
            record(
                make,
                partial(make_oracle, settings.collect.mix),
                [Trial(s) for s in seed_block],
                writer,
                source="oracle",
                workers=settings.workers,
                action_noise=settings.collect.action_noise,
            )

    make_once(path, lambda: begun() and len(EpisodeStore.open(path)) >= settings.collect.episodes, record_missing)
    return EpisodeStore.open(path)


def _given(settings: RecapSimConfig) -> EpisodeStore:
    """The demonstrations that somebody recorded, whose EnvSpec must be that of the environment."""
    store = EpisodeStore.open(settings.collect.store)
    env = make_env(settings.task, store.spec.max_steps)
    store.spec.require_same(env.spec_, f"collect.store={settings.collect.store}")
    env.close()
    return store


def fit_latents(settings: RecapSimConfig, store: Episodes, valuefn: Any = None) -> LatentsConfig:
    """Fit the latent encoder on the unlabelled frames, once per (frames, settings); a published one is ready.

    So is that of the saved value whose weights `valuefn` starts from.
    """
    if getattr(valuefn, "init", ""):
        return settings.latents  # `make_value` takes the saved value's
    encoder = LatentEncoder(settings.latents)
    if encoder.fitted:
        return settings.latents
    key = digest(CACHE_FORMAT, store.content_hash, settings.latents, settings.seed)

    def fit(folder: Path) -> None:
        data = DecodedCache(store, Path(settings.cache) / "decoded")
        encoder.fit(data.images, settings.seed, settings.device, folder).save(folder)

    return cached(Path(settings.cache) / "latents" / key, "model.safetensors", fit, latents_config)


def save_values(path: Path, values: Sequence[np.ndarray]) -> None:
    """Write one float32 (T + 1,) array per episode as one npz file."""
    content = io.BytesIO()  # a zip file that could not be written complains once more when it is forgotten
    np.savez(content, lengths=np.array([len(v) for v in values]), values=np.concatenate(values))
    write_atomic(path, content.getvalue())


def load_values(path: Path) -> list[np.ndarray]:
    """Read what `save_values` wrote; a missing or damaged file is a ValueError that names it."""
    with named(path, "delete it and run the same command again, the values are computed anew"):
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # numpy stops reading before the checksum is compared
                raise ValueError(f"its part {archive.testzip()} is damaged")
        with np.load(path, allow_pickle=False) as f:
            lengths, values = f["lengths"], f["values"]
        if lengths.ndim != 1 or lengths.dtype.kind != "i" or values.dtype.kind != "f" or (lengths < 1).any():
            raise ValueError("it does not hold the lengths of episodes and one number per frame")
        if values.shape != (lengths.sum(),):
            raise ValueError(f"it has {values.shape} values for {lengths.sum()} frames")
        return np.split(values, np.cumsum(lengths)[:-1])


def score(
    settings: RecapSimConfig, store: Episodes, valuefn: Any, folder: Path | None = None, workers: int = 1
) -> tuple[list[np.ndarray], Path]:
    """Return the cross-fitted values of every episode and the folder of the fold models (kept in the cache)."""
    latents = fit_latents(settings, store, valuefn) if reads_latents(valuefn) else settings.latents
    key = digest(CACHE_FORMAT, store.content_hash, valuefn, settings.latents, settings.folds, settings.seed)
    place = folder or Path(settings.cache) / "values" / key

    def fit(place: Path) -> None:
        values = cross_fit(valuefn, latents, store, settings.folds, place, settings.seed, settings.device, workers)
        save_values(place / "values.npz", values)

    loaded = cached(place, "values.npz", fit, lambda place: load_values(place / "values.npz"))
    if [len(v) - 1 for v in loaded] != [row["length"] for row in store.index]:
        raise ValueError(f"{place / 'values.npz'}: not of the episodes in {store.path}; delete it and run again")
    return loaded, place


def report_labels(
    settings: RecapSimConfig, store: Episodes, values: Sequence[np.ndarray], methods: Sequence[str]
) -> list[Share]:
    """The label report of several methods on one store and its values; a starved phase is said on the spot."""
    phases = progress_phases(store)
    shares = [
        share
        for method in methods
        for share in label_report(store, labeller(method)(store, values, settings.labeller), phases, method)
    ]
    for line in warnings(shares):
        print(f"  WARNING: {line}", flush=True)
    return shares


@dataclass(frozen=True)
class ArmJob:
    """Everything one process needs to train and evaluate an arm."""

    settings: RecapSimConfig
    arm: Arm
    values: Path  # of the demonstrations
    store: Path
    folder: Path
    policy_of: Path | None = None  # folder of the finished arm whose policy is tested with this arm's token
    start: Path | None = None  # folder of a saved policy that every iteration's training starts from
    data_of: Path | None = None  # folder of the finished arm whose demonstrations, rollouts and values are read


def make_actor(folder: Path, device: str, indicator: int | None, envs: Sequence[Any]) -> Policy:
    """Load a policy for `envs`, whose EnvSpec must be its own."""
    policy = load_policy(folder, device)
    for env in envs:
        policy.spec.require_same(env.spec_, f"policy {folder}")
    if indicator is not None:
        policy.indicator = indicator
    return policy


def evaluation_seeds(settings: RecapSimConfig) -> range:
    """The seeds every method is tested on."""
    evaluation = settings.evaluation
    pool = seeds.EVAL if evaluation.split == "eval" else seeds.TUNE
    return pool[evaluation.first : evaluation.first + evaluation.trials]


def evaluate(settings: RecapSimConfig, policy: Path, indicator: int | None, ledger: Path) -> list[dict[str, Any]]:
    """Roll a saved policy out on the evaluation seeds; rows with success, steps, seconds."""
    from envs.ledger import TrialLedger

    return evaluate_trials(
        partial(make_env, settings.task, settings.evaluation.max_steps),
        partial(make_actor, policy, settings.device, indicator),
        [Trial(s) for s in evaluation_seeds(settings)],
        source=f"policy:{policy.name}",
        ledger=TrialLedger(ledger),
    )


def train_policy(
    settings: RecapSimConfig, data: Episodes, labels: Labels, folder: Path, k: int = 0, start: Path | None = None
) -> Policy:
    """Train the policy of iteration k into folder/policy-k, from `start` or anew; one that is there is loaded."""
    place = folder / f"policy-{k}"
    if (place / "model.safetensors").exists():
        return load_policy(place, settings.device)
    if start is None:
        policy = make_policy(settings.policy, data.spec, settings.seed, settings.device)
    else:
        policy = continued_policy(start, settings.policy, data.spec, settings.device)
    policy.fit(data, labels, settings.seed, folder / f"train-{k}", Path(settings.cache) / "decoded")
    labels.save(folder / f"labels-{k}.parquet")
    policy.save(place)
    return policy


def run_arm(job: ArmJob) -> list[dict[str, Any]]:
    """Train and evaluate one arm; one row per evaluated episode of each iteration, from its trial ledgers."""
    with under(job.arm.name):
        return _run_arm(job)


def _run_arm(job: ArmJob) -> list[dict[str, Any]]:
    settings, arm, folder = job.settings, job.arm, job.folder
    if job.data_of is not None:
        return _on_rollouts(job, job.data_of)
    tested_folder = folder if job.policy_of is None else job.policy_of
    iterations = range(arm.iterations if job.policy_of is None else 1)
    if job.policy_of is not None or all(_has_tested(settings, folder, k) for k in iterations):
        return [row for k in iterations for row in _tested(settings, arm, k, tested_folder / f"policy-{k}", folder)]
    store = _own_store(job.store, folder) if arm.iterations > 1 else EpisodeStore.open(job.store)

    def fit_values(data: Episodes, k: int) -> list[np.ndarray]:
        return load_values(job.values) if k == 0 else score(settings, data, settings.valuefn, folder / f"value-{k}")[0]

    def label(data: Episodes, values: Sequence[np.ndarray], extraction: Any) -> Labels:
        labels = labeller(arm.method)(data, values, extraction)
        return shuffle_within_phase(labels, progress_phases(data), settings.seed) if arm.shuffled else labels

    def fit_policy(data: Episodes, labels: Labels, k: int) -> Policy:
        return train_policy(settings, data, labels, folder, k, job.start)

    def collect_own(policy: Policy, k: int) -> Any:
        env = make_env(settings.task, settings.collect.max_steps)
        first = settings.collect.episodes + (k - 1) * settings.rollouts
        trials = [Trial(s) for s in seeds.train_block(settings.seed, first + settings.rollouts)[first:]]
        takeover = None
        if settings.corrections:
            takeover = Takeover(make_oracle(OracleMix.only("expert"), [env]), settings.takeover)
        content = policy_content(folder / f"policy-{k - 1}")
        yield from rollout(
            policy, [env], trials, source=f"policy:{arm.method}@{k}", iteration=k, policy=content, takeover=takeover
        )
        env.close()

    rows = []
    for step in improve(store, fit_values, label, settings.labeller, fit_policy, collect_own, arm.iterations):
        k = step.iteration
        rows += _tested(settings, arm, k, folder / f"policy-{k}", folder)
    return rows


def _on_rollouts(job: ArmJob, data_of: Path) -> list[dict[str, Any]]:
    """Train once on everything that the last iteration of another arm had read, with its values, and evaluate."""
    settings, arm, folder, k = job.settings, job.arm, job.folder, job.arm.iterations - 1
    if not _has_tested(settings, folder, k):
        store = EpisodeStore.open(data_of / "store")
        values = load_values(data_of / f"value-{k}" / "values.npz")
        train_policy(settings, store, labeller(arm.method)(store, values, settings.labeller), folder, k, job.start)
    return _tested(settings, arm, k, folder / f"policy-{k}", folder)


def _has_tested(settings: RecapSimConfig, folder: Path, k: int) -> bool:
    """Whether every trial of an iteration is in its ledger: then nothing of it is trained or run again."""
    from envs.ledger import TrialLedger

    return not TrialLedger(folder / f"trials-{k}.jsonl").pending(Trial(s) for s in evaluation_seeds(settings))


def _tested(settings: RecapSimConfig, arm: Arm, k: int, policy: Path, folder: Path) -> list[dict[str, Any]]:
    rows = evaluate(settings, policy, TOKENS.get(arm.token), folder / f"trials-{k}.jsonl")
    return [{"arm": replace(arm, iterations=1).name, "method": arm.method, "iteration": k} | row for row in rows]


def share_first_iteration(finished: Path, folder: Path) -> None:
    """Give an arm the first iteration of a finished one of the same method and value; nothing is trained twice."""
    for name in ("policy-0", "labels-0.parquet", "trials-0.jsonl"):
        source, target = finished / name, folder / name
        if target.exists() or not source.exists():
            continue
        if source.is_dir():
            copy_folder(source, target)
        else:
            write_atomic(target, partial(shutil.copy2, source))


def _own_store(base: Path, folder: Path) -> EpisodeStore:
    """A store of the arm's own that starts as the demonstrations (hard links: store files never change)."""
    own = folder / "store"
    if not own.exists():
        copy_folder(base, own, link=True, leave_out=("*.lock", "lock"))
    return EpisodeStore.open(own, "a")
