"""ViVa: injection of vectors into latent frames, what is noised, learning on a solvable task, saving."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.returns import viva_return
from episodes.store import EpisodeStore
from episodes.types import Episode
from networks.checkpoint import save_module
from tests.helpers import tiny
from tests.helpers.made_lift import SPEC, made_episode, made_store
from valuefns import viva as viva_module
from valuefns.bench.metrics import spearman
from valuefns.make import load_value
from valuefns.settings import ViVaConfig
from valuefns.shaping.readers import version_of
from valuefns.viva import ViVa, _Batches
from valuefns.viva_model import ViVaModel, repeat_pad, unpad


def fake_batch(B: int = 3, views: int = 2) -> dict[str, torch.Tensor]:
    return {
        "latents": torch.randn(B, views, 48, 2, 2),
        "proprio": torch.rand(B, 11),
        "future_proprio": torch.rand(B, 11),
        "future_latents": torch.randn(B, views, 48, 2, 2),
        "cost_to_go": torch.rand(B) * 2,
        "text": torch.randn(B, 8, 16),
    }


def test_repeat_padding_is_undone_by_the_mean_over_whole_chunks() -> None:
    q = torch.randn(4, 11)
    frame = repeat_pad(q, (48, 2, 2))  # 192 entries: 17 whole chunks and a part, which is dropped
    assert frame.shape == (4, 48, 2, 2)
    torch.testing.assert_close(frame[:, :11, 0, 0], q)  # channels run fastest
    torch.testing.assert_close(unpad(frame, 11), q)


def test_every_patch_of_a_padded_frame_holds_all_entries() -> None:
    """At 224 pixels a frame is 14 x 14; filled row by row, a patch would see two of fourteen joints."""
    q = torch.arange(14.0)[None]
    frame = repeat_pad(q, (48, 14, 14))
    assert all(set(pixel.tolist()) == set(q[0].tolist()) for pixel in frame[0].flatten(1).T)  # so every 2 x 2 patch too
    torch.testing.assert_close(unpad(frame, 14), q)


@pytest.mark.parametrize(
    "changes", [{}, {"predict_proprio": False}, {"future_image": True}, {"per_token_time": False}, {"frozen": True}]
)
def test_every_switch_trains_what_it_says(changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = ViVaModel(tiny.viva(**changes), 11)
    loss = model(fake_batch())
    assert loss.shape == (3,) and torch.isfinite(loss).all()
    loss.sum().backward()
    trained = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.transformer.blocks.parameters()]
    assert any(trained) != bool(changes.get("frozen"))
    value, future = model.predict(
        *[fake_batch()[k] for k in ("latents", "proprio", "text")], model.noise(2, (48, 2, 2))
    )
    assert value.shape == (3,) and (future is None) == (changes.get("predict_proprio") is False)


def test_without_look_ahead_no_future_is_in_the_sequence() -> None:
    """The paper's ablation; lambda_prop = 0 is another: there the noised future can still be read."""
    batch = fake_batch()
    other = batch | {"future_proprio": torch.rand(3, 11)}

    def losses(**changes: object) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = ViVaModel(tiny.viva(**changes), 11)
        return [(torch.manual_seed(1), model(b))[1] for b in (batch, other)]

    alone, unlearned = losses(predict_proprio=False), losses(lambda_prop=0.0)
    assert torch.equal(*alone) and not torch.equal(*unlearned)


def test_lambda_prop_zero_gives_the_proprioception_target_no_gradient() -> None:
    torch.manual_seed(0)
    model, batch = ViVaModel(tiny.viva(lambda_prop=0.0), 11), fake_batch()
    torch.manual_seed(1)
    one = model(batch)
    torch.manual_seed(1)
    with_prop = ViVaModel(tiny.viva(), 11)
    with_prop.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    two = with_prop(batch)
    assert (two > one).all()


