"""Bad input is refused in one line that names the thing and the way out, and changes nothing on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from envs.ledger import Trial, TrialLedger
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import record
from episodes.files import writer_lock
from episodes.labels import Labels
from episodes.store import EpisodeStore
from episodes.windows import DecodedCache
from experiments.loop import schemas
from experiments.loop.checks import check
from experiments.loop.run_folder import write_json
from experiments.loop.stages import save_values
from tests.helpers.bad_inputs import CASES, WAY_OUT, Case, make_world
from tests.helpers.made_lift import SPEC, made_episode
from tests.helpers.some_episodes import assert_same


def tree(folder: Path) -> dict[str, str]:
    """{path: what it holds} of everything below a folder, lock files apart."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder"
        for p in sorted(folder.rglob("*"))
        if not (p.name.endswith("lock"))
    }


def refused(call: Callable[[], Any], named: str, folder: Path, kinds: Any = ValueError) -> str:
    """Call, and return the one line it is refused with."""
    before = tree(folder)
    with pytest.raises(kinds, match=named) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and "\r" not in text, text
    assert WAY_OUT.search(text), f"no way out in: {text}"
    assert tree(folder) == before, "bad input left something on disk"
    return text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad") / "world"
    make_world(root)
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused(case: Case, world: Path) -> None:
    copy = world.parent / "copies" / case.part
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(world / case.part, copy)
    case.damage(copy)
    refused(lambda: case.read(copy), case.named, copy)
    assert case.part != "nothing" or not list(copy.iterdir())


def test_the_world_is_good(world: Path) -> None:
    """Every reader accepts its undamaged part, so a refusal above is of the damage."""
    for case in CASES:
        if case.read.__name__ not in ("<lambda>", "read"):
            case.read(world / case.part)


