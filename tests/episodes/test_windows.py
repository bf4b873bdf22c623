"""Windows hold the frames and actions they claim, and a resumed run draws what it would have drawn."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import episodes.store as store_module
from episodes.files import TEMPORARY
from episodes.labels import Labels
from episodes.store import EpisodeStore
from episodes.windows import ActionWindows, DecodedCache
from tests.helpers.some_episodes import make_episode, make_spec

LENGTHS = [3, 7, 1, 5]


@pytest.fixture()
def store(tmp_path: Path) -> EpisodeStore:
    store = EpisodeStore.create(tmp_path / "s", make_spec())
    store.append(make_episode(seed, T, success=seed % 2 == 0) for seed, T in enumerate(LENGTHS))
    return store


@pytest.mark.parametrize("on_disk", [False, True])
def test_every_frame_is_where_its_index_says(store: EpisodeStore, tmp_path: Path, on_disk: bool) -> None:
    view = store.select([1, 3, 0])
    cache = DecodedCache(view, tmp_path / "cache" if on_disk else None)
    assert cache.images.shape == (3 + 7 + 5 + 3, 2, 8, 12, 3) and cache.actions.shape == (15, 2) and len(cache) == 3
    assert cache.episodes.tolist() == [1, 3, 0] and cache.success.tolist() == [False, False, True]
    for i, episode in enumerate(view):
        assert cache.lengths[i] == len(episode) and cache.instructions[i] == episode.instruction
        for t in range(len(episode) + 1):
            n = cache.frame_index(i, t)
            for v, camera in enumerate(view.spec.cameras):
                np.testing.assert_array_equal(cache.images[n, v], episode.images[camera][t])
            np.testing.assert_array_equal(cache.proprio[n], episode.proprio[t])
            np.testing.assert_array_equal(cache.progress[n], episode.progress[t])
        first = cache.step_offsets[i]
        np.testing.assert_array_equal(cache.actions[first : first + len(episode)], episode.actions)
    with pytest.raises(AssertionError):
        cache.frame_index(2, 4)
    with pytest.raises(ValueError):
        cache.images[0] = 0


def test_the_cache_on_disk_is_decoded_once_and_whole_or_absent(
    store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    (folder / f"{TEMPORARY}0123456789abcdef-{store.content_hash}").mkdir(parents=True)  # of a process that was killed
    real = store_module.EpisodeStore._read
    reads = itertools.count()

    def failing(self: EpisodeStore, row: dict[str, object]) -> object:
        if next(reads) == 2:
            raise KeyboardInterrupt
        return real(self, row)

    monkeypatch.setattr(store_module.EpisodeStore, "_read", failing)
    with pytest.raises(KeyboardInterrupt):
        DecodedCache(store, folder)
    assert [p for p in folder.iterdir() if p.suffix != ".lock"] == []
    monkeypatch.undo()
    first = DecodedCache(store, folder)
    monkeypatch.setattr(store_module.EpisodeStore, "_read", None)
    second = DecodedCache(store, folder)
    np.testing.assert_array_equal(first.images, second.images)
    assert sorted(p.name for p in folder.iterdir()) == [store.content_hash, f"{store.content_hash}.lock"]
    (folder / store.content_hash / "actions.npy").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"actions\.npy.*delete its folder"):
        DecodedCache(store, folder)
    np.save(folder / store.content_hash / "actions.npy", np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"actions\.npy: \(3, 2\) float64, expected \(16, 2\) float32"):
        DecodedCache(store, folder)


def test_windows_hold_what_they_claim(store: EpisodeStore) -> None:
    windows = ActionWindows(DecodedCache(store), chunk=4)
    batch = windows.sample(np.random.default_rng(0), 500)
    assert batch["images"].shape == (500, 2, 8, 12, 3) and batch["actions"].shape == (500, 4, 2)
    assert batch["images"].dtype == np.uint8 and batch["actions"].dtype == np.float32
    assert (batch["weight"] == 1).all() and (batch["indicator"] == 2).all()
    seen = set()
    loaded = list(store)
    for b in range(500):
        e, t = int(batch["episode"][b]), int(batch["frame"][b])
        seen.add((e, t))
        episode, T = loaded[e], LENGTHS[e]
        np.testing.assert_array_equal(batch["images"][b, 1], episode.images["wrist"][t])
        np.testing.assert_array_equal(batch["proprio"][b], episode.proprio[t])
        expected = [episode.actions[min(t + k, T - 1)] for k in range(4)]
        np.testing.assert_array_equal(batch["actions"][b], expected)
        assert batch["valid"][b].tolist() == [t + k < T for k in range(4)]
    assert seen == {(e, t) for e, T in enumerate(LENGTHS) for t in range(T)}, "every step is drawn, none beyond the end"


def test_steps_are_equally_likely(store: EpisodeStore) -> None:
    batch = ActionWindows(DecodedCache(store)).sample(np.random.default_rng(0), 16_000)
    counts = np.bincount(batch["episode"] * 10 + batch["frame"])
    counts = counts[counts > 0]
    assert len(counts) == 16 and np.abs(counts - 1000).max() < 5 * 31  # 5 standard deviations


def test_labels_reach_their_steps_and_zero_weight_is_never_drawn(store: EpisodeStore) -> None:
    view = store.select([3, 1])  # not in the order of the labels
    weights = [np.arange(T, dtype=np.float32) + 10 * e for e, T in enumerate(LENGTHS)]
    weights[3][[1, 4]] = 0
    indicator = [np.arange(T) % 2 for T in LENGTHS]
    labels = Labels.from_arrays(store, "x", weight=weights, indicator=indicator)
    windows = ActionWindows(DecodedCache(view), labels)
    batch = windows.sample(np.random.default_rng(0), 400)
    assert len(windows) == 5 + 7 - 2 and (batch["weight"] > 0).all()
    for e, t, w, i in zip(batch["episode"], batch["frame"], batch["weight"], batch["indicator"], strict=True):
        assert w == weights[e][t] and i == t % 2


def test_step_k_depends_on_seed_and_k_alone(store: EpisodeStore) -> None:
    windows = ActionWindows(DecodedCache(store))
    through = list(itertools.islice(windows.batches(7, 32), 6))
    resumed = list(itertools.islice(windows.batches(7, 32, start_step=4), 2))
    for a, b in zip(through[4:], resumed, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    draws = {batch["frame"].tobytes() + batch["episode"].tobytes() for batch in through}
    other = next(windows.batches(8, 32))
    assert len(draws | {other["frame"].tobytes() + other["episode"].tobytes()}) == 7


def test_nothing_to_draw_is_said(store: EpisodeStore, tmp_path: Path) -> None:
    cache = DecodedCache(store)
    zero = Labels.from_arrays(store, "x", weight=[np.zeros(T) for T in LENGTHS])
    with pytest.raises(ValueError, match="every weight is 0"):
        ActionWindows(cache, zero)
    part = Labels.from_arrays(store.select([0]), "x", weight=[np.ones(3)])
    with pytest.raises(ValueError, match="no episode 1"):
        ActionWindows(cache, part)
    with pytest.raises(ValueError, match="chunk is 0"):
        ActionWindows(cache, chunk=0)
    with pytest.raises(ValueError, match="no episodes"):
        DecodedCache(store.select([]))


def test_drawing_by_weight_has_the_gradient_of_the_weighted_loss(store: EpisodeStore) -> None:
    """E[mean over drawn steps of grad l] = sum_i w_i grad l_i / sum_i w_i, for a linear model's squared error."""
    rng = np.random.default_rng(0)
    weight = [rng.exponential(size=T).astype(np.float32) for T in LENGTHS]
    weight[0][:] = 0
    cache = DecodedCache(store)
    labels = Labels.from_arrays(store, "x", weight=weight)
    drawing, weighing = (ActionWindows(cache, labels, chunk=2, weighting=w) for w in ("sample", "loss"))

    def gradients(batch: dict[str, np.ndarray]) -> np.ndarray:
        x, error = batch["proprio"], batch["proprio"].sum(1) - batch["actions"][:, 0, 0]
        return x * error[:, None] * batch["valid"][:, :1]

    every = weighing.gather(np.arange(len(cache.actions)))
    w = np.concatenate(weight)
    wanted = (w[:, None] * gradients(every)).sum(0) / w.sum()
    drawn = drawing.sample(np.random.default_rng(1), 60_000)
    assert (drawn["weight"] == 1).all() and not (drawn["episode"] == 0).any()
    found = gradients(drawn)
    assert (np.abs(found.mean(0) - wanted) < 5 * found.std(0) / np.sqrt(len(found))).all()
    unweighted = gradients(every).mean(0)
    assert (np.abs(unweighted - wanted) > 5 * found.std(0) / np.sqrt(len(found))).any(), "the test can tell them apart"
    with pytest.raises(ValueError, match="weighting='both'"):
        ActionWindows(cache, labels, weighting="both")