def test_clean_tokens_see_no_noise_level_and_the_value_does_not_see_its_own_target() -> None:
    """The prediction from fixed noise must not change with the targets; only the condition counts."""
    torch.manual_seed(0)
    model, batch = ViVaModel(tiny.viva(), 11).eval(), fake_batch()
    noise = model.noise(2, (48, 2, 2))
    a = model.predict(batch["latents"], batch["proprio"], batch["text"], noise)[0]
    b = model.predict(batch["latents"][:1], batch["proprio"][:1], batch["text"][:1], noise)[0]
    torch.testing.assert_close(a[:1], b)  # one frame, one value, whatever the batch
    assert not torch.allclose(a, model.predict(batch["latents"] + 1, batch["proprio"], batch["text"], noise)[0])


@pytest.mark.slow
def test_it_learns_a_value_that_can_be_seen(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=6, failures=3)
    value = ViVa(tiny.viva(800), tiny.PCA, seed=0).fit(store)
    fresh, failure = made_episode(50, 25), made_episode(51, 25, success=False)
    v = value.score(fresh)
    assert v.dtype == np.float32 and v.shape == (26,)
    assert spearman(v[:-1], viva_return(25, True)[:-1]) > 0.9
    assert v[-5:].mean() > value.score(failure)[-5:].mean() + 0.3
    value.save(tmp_path / "value")
    loaded = load_value(tmp_path / "value")
    np.testing.assert_array_equal(loaded.score(fresh), v)
    stream = loaded.stream(2)
    stream.reset(np.array([True, True]), [fresh.instruction] * 2)
    online = stream.step([fresh.observation(3), failure.observation(3)])
    np.testing.assert_allclose(online[0], v[3], atol=1e-5)
    alone = stream.step([None, failure.observation(3)])
    assert np.isnan(alone[0]) and alone[1] == pytest.approx(online[1], abs=1e-5)
    assert version_of(loaded) == version_of(value), "what is saved and loaded is the same value"


def test_a_value_without_look_ahead_is_trained_scored_streamed_and_saved(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=2, failures=1)
    value = ViVa(tiny.viva(3, predict_proprio=False), tiny.PCA, seed=0).fit(store)
    v, episode = value.score(store[0]), store[0]
    value.save(tmp_path / "value")
    loaded = load_value(tmp_path / "value")
    np.testing.assert_array_equal(loaded.score(episode), v)
    stream = loaded.stream(1)
    stream.reset(np.array([True]), [episode.instruction])
    np.testing.assert_allclose(stream.step([episode.observation(3)]), v[3], atol=1e-5)


def still(seed: int, T: int) -> Episode:
    """An episode in which nothing moves: one noisy picture per view, T + 1 times."""
    episode = made_episode(seed, T)
    return dataclasses.replace(episode, images={c: x[:1].repeat(T + 1, 0) for c, x in episode.images.items()})


@pytest.mark.parametrize("future_image", [True, False])
def test_a_present_and_its_future_picture_are_shifted_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, future_image: bool
) -> None:
    with EpisodeStore.create(tmp_path / "store", SPEC) as store:
        store.append(still(i, 20) for i in range(3))
    drawn: list[dict[str, np.ndarray]] = []

    class Looking:
        def __init__(self, *_: object) -> None: ...

        def fit(self, _model: object, batches: _Batches) -> None:
            drawn.append(batches(0) | {"first": batches.latents[:, :21]})

    monkeypatch.setattr(viva_module, "Trainer", Looking)
    config = tiny.viva(1, future_image=future_image, image_shift=3, shifted_copies=4)
    ViVa(config, tiny.PCA, seed=0).fit(EpisodeStore.open(tmp_path / "store"))
    (batch,) = drawn
    if future_image:
        np.testing.assert_array_equal(batch["latents"], batch["future_latents"])
    first = batch["first"]  # of episode 0, in each copy
    assert len(np.unique(first[:, 0], axis=0)) > 1, "the copies are not shifted"
    assert (first == first[:, :1]).all() == future_image  # otherwise every frame has its own shift, which varies more


