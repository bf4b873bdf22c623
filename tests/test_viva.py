"""ViVa: injection of vectors into latent frames, what is noised, learning on a solvable task, saving."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from made_lift import made_episode, made_store

from episodes.returns import viva_return
from valuefns.bench.metrics import spearman
from valuefns.make import load_value
from valuefns.shaping.readers import version_of
from valuefns.viva import ViVa
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
    torch.testing.assert_close(frame.flatten(1)[:, :11], q)
    torch.testing.assert_close(unpad(frame, 11), q)


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


def test_vae_latents_run_through_the_same_value(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=2, failures=1)
    value = ViVa(tiny.viva(3), tiny.vae(), seed=0).fit(store)
    v = value.score(store[0])
    assert np.isfinite(v).all()
    value.save(tmp_path / "value")
    np.testing.assert_array_equal(load_value(tmp_path / "value").score(store[0]), v)


def test_a_foreign_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        load_value(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "poem"}')
    with pytest.raises(ValueError, match="poem"):
        load_value(tmp_path)
