"""The one loop that makes episodes: n environments stepped together, one batched `act` call, results in trial order.

`rollout` is the loop; `record` (rollout + store) and `evaluate_trials` (rollout + rows) run it on worker processes.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.ledger import Trial, TrialLedger, count, flag, number, number_or_nan, text
from envs.takeover import Takeover
from episodes.actor import Actor
from episodes.progress import advance, progress
from episodes.types import SEGMENTS, Episode, Observation, Provenance
from episodes.workers import map_jobs

__all__ = ["Trial", "TrialLedger", "evaluate_trials", "record", "rollout"]

MakeEnv = Callable[[], Any]
MakeActor = Callable[[Sequence[Any]], Actor]  # the environments of its slots -> the actor

_NOISE_STREAM = 0x4E  # keeps the action noise apart from the other draws of the same seed


@dataclass
class _Slot:
    """One environment's episode in progress."""

    order: int
    trial: Trial
    noise: np.random.Generator
    observations: list[dict[str, npt.NDArray[Any]]]
    progress: list[float]
    instruction: str  # the episode's, as it began
    said: str  # the present one: some tasks have several in turn
    chunk: npt.NDArray[np.float32] | None = None  # (K, A), the actor's last answer
    used: int = 0
    actions: list[npt.NDArray[np.float32]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[tuple[bool, bool]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    interventions: list[bool] = field(default_factory=list)
    corrected: bool = False  # a corrector has taken over
    success: bool = False


def rollout(
    actor: Actor,
    envs: Sequence[Any],
    trials: Iterable[Trial],
    *,
    source: str,
    policy: str = "",
    iteration: int = 0,
    action_noise: float = 0.0,
    execute: int | None = None,
    takeover: Takeover | None = None,
    draw_all: bool = True,
) -> Iterator[Episode]:
    """Run every trial and yield its Episode, in the order of the trials, whichever slot finishes first.

    `actor` answers for len(envs) slots; `execute` of the K actions of each answer are used before it is asked again
    (default: the actor's `execute` attribute, else all K), and slots whose chunk is not used up are passed None.
    `action_noise` is the standard deviation of Gaussian noise on the (first 6) dimensions of the executed action; the
    noise-free action is recorded. Segment labels and variants come from the actor's `labels` and `variants` where it
    has them. With `takeover` a corrector acts in place of an actor that has stalled. `draw_all=False` draws only the
    pictures that the actor is asked about, and the episodes carry none. An episode depends on its trial alone: not on
    n, on the order of the trials, or on what ran before. ValueError: chunks shorter than `execute`.
    """
    envs = [env.unwrapped for env in envs]
    if takeover is not None and not draw_all:
        raise ValueError("takeover needs draw_all=True: a corrector may be asked at any step")
    execute = getattr(actor, "execute", None) if execute is None else execute
    pending = enumerate(trials)
    slots: list[_Slot | None] = [None] * len(envs)
    done: dict[int, Episode] = {}
    next_out = 0
    exhausted = False
    while True:
        fresh = np.zeros(len(envs), bool)
        for i, slot in enumerate(slots):
            if slot is None and not exhausted:
                item = next(pending, None)
                exhausted = item is None
                if item is not None:
                    envs[i].blind = False
                    slots[i], fresh[i] = _begin(envs[i], *item), True
        if all(slot is None for slot in slots):
            return
        if fresh.any():
            seeds = np.array([slot.trial.seed if slot else 0 for slot in slots], np.int64)
            actor.reset(fresh, seeds, [slot.instruction if slot else "" for slot in slots])
        if takeover is not None:
            _take_over(takeover, envs, slots)
            corrector = takeover.corrector
            _ask(corrector, [s if s and s.corrected else None for s in slots], getattr(corrector, "execute", None))
        _ask(actor, [s if s and not s.corrected else None for s in slots], execute)
        for i, slot in enumerate(slots):
            if slot is None:
                continue
            acting = takeover.corrector if takeover is not None and slot.corrected else actor
            if not draw_all:
                envs[i].blind = not _used_up(slot, execute, slot.used + 1)
            if _step(envs[i], slot, action_noise, _attribute(acting, "labels", i, SEGMENTS.index("unlabelled"))):
                variant = _attribute(actor, "variants", i, "")
                provenance = Provenance(envs[i].spec_.env_id, slot.trial.seed, source, variant, policy, iteration)
                done[slot.order], slots[i] = _finish(slot, provenance, envs[i].spec_.hz, draw_all), None
        while next_out in done:
            yield done.pop(next_out)
            next_out += 1


def noise_of(seed: int) -> np.random.Generator:
    """What the action noise of the episode of this seed is drawn from."""
    return np.random.default_rng([seed, _NOISE_STREAM])


def executed_action(
    action: npt.NDArray[np.float32], scale: float, noise: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The action (A,) as it is executed: with Gaussian noise of this scale on its first 6 dimensions."""
    executed = action.astype(np.float64)
    if scale:
        executed[:6] += scale * noise.standard_normal(6)[: len(executed)]
    return executed


def _begin(env: Any, order: int, trial: Trial) -> _Slot:
    observation, info = env.reset(seed=trial.seed, options=trial.options)
    return _Slot(
        order, trial, noise_of(trial.seed), [observation], [info["progress"]], info["instruction"], info["instruction"]
    )


def _take_over(takeover: Takeover, envs: Sequence[Any], slots: Sequence[_Slot | None]) -> None:
    """Hand the slots that have just stalled to the corrector."""
    stalled = [
        s is not None and not s.corrected and takeover.due(s.progress, env.spec_.hz) for env, s in zip(envs, slots)
    ]
    if not any(stalled):
        return
    for now, slot in zip(stalled, slots):
        if now and slot is not None:
            slot.corrected, slot.chunk = True, None
    seeds = np.array([slot.trial.seed if slot else 0 for slot in slots], np.int64)
    takeover.corrector.reset(np.array(stalled), seeds, [slot.instruction if slot else "" for slot in slots])


def _ask(actor: Actor, slots: Sequence[_Slot | None], execute: int | None) -> None:
    """Give every slot that has used up its chunk a new one, in a single call; execute=None: all of the chunk."""
    asking = [s is not None and _used_up(s, execute, s.used) for s in slots]
    if not any(asking):
        return
    answers = actor.act(
        [Observation.from_gym(s.observations[-1], s.said) if a and s else None for a, s in zip(asking, slots)]
    )
    if answers.ndim != 3 or len(answers) != len(slots) or not 1 <= (execute or 1) <= answers.shape[1]:
        raise ValueError(
            f"actor {type(actor).__name__}: chunk shape {answers.shape}, expected ({len(slots)}, K, A) with K >= "
            f"execute={execute}; lower execute or return longer chunks"
        )
    for a, slot, chunk in zip(asking, slots, answers):
        if a and slot is not None:
            slot.chunk, slot.used = chunk.copy(), 0


def _used_up(slot: _Slot, execute: int | None, used: int) -> bool:
    """Whether a new chunk is asked for once `used` actions of this one are executed."""
    return slot.chunk is None or used >= (execute or len(slot.chunk))


def _step(env: Any, slot: _Slot, action_noise: float, label: int) -> bool:
    """Execute the slot's next action and record the step; true when the episode has ended."""
    assert slot.chunk is not None
    action = slot.chunk[slot.used]
    executed = executed_action(action, action_noise, slot.noise)
    observation, reward, terminated, truncated, info = env.step(executed)
    slot.used += 1
    slot.actions.append(action)
    slot.observations.append(observation)
    slot.rewards.append(float(reward))
    slot.ends.append((bool(terminated), bool(truncated)))
    slot.labels.append(int(label))
    slot.interventions.append(slot.corrected)
    slot.progress.append(info["progress"])
    slot.success = bool(info["success"])
    slot.said = info["instruction"]
    return bool(terminated or truncated)


def _finish(slot: _Slot, provenance: Provenance, hz: float, drawn: bool) -> Episode:
    cameras = [name for name in slot.observations[0] if drawn and name not in ("proprio", "state")]
    ends = np.array(slot.ends, bool)
    return Episode(
        images={name: np.stack([o[name] for o in slot.observations]) for name in cameras},
        proprio=np.stack([o["proprio"] for o in slot.observations]).astype(np.float32),
        actions=np.stack(slot.actions).astype(np.float32),
        rewards=np.array(slot.rewards, np.float32),
        terminated=ends[:, 0].copy(),
        truncated=ends[:, 1].copy(),
        success=slot.success,
        segments=np.array(slot.labels, np.int8),
        progress=np.array(slot.progress, np.float32),
        intervention=np.array(slot.interventions, bool),
        instruction=slot.instruction,
        provenance=provenance,
        hz=hz,
    )


def _attribute(actor: Actor, name: str, index: int, default: Any) -> Any:
    values = getattr(actor, name, None)
    return default if values is None else values[index]


def record(
    make_env: MakeEnv,
    make_actor: MakeActor,
    trials: Iterable[Trial],
    store: Any,
    *,
    source: str,
    workers: int = 1,
    slots: int = 1,
    block: int | None = None,
    **settings: Any,
) -> None:
    """Roll the trials out on worker processes and append their episodes to an open EpisodeStore, in trial order.

    Trials whose seed the store already has with this source and iteration are skipped, so an interrupted recording
    continues. `make_env()` and `make_actor(envs)` are sent to the workers: module-level functions or functools.partial
    of them. Each worker steps `slots` environments together; every `block` trials make one append. `settings` go to
    `rollout`.
    """
    done = {(row["seed"], row["source"], row["iteration"]) for row in store.index}
    wanted = [t for t in trials if (t.seed, source, settings.get("iteration", 0)) not in done]
    with progress("episodes", total=len(wanted)) as bar:
        told, appended = {"source": source, **settings}, 0
        for episodes in _blocks(make_env, make_actor, wanted, workers, slots, block, list, told, bar.name):
            store.append(episodes)
            appended += len(episodes)
            bar.reach(appended)


MEASURED = {
    "success": flag, "steps": count, "seconds": number, "progress": number_or_nan, "variant": text, "env_id": text,
}  # fmt: skip
"""What an evaluated trial's row holds besides its key, seed and source."""


def evaluate_trials(
    make_env: MakeEnv,
    make_actor: MakeActor,
    trials: Iterable[Trial],
    *,
    source: str,
    ledger: TrialLedger | None = None,
    workers: int = 1,
    slots: int = 1,
    block: int | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Roll the trials out on worker processes and return one row each, in trial order.

    Columns: key, seed, success, steps, seconds (simulated: steps / Hz), progress (the best), variant, source, env_id.
    Finished rows go to `ledger`, and trials found there are not run again; a row of another source is a ValueError.
    """
    trials = list(trials)
    done = [] if ledger is None else [t for t in trials if t in ledger]
    rows = {t.key: ledger.read(t, {"seed": t.seed, "source": source}, MEASURED) for t in done}  # type: ignore[union-attr]
    wanted = [t for t in trials if t.key not in rows]
    told = {"source": source, "draw_all": False, **settings}
    with progress("trials", total=len(trials), done=len(done)) as bar:
        for block_rows in _blocks(make_env, make_actor, wanted, workers, slots, block, _rows, told, bar.name):
            for row in block_rows:
                rows[row["key"]] = row
                if ledger is not None:
                    ledger.add(row)
            bar.reach(len(trials) - len(wanted) + len(rows))
    return [rows[t.key] for t in trials]


def _rows(episodes: Iterable[Episode]) -> list[dict[str, Any]]:
    return [
        {
            "key": Trial(e.provenance.seed).key,
            "seed": e.provenance.seed,
            "success": e.success,
            "steps": len(e),
            "seconds": len(e) / e.hz,
            "progress": float(e.progress.max()),
            "variant": e.provenance.variant,
            "source": e.provenance.source,
            "env_id": e.provenance.env_id,
        }
        for e in episodes
    ]


def _blocks(
    make_env: MakeEnv,
    make_actor: MakeActor,
    trials: Sequence[Trial],
    workers: int,
    slots: int,
    block: int | None,
    collect: Callable[[Iterable[Episode]], Any],
    settings: dict[str, Any],
    bar: str,
) -> Iterator[Any]:
    """`collect(rollout(block))` of each block of trials, in order; `bar` names what counts the episodes."""
    if slots < 1 or (block is not None and block < 1):
        raise ValueError(f"slots={slots}, block={block}: both must be at least 1")
    # Small enough that workers finish together, large enough that slots are seldom idle at a block's end.
    size = block or max(2 * slots, min(10, math.ceil(len(trials) / (4 * workers))))
    jobs = [tuple(trials[i : i + size]) for i in range(0, len(trials), size)]
    run = partial(_run_block, uuid.uuid4().hex, make_env, make_actor, slots, collect, settings, bar)
    try:
        yield from map_jobs(run, jobs, workers=min(workers, max(len(jobs), 1)))
    finally:
        _close_session()


_session: tuple[str, list[Any], Actor] | None = None  # environments live from block to block in a worker


def _run_block(
    session: str,
    make_env: MakeEnv,
    make_actor: MakeActor,
    slots: int,
    collect: Callable[[Iterable[Episode]], Any],
    settings: dict[str, Any],
    bar: str,
    trials: tuple[Trial, ...],
) -> Any:
    global _session
    if _session is None or _session[0] != session:
        _close_session()
        envs = [make_env() for _ in range(slots)]
        _session = (session, envs, make_actor(envs))
    _, envs, actor = _session
    return collect(_counted(rollout(actor, envs, trials, **settings), bar))


def _counted(episodes: Iterable[Episode], bar: str) -> Iterator[Episode]:
    for episode in episodes:
        advance(bar)
        yield episode


def _close_session() -> None:
    global _session
    if _session is not None:
        for env in _session[1]:
            env.close()
    _session = None