def batches_of(store: EpisodeStore, monkeypatch: pytest.MonkeyPatch, **changes: object) -> tuple[ViVaModel, _Batches]:
    """The model and the batches that a fit with these settings would train on."""
    kept: list[tuple[ViVaModel, _Batches]] = []

    class Keeping:
        def __init__(self, *_: object) -> None: ...

        def fit(self, model: ViVaModel, batches: _Batches) -> None:
            kept.append((model, batches))

    monkeypatch.setattr(viva_module, "Trainer", Keeping)
    ViVa(tiny.viva(1, **changes), tiny.PCA, seed=0).fit(store)
    return kept[0]


def test_swapped_proprioception_is_another_frames_now_and_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made_store(tmp_path / "store", successes=4, failures=2)
    _, off = batches_of(store, monkeypatch)
    _, half = batches_of(store, monkeypatch, proprio_swap=0.5)
    _, every = batches_of(store, monkeypatch, proprio_swap=1.0)
    own, some, other = off(3), half(3), every(3)
    for name in ("latents", "cost_to_go", "text"):
        assert np.array_equal(own[name], some[name]) and np.array_equal(own[name], other[name]), name
    kept = np.concatenate([(off(k)["proprio"] == half(k)["proprio"]).all(1) for k in range(40)])
    assert 0.4 < kept.mean() < 0.6, "half of the samples keep their own"
    rows = every.data.proprio
    for now, later in zip(other["proprio"], other["future_proprio"], strict=True):
        at = np.flatnonzero((rows[every.frames] == now).all(1))
        assert any(np.array_equal(rows[every.future[i]], later) for i in at), "now and later are of one frame"


def test_with_all_proprioception_swapped_a_samples_own_reaches_no_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made_store(tmp_path / "store", successes=4, failures=2)

    def moved(**changes: object) -> bool:
        """Whether the gradient of a step changes with the proprioception of the very frames that it draws."""
        model, batches = batches_of(store, monkeypatch, **changes)
        _, plain = batches_of(store, monkeypatch)
        before, rows = batches(3), batches.data.proprio
        seen = np.concatenate([before["proprio"], before["future_proprio"]])
        drawn = [np.flatnonzero((rows == q).all(1)) for q in plain(3)["proprio"]]
        own = np.concatenate(drawn)
        if "proprio_swap" in changes:  # a frame that was drawn for another sample is not only its own sample's
            own = np.array([row for row in own if not (rows[row] == seen).all(1).any()])
        assert len(own)
        found = []
        for shift in (0.0, 0.3):
            batches.data.proprio = rows.copy()
            batches.data.proprio[own] += shift
            torch.manual_seed(1)
            model.zero_grad()
            model({k: torch.as_tensor(v) for k, v in batches(3).items()}).sum().backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        return not torch.equal(*found)

    assert moved() and not moved(proprio_swap=1.0)


def test_swapping_is_a_share() -> None:
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="proprio_swap"):
            ViVaConfig(proprio_swap=share)


def test_vae_latents_run_through_the_same_value(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=2, failures=1)
    value = ViVa(tiny.viva(3), tiny.vae(), seed=0).fit(store)
    v = value.score(store[0])
    assert np.isfinite(v).all()
    value.save(tmp_path / "value")
    np.testing.assert_array_equal(load_value(tmp_path / "value").score(store[0]), v)


def test_a_value_saved_before_padding_ran_over_channels_is_refused(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=2, failures=1)
    value = ViVa(tiny.viva(1), tiny.PCA, seed=0).fit(store)
    value.save(tmp_path / "value")
    saved = json.loads((tmp_path / "value" / "config.json").read_text())
    assert saved["config"].pop("format") == 2
    value.encoder.save(tmp_path / "old" / "latents")
    save_module(tmp_path / "old", value.model, saved)
    with pytest.raises(ValueError, match=r"old: of an older format, which padded proprio.*train this value again$"):
        load_value(tmp_path / "old")
    with pytest.raises(ValueError, match="format=1; this code makes format 2: leave the setting out"):
        tiny.viva(format=1)


def test_a_foreign_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no learned value"):
        load_value(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "poem"}')
    with pytest.raises(ValueError, match="poem"):
        load_value(tmp_path)
