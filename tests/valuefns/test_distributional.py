"""The distributional value: sizes, what the logits read, learning, scales, saving, errors."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.returns import viva_return
from networks.prompts import PromptTokenizer
from tests.helpers import tiny
from tests.helpers.made_lift import made_episode, made_store
from valuefns.bench.metrics import spearman
from valuefns.distributional import Distributional
from valuefns.distributional_model import DistributionalModel
from valuefns.make import load_value
from valuefns.settings import DistributionalConfig, GemmaShape


def prompts(*texts: str) -> tuple[torch.Tensor, torch.Tensor]:
    tokens, real = PromptTokenizer("", 100, side="left")(texts)
    return torch.as_tensor(tokens), torch.as_tensor(real)


def test_the_published_size() -> None:
    with torch.device("meta"):
        model = DistributionalModel(DistributionalConfig())
    assert abs(sum(p.numel() for p in model.parameters()) / 1e9 - 0.68) < 0.01
    assert model.head.out_features == 201 and len(model.centres) == 201


def test_logits_read_images_and_words_and_no_padding() -> None:
    torch.manual_seed(0)
    model = DistributionalModel(tiny.distributional()).eval()
    images = torch.randint(0, 256, (2, 2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        alone = model.logits(images[:1], *prompts("up"))
        padded = model.logits(images, *prompts("up", "a longer one"))
        torch.testing.assert_close(alone[0], padded[0], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(alone[0], model.logits(images[:1], *prompts("no"))[0], atol=1e-5)
        for view in range(2):
            other = images[:1].clone()
            other[:, view] = 255 - other[:, view]
            assert not torch.allclose(alone[0], model.logits(other, *prompts("up"))[0], atol=1e-5)
    assert model.predict(images, *prompts("up", "no")).min() >= -1
    value = model(
        {
            "images": images,
            "returns": torch.tensor([-1.0, 0.0]),
            "tokens": prompts("up", "no")[0],
            "real": prompts("up", "no")[1],
        }
    )
    value.sum().backward()
    assert all(p.grad is not None for p in model.encoder.vision_tower.encoder.parameters())


@pytest.mark.slow
def test_it_learns_a_value_that_can_be_seen(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=6, failures=3)
    value = Distributional(tiny.distributional(200), seed=0).fit(store)
    fresh, failure = made_episode(50, 25), made_episode(51, 25, success=False)
    v = value.score(fresh)
    assert v.dtype == np.float32 and v.shape == (26,) and v.min() >= 0 and v.max() <= 1
    assert spearman(v[:-1], viva_return(25, True)[:-1]) > 0.8
    assert v[-5:].mean() > value.score(failure)[-5:].mean() + 0.3
    value.save(tmp_path / "value")
    loaded = load_value(tmp_path / "value")
    np.testing.assert_array_equal(loaded.score(fresh), v)
    stream = loaded.stream(2)
    stream.reset(np.array([True, True]), [fresh.instruction] * 2)
    online = stream.step([fresh.observation(3), failure.observation(3)])
    np.testing.assert_allclose(online[0], v[3], atol=1e-5)


def test_the_recap_scale_is_exposed_as_it_is(tmp_path: Path) -> None:
    value = Distributional(tiny.distributional(2, scale="recap")).fit(made_store(tmp_path / "store", 2, 1))
    v = value.score(made_episode(50, 12))
    assert value.scale == "recap" and v.min() >= -1 and v.max() <= 0


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_tokens=60"):
        GemmaShape(image_tokens=60)
    with pytest.raises(ValueError, match="scale='progress'"):
        tiny.distributional(scale="progress")
    value = Distributional(tiny.distributional(1)).fit(made_store(tmp_path / "store", 1, 1))
    episode = made_episode(51, 12)
    blind = dataclasses.replace(episode, images={"front": episode.images["front"]})
    with pytest.raises(ValueError, match="seed 51: camera 'wrist' is missing"):
        value.score(blind)
    with torch.no_grad():
        value.model.head.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="seed 51: the value of frame 0 is nan"):
        value.score(episode)
    (tmp_path / "config.json").write_text('{"kind": "viva"}')
    with pytest.raises(ValueError, match="not distributional"):
        Distributional.load(tmp_path)