# --- settings
def composed(*overrides: str) -> Any:
    schemas.register()
    with initialize_config_dir(schemas.CONF, version_base="1.3"):
        settings = schemas.resolve(compose("recap_sim", overrides=list(overrides)))
    check(settings)
    return settings


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("sead=1", "sead"),
        ("valuefn.horizonn=3", "horizonn"),
        ("seed=abc", "seed"),
        ("seed=1.5", "seed"),
        ("task.image_size=large", "image_size"),
        ("methods=bc", "methods"),
        ("valuefn=vivaa", "vivaa"),
        ("task=stack_of_everything", "stack_of_everything"),
        ("policy=pi0", "pi0"),
        ("preset=huge", "huge"),
        ("collect=5", "collect"),
        ("collect.mix.expert=x", "expert"),
    ],
)
def test_a_setting_that_does_not_exist_or_has_another_type_is_named(override: str, named: str) -> None:
    with pytest.raises(ConfigCompositionException) as caught:  # Hydra's own, which it prints without a traceback
        composed(override)
    assert named in str(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("methods=[bc,ppo]", "'ppo'.*choose"),
        ("methods=[]", "methods"),
        ("methods=[bc,bc]", "methods"),
        ("methods=[../x]", r"\.\./x"),
        ("seed=-1", "seed=-1"),
        ("seed=100", "seed=100"),
        ("folds=0", "folds=0"),
        ("folds=201", "folds=201"),
        ("workers=0", "workers=0"),
        ("iterations=0", "iterations=0"),
        ("iterations=500", "1..10000"),
        ("device=gpu", "device=gpu"),
        ("device=cuda:99", "device=cuda:99"),
        ("evaluation.split=test", "split='test'"),
        ("evaluation.trials=0", "trials=0"),
        ("evaluation.first=5000000", "first=5000000"),
        ("collect.episodes=0", "episodes=0"),
        ("collect.action_noise=-1", "action_noise=-1"),
        ("collect.mix.expert=0.9", "sum to"),
        ("collect.mix.failure=-0.1", "failure=-0.1"),
        ("collect.action_noise=nan", "action_noise=nan"),
        ("task.env_id=made/No-v0", "made/No-v0"),
        ("task.image_size=0", "image_size=0"),
        ("task.image_size=100000", "image_size=100000"),
        ("task.image_size=65", "multiples of 32"),
        ("task.hz=0", "hz=0"),
        ("task.hz=inf", "hz=inf"),
        ("task.cameras=[]", "cameras"),
        ("task.cameras=[wrist,wrist]", "cameras"),
        ("labeller.keep=2", "keep=2"),
        ("labeller.filter=best", "filter='best'"),
        ("labeller.advantage.n=0", "n=0"),
        ("valuefn.horizon=0", "horizon=0"),
        ("valuefn.training.batch_size=0", "batch_size=0"),
        ("valuefn.training.lr=nan", "lr=nan"),
        ("valuefn.training.precision=fp8", "precision='fp8'"),
        ("policy.chunk=2", "execute=4"),
        ("policy.training.log_every=0", "log_every=0"),
        ("policy.training.betas=[0.9,1.5]", "betas"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(override: str, named: str, tmp_path: Path) -> None:
    text = refused(lambda: composed("preset=tiny", override), named, tmp_path)
    assert "object_type" not in text


# --- environments
@pytest.fixture(scope="module")
def env() -> Iterator[RoboSuiteEnv]:
    env = RoboSuiteEnv("lift", images=False, max_steps=3)
    env.reset(seed=0)
    yield env
    env.close()


@pytest.mark.parametrize(
    ("action", "named"),
    [
        (np.full(7, np.nan), "not finite"),
        (np.array([0, 0, np.inf, 0, 0, 0, 0]), "not finite"),
        (np.zeros(6), r"shape \(6,\)"),
        (np.zeros((1, 7)), r"shape \(1, 7\)"),
        (0.0, r"shape \(\)"),
        ("forward", "no array"),
        ([None] * 7, "not finite|no array"),
        ([[1], [1, 2]], "no array"),
    ],
)
def test_a_bad_action_is_refused_and_moves_nothing(env: RoboSuiteEnv, action: Any, named: str, tmp_path: Path) -> None:
    before = env.raw.sim.data._data.qpos.copy()
    refused(lambda: env.step(action), named, tmp_path)
    np.testing.assert_array_equal(env.raw.sim.data._data.qpos, before)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"task": "fold_shirt"}, "fold_shirt"),
        ({"cameras": ("left",)}, "left"),
        ({"cameras": ("../wrist",)}, r"\.\./wrist"),
        ({"cameras": ("wrist", "wrist")}, "once"),
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": 10**9}, "image_size=1000000000"),
        ({"image_size": 64.5}, "image_size=64.5"),
        ({"image_size": "64"}, "image_size='64'"),
        ({"hz": 0}, "hz=0"),
        ({"hz": float("nan")}, "hz=nan"),
        ({"hz": 1e9}, "hz=1000000000"),
        ({"hz": "fast"}, "hz=fast"),
        ({"max_steps": -1}, "max_steps=-1"),
        ({"hold_steps": 0}, "hold_steps=0"),
        ({"render": "raytraced"}, "raytraced"),
        ({"render_mode": "human"}, "human"),
    ],
)
def test_a_bad_environment_is_refused(settings: dict[str, Any], named: str, tmp_path: Path) -> None:
    refused(lambda: RoboSuiteEnv(**settings), named, tmp_path)


def test_no_gl_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from envs import rendering

    monkeypatch.setattr(rendering, "choose_gl", lambda: "egl")
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    refused(lambda: rendering._gl_context(8, 8), "MUJOCO_GL=egl cannot draw.*install", tmp_path, ImportError)


def test_no_simulator_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from envs import backend

    monkeypatch.setitem(sys.modules, "robosuite", None)
    refused(backend.load_robosuite, r"\[robosuite\]", tmp_path, ImportError)


# --- places
def mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root, and a kernel that lets it")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture()
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "size=512k")


