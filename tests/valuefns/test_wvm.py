"""WVM: who sees whom, what each switch trains, prefixes, scoring and streaming, saving."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from networks.checkpoint import save_module
from networks.settings import WanConfig
from networks.wan import load_transformer
from tests.helpers import tiny
from tests.helpers.made_lift import made_episode, made_store
from tests.helpers.small_wvm import a_store, loss_of
from valuefns import bins
from valuefns import wvm as wvm_module
from valuefns.bench.metrics import spearman
from valuefns.make import load_value
from valuefns.settings import WVMConfig
from valuefns.wvm import WVM
from valuefns.wvm_model import WVMModel

WAN = dataclasses.replace(tiny.WAN, channels=8)


def fake_batch(B: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "current": torch.randn(B, 8, 1, 2, 4, generator=g),
        "future": torch.randn(B, 8, 1, 2, 4, generator=g),
        "values": torch.rand(B, 4, generator=g),
        "video_weight": torch.ones(B),
        "text": torch.randn(B, 8, 16, generator=g),
    }


def model_of(**changes: object) -> WVMModel:
    torch.manual_seed(0)
    return WVMModel(tiny.wvm(wan=WAN, **changes))


def fitted(tmp_path: Path, **changes: object) -> WVM:
    """Trained a little: at first every value is clamped to 0 or 1."""
    return WVM(tiny.wvm(25, **changes), tiny.PCA, seed=0).fit(made_store(tmp_path / "store", 3, 1))


# --- who sees whom


@pytest.mark.parametrize("checkpointing", [False, True])
def test_video_is_the_same_bit_for_bit_with_and_without_the_value_stream(checkpointing: bool) -> None:
    model, batch = model_of(), fake_batch()
    model.video.checkpointing = checkpointing
    z, tau = torch.cat([batch["current"], batch["future"]], 2), torch.rand(3, 1)
    alone, keys = model.video(z, tau, batch["text"], 1)
    model.value(torch.randn(3, 4), torch.rand(3, 4), batch["text"], keys).sum().backward()
    beside, again = model.video(z, tau, batch["text"], 1)
    assert torch.equal(alone, beside)
    assert all(torch.equal(a, b) for one, two in zip(keys, again, strict=True) for a, b in zip(one, two, strict=True))


def test_the_values_loss_reaches_the_video_and_the_videos_loss_no_value() -> None:
    model, batch = model_of(), fake_batch()
    z, tau = torch.cat([batch["current"], batch["future"]], 2), torch.rand(3, 1)
    imagined, _keys = model.video(z, tau, batch["text"], 1)
    imagined.square().mean().backward()
    assert all(p.grad is None for p in model.value.parameters())
    model.zero_grad()
    model._value_loss(batch["values"], batch["text"], model.video(z, tau, batch["text"], 1)[1]).sum().backward()
    assert all(float(b.attn1.to_k.weight.grad.abs().sum()) > 0 for b in model.video.transformer.blocks)


@pytest.mark.parametrize("head", ["flow", "hl_gauss"])
def test_no_true_future_reaches_a_value(head: str) -> None:
    model, one, two = model_of(head=head), fake_batch(), fake_batch()
    two["future"] = torch.randn(3, 8, 1, 2, 4)
    keys = []
    for batch in (one, two):
        z = torch.cat([batch["current"], batch["future"]], 2)
        keys.append(model.video(z, torch.full((3, 1), 0.5), batch["text"], 1)[1])
    assert all(torch.equal(a, b) for x, y in zip(*keys, strict=True) for a, b in zip(x, y, strict=True))
    # the training loss of the value itself, with the video's share taken out
    model.config = dataclasses.replace(model.config, lambda_video=1e-30)
    assert torch.equal(loss_of(model, one), loss_of(model, two))
    model.config = dataclasses.replace(model.config, lambda_video=1.0)
    assert not torch.equal(loss_of(model, one), loss_of(model, two))
    # and leaving the future out, as inference does, changes nothing
    left_out = model.look(one["current"], one["text"])
    for (k, v), (k2, v2) in zip(left_out, keys[0], strict=True):
        torch.testing.assert_close(k, k2), torch.testing.assert_close(v, v2)


def test_without_a_future_the_walked_blocks_are_the_stock_transformer() -> None:
    torch.manual_seed(0)
    stock = load_transformer(WAN).eval()
    z, text = torch.randn(2, 8, 2, 4, 4), torch.randn(2, 8, 16)
    time = torch.rand(2, 2)
    expected = stock(z, 1000 * time.repeat_interleave(4, 1), text, return_dict=False)[0]
    model = WVMModel(tiny.wvm(wan=WAN), stock)
    got, _ = model.video(z, time, text, 0)  # no current frame: everything attends to everything
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    one, _ = model.video(z, time, text[:1], 0)
    torch.testing.assert_close(one[:1], expected[:1], atol=1e-5, rtol=1e-5)  # one prompt for the whole batch


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        model = WVMModel(WVMConfig(wan=WanConfig(checkpoint="")))
    video, value = (sum(p.numel() for p in part.parameters()) for part in (model.video, model.value))
    assert abs(video / 1e9 - 5.0) < 0.01 and abs(value / 1e9 - 0.67) < 0.01


# --- switches


@pytest.mark.parametrize(
    "changes", [{}, {"lambda_video": 0.0}, {"frozen": True}, {"head": "hl_gauss"}, {"prefix_random": 1.0}]
)
def test_every_switch_trains_what_it_says(changes: dict[str, object]) -> None:
    model = model_of(**changes)
    loss = loss_of(model, fake_batch())
    assert loss.shape == (3,) and torch.isfinite(loss).all()
    loss.sum().backward()
    trained = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.video.parameters()]
    assert any(trained) != bool(changes.get("frozen"))
    imagining = model.video.transformer.proj_out.weight.grad is not None
    assert imagining == (not changes.get("frozen") and changes.get("lambda_video") != 0.0)
    assert model.value.proj_out.weight.grad.abs().sum() > 0


def test_a_rewound_window_has_no_video_loss() -> None:
    model, batch = model_of(), fake_batch()
    both = loss_of(model, batch)
    rewound = loss_of(model, batch | {"video_weight": torch.zeros(3)})
    value_only = loss_of(model, batch | {"video_weight": torch.tensor([0.0, 1.0, 0.0])})
    assert (rewound < both).all() and torch.equal(value_only[[0, 2]], rewound[[0, 2]]) and value_only[1] == both[1]


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_prefixes_are_kept_or_drawn_and_carry_no_loss(p: float) -> None:
    model, batch = model_of(prefix_random=p, lambda_video=0.0), fake_batch()
    other = batch | {"values": torch.cat([1 - batch["values"][:, :1], batch["values"][:, 1:]], 1)}
    assert torch.equal(loss_of(model, batch), loss_of(model, other)) == (p == 1.0)


def test_hl_gauss_targets() -> None:
    centres = torch.linspace(0, 1, 51)
    target = bins.hl_gauss(torch.tensor([0.0, 0.4, 1.0 - 1e-7, 0.411]), centres, 1 / 50)
    torch.testing.assert_close(target.sum(-1), torch.ones(4))
    assert target[0, 0] == 1 and target[2, -1] == 1 and target[1].argmax() == 20
    torch.testing.assert_close(target[1, 21] / target[1, 20], torch.tensor(np.exp(-0.5), dtype=torch.float32))
    torch.testing.assert_close(bins.expectation(target.clamp(min=1e-30).log(), centres)[3], torch.tensor(0.411))
    assert bins.one_hot(torch.tensor([0.411]), centres)[0, 21] == 1


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"chunk": 6}, "chunk=6"),
        ({"head": "mse"}, "head='mse'"),
        ({"stride": 4}, "stride=4"),
        ({"fastest": 0}, "fastest=0"),
    ],
)
def test_bad_settings_are_named(bad: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        tiny.wvm(**bad)


# --- scoring


@pytest.mark.parametrize(("fps", "stride"), [(10.0, 1), (4.0, 1), (5.0, 2), (10.0, 3)])
def test_a_causal_stream_gives_what_score_gives_causally(tmp_path: Path, fps: float, stride: int) -> None:
    value = fitted(tmp_path, fps=fps, stride=stride)
    first, second = made_episode(50, 25), made_episode(51, 19, success=False)
    expected = [value.score(e, causal=True) for e in (first, second)]
    stream = value.stream(3)
    stream.reset(np.array([True, True, False]), [first.instruction, "something else", ""])
    for t in range(4):  # slot 1 begins anew later than slot 0
        stream.step([first.observation(t)] * 3)
    stream.reset(np.array([False, True, False]), ["", second.instruction, ""])
    got = []
    for t in range(4, 24):
        got.append(stream.step([first.observation(t), second.observation(t - 4), first.observation(0)]))
    got = np.array(got)
    np.testing.assert_allclose(got[:, 0], expected[0][4:24], atol=2e-4)
    np.testing.assert_allclose(got[:, 1], expected[1][:20], atol=2e-4)
    assert got.dtype == np.float32 and expected[0].shape == (26,)


def test_the_chain_of_prefixes_is_the_sequential_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = fitted(tmp_path, stride=2)
    episode = made_episode(50, 25)
    monkeypatch.setattr(wvm_module, "SAME", 0.0)
    at_once = value.score(episode)
    monkeypatch.setattr(wvm_module, "BATCH", 1)  # one window after the other
    np.testing.assert_allclose(value.score(episode), at_once, atol=1e-5)
    monkeypatch.setattr(wvm_module, "BATCH", 4)
    np.testing.assert_allclose(value.score(episode), at_once, atol=1e-5)


def test_video_keys_are_computed_once_per_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = fitted(tmp_path, inference_steps=3)
    calls: list[int] = []
    walk = value.model.video.forward
    monkeypatch.setattr(value.model.video, "forward", lambda z, *a: calls.append(len(z)) or walk(z, *a))
    value.score(made_episode(50, 25))
    assert sum(calls) == 26


def test_values_do_not_depend_on_later_frames_when_causal(tmp_path: Path) -> None:
    value, episode = fitted(tmp_path), made_episode(50, 25)
    images = {c: v.copy() for c, v in episode.images.items()}
    for v in images.values():
        v[15:] = 255 - v[15:]
    other = dataclasses.replace(episode, images=images)
    one, two = (value.score(e, causal=True) for e in (episode, other))
    np.testing.assert_array_equal(one[:15], two[:15])
    assert not np.array_equal(one[15:], two[15:])
    assert not np.array_equal(value.score(episode), one)  # overlapping windows are averaged
    np.testing.assert_array_equal(value.score(episode), value.score(episode))


@pytest.mark.slow
@pytest.mark.parametrize(("head", "least"), [("flow", 0.8), ("hl_gauss", 0.6)])  # bins learn more slowly
def test_it_learns_a_value_that_can_be_seen_and_falls_when_things_go_back(
    tmp_path: Path, head: str, least: float
) -> None:
    store = made_store(tmp_path / "store", successes=6, failures=3)
    value = WVM(tiny.wvm(300, head=head), tiny.PCA, seed=0).fit(store)
    episode = made_episode(50, 25)
    v = value.score(episode)
    assert v.dtype == np.float32 and v.shape == (26,) and v.min() >= 0.5 and v.max() <= 1
    assert spearman(v, np.arange(26)) > least
    back = dataclasses.replace(episode, images={c: x[::-1].copy() for c, x in episode.images.items()})
    assert spearman(value.score(back), np.arange(26)) < -least
    value.save(tmp_path / "value")
    np.testing.assert_array_equal(load_value(tmp_path / "value").score(episode), v)


def test_vae_latents_run_through_the_same_value(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=2, failures=1)
    value = WVM(tiny.wvm(2, training=tiny.training(2, batch_size=4)), tiny.vae(2), seed=0).fit(store)
    v = value.score(store[0])
    value.save(tmp_path / "value")
    np.testing.assert_array_equal(load_value(tmp_path / "value").score(store[0]), v)


# --- errors


def test_bad_input_is_named_in_one_line(tmp_path: Path) -> None:
    value = fitted(tmp_path)
    short = made_episode(50, 2)
    with pytest.raises(ValueError, match=r"seed 50 has 3 frames, shorter than the history of 4 frames"):
        value.score(short)
    with pytest.raises(ValueError, match=r"episode 0 of .* shorter than the history"):
        WVM(tiny.wvm(1), tiny.PCA).fit(a_store(tmp_path / "short", [short]))
    with pytest.raises(ValueError, match="fps=20 is above the control rate"):
        WVM(tiny.wvm(1, fps=20.0), tiny.PCA).fit(made_store(tmp_path / "slow", 1, 0))
    episode = made_episode(51, 12)
    blind = dataclasses.replace(episode, images={"front": episode.images["front"]})
    with pytest.raises(ValueError, match="seed 51: camera 'wrist' is missing"):
        value.score(blind)
    stream = value.stream(1)
    stream.reset(np.array([True]), ["raise it"])
    with pytest.raises(ValueError, match="stream: camera 'wrist' is missing"):
        stream.step([blind.observation(0)])
    with torch.no_grad():
        value.model.value.proj_out.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="seed 51: the value of frame 0 is nan"):
        value.score(episode)
    with pytest.raises(ValueError, match="stream slot 0: the value of frame 0 is nan"):
        stream.step([episode.observation(0)])


def test_a_value_saved_before_there_was_a_format_scores_as_before(tmp_path: Path) -> None:
    value = fitted(tmp_path)
    value.save(tmp_path / "value")
    saved = json.loads((tmp_path / "value" / "config.json").read_text())
    assert saved["config"].pop("format") == 2
    value.encoder.save(tmp_path / "old" / "latents")
    save_module(tmp_path / "old", value.model, saved)
    episode = made_episode(50, 25)
    np.testing.assert_array_equal(WVM.load(tmp_path / "old").score(episode), value.score(episode))


def test_a_foreign_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"kind": "viva"}')
    with pytest.raises(ValueError, match="not wvm"):
        WVM.load(tmp_path)