def fill(place: Path) -> Path:
    """Use up the disk to the last page."""
    with open(place / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return place / "filler"


def writers(folder: Path, store: EpisodeStore) -> dict[str, Callable[[], Any]]:
    """Everything that writes, with somewhere to write to."""
    weight = [np.ones(row["length"]) for row in store.index]
    labels = Labels.from_arrays(store, "bc", weight=weight)
    values = [np.zeros(30_000, np.float32)]
    row = {"key": Trial(0).key, "what": "x" * 5000}
    return {
        "store": lambda: EpisodeStore.create(folder / "new", SPEC),
        "labels": lambda: labels.save(folder / "l.parquet"),
        "values": lambda: save_values(folder / "values.npz", values),
        "decoded": lambda: DecodedCache(store, folder),
        "ledger": lambda: TrialLedger(folder / "t.jsonl").add(row),
        "json": lambda: write_json(folder / "run.json", {"a": "x" * 5000}),
        "lock": lambda: writer_lock(folder / "no" / "lock", "a store").acquire(),
    }


@pytest.mark.parametrize("what", ["labels", "values", "decoded", "json"])
def test_a_full_disk_is_named(small_disk: Path, world: Path, what: str) -> None:
    fill(small_disk)
    call = writers(small_disk, EpisodeStore(world / "store"))[what]
    refused(call, f"{small_disk}.*No space left.*free some disk space", small_disk)


def test_a_full_disk_tears_one_line_of_a_ledger_at_most(small_disk: Path) -> None:
    ledger = TrialLedger(small_disk / "t.jsonl")
    ledger.add({"key": "seed=0"})
    filler = fill(small_disk)
    with pytest.raises(ValueError, match=r"t\.jsonl.*free some disk space"):
        ledger.add({"key": "seed=1", "what": "x" * 9000})
    assert [row["key"] for row in TrialLedger(ledger.path).rows] == ["seed=0"]
    filler.unlink()
    ledger.add({"key": "seed=1"})
    assert [row["key"] for row in TrialLedger(ledger.path).rows] == ["seed=0", "seed=1"]


class Idle:
    """An actor that stays where it is."""

    def reset(self, *_: Any) -> None: ...

    def act(self, observations: Any) -> Any:
        return np.zeros((len(observations), 1, 7), np.float32)


def test_recording_on_a_full_disk_keeps_what_was_committed(small_disk: Path, env: RoboSuiteEnv) -> None:
    trials = [Trial(seed) for seed in range(4)]
    with EpisodeStore.create(small_disk / "store", env.spec_) as store:
        settings: dict[str, Any] = {"source": "idle", "block": 1}
        record(lambda: env, lambda envs: Idle(), trials[:2], store, **settings)  # type: ignore[arg-type]
        kept = store.content_hash
        filler = fill(small_disk)
        with pytest.raises(ValueError, match=r"No space left on device.*free some disk space") as caught:
            record(lambda: env, lambda envs: Idle(), trials, store, **settings)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert len(store) == 2 and EpisodeStore(store.path).content_hash == kept
        list(EpisodeStore(store.path))
        filler.unlink()
        record(lambda: env, lambda envs: Idle(), trials, store, **settings)  # type: ignore[arg-type]
        assert [row["seed"] for row in EpisodeStore(store.path).index] == [0, 1, 2, 3]


def test_a_file_size_limit_is_named(tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "s", SPEC) as store:
        store.append([made_episode(1, T=1)])
        before = tree(store.path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            with pytest.raises(ValueError, match=r"file-001\.parquet: cannot be written \(File too large\); free"):
                store.append([made_episode(2)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert tree(store.path) == before
        store.append([made_episode(3)])
    assert_same(EpisodeStore(tmp_path / "s")[1], made_episode(3))


@pytest.fixture(scope="module")
def closed(world: Path) -> Iterator[Path]:
    """A read-only file system with a store in it."""
    for place in mounted(world.parent / "closed", "size=8m"):
        shutil.copytree(world / "store", place / "store")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield place


@pytest.mark.parametrize("what", ["store", "labels", "values", "decoded", "ledger", "json", "lock"])
def test_a_read_only_folder_is_named(closed: Path, what: str) -> None:
    store = EpisodeStore(closed / "store")
    assert len(list(store)) == 3
    refused(writers(closed, store)[what], f"{closed}.*Read-only.*(writable|choose)", closed)


def test_a_read_only_store_is_named_when_opened_for_writing(closed: Path) -> None:
    refused(lambda: EpisodeStore(closed / "store", "a"), "writer.lock.*Read-only.*choose", closed)


@pytest.mark.parametrize("name", ["a b", "a=b", "ünï", "100%", "[x]*", "{chunk_index}", "a\nb", "file:x", "-", "'\""])
def test_names_with_odd_characters_work(tmp_path: Path, name: str) -> None:
    spec = dataclasses.replace(SPEC, cameras=(name, "wrist"))
    images = dict(zip(spec.cameras, made_episode(1, T=2).images.values(), strict=True))
    provenance = dataclasses.replace(made_episode(1).provenance, source=name, variant=name)
    episode = dataclasses.replace(made_episode(1, T=2), images=images, provenance=provenance, instruction=name)
    with EpisodeStore.create(tmp_path / name / "s", spec) as store:
        store.append([episode])
    store = EpisodeStore(tmp_path / name / "s")
    assert_same(store[0], episode)
    Labels.from_arrays(store, name, weight=[np.ones(2)]).save(tmp_path / name / "l.parquet")
    assert Labels.load(tmp_path / name / "l.parquet", store).made_by == name
    DecodedCache(store, tmp_path / name / "decoded")
