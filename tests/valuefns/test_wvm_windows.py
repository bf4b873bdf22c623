"""WVM's windows: kept, held or reversed, their values, their clips, and the video loss of those that have a future."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.returns import oracle_return
from episodes.windows import DecodedCache
from networks.clips import ClipBank, encode_clips
from networks.flow_matching import interpolate, sample_tau, velocity
from networks.latents import LatentEncoder
from networks.text import TextEmbedder
from tests.helpers import tiny
from tests.helpers.made_lift import made_episode, made_store
from tests.helpers.small_wvm import a_store, loss_of
from valuefns.wvm_model import WVMModel
from valuefns.wvm_windows import Windows, experts, read_times, spacing


def windows_of(path: Path, **changes: object) -> tuple[Windows, DecodedCache]:
    store = made_store(path, 3, 2)
    data = DecodedCache(store)
    encoder = LatentEncoder(tiny.PCA).fit(data.images)
    config = tiny.wvm(**{"rewind_plateau": 0.3, "fps": 5.0} | changes)
    bank = ClipBank(encoder, data.images, config.image_shift, config.shifted_copies, 0)
    return Windows(store, data, bank, TextEmbedder(config.text), config, seed=0), data


def test_windows_are_kept_held_or_reversed_and_their_values_say_so(tmp_path: Path) -> None:
    windows, data = windows_of(tmp_path / "store")
    kinds = {"keep": 0, "plateau": 0, "reverse": 0}
    shown = windows.bank(np.arange(len(data.images))[:, None].repeat(5, 1), np.zeros(len(data.images), int))
    for step in range(40):
        batch = windows(step)
        again = windows(step)
        assert all(np.array_equal(batch[k], again[k]) for k in batch)
        for v, z, rewound in zip(batch["values"], batch["current"], batch["video_weight"] == 0, strict=True):
            rises = np.diff(v)
            kind = "plateau" if (rises == 0).all() and rewound else "reverse" if rewound else "keep"
            kinds[kind] += 1
            assert (rises >= 0).all() if kind == "keep" else (rises <= 0).all()
            assert v.min() >= 0 and v.max() <= 1
            if kind == "plateau":  # one frame, four times: the latent of some frame of its own
                assert (shown - z).abs().flatten(1).max(1).values.min() == 0
    total = sum(kinds.values())
    # windows reversed at the very start repeat the first frame too, so there are more than 0.5 * 0.3 that stand still
    assert abs(kinds["keep"] / total - 0.5) < 0.06 and 0.12 < kinds["plateau"] / total < 0.24


def test_only_successes_are_learned_from_and_the_fastest_are_the_experts(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", 4, 2)
    assert experts(store, 1.0) == ([0, 1, 2, 3], []) and experts(store, 0.5) == ([0, 1], [2, 3])
    with pytest.raises(ValueError, match="no episode succeeds"):
        experts(store.select([4, 5]), 1.0)


def test_slower_successes_are_valued_by_their_steps_to_go(tmp_path: Path) -> None:
    windows, _data = windows_of(tmp_path / "store", fastest=0.34, slower=0.5, rewind=0.0)  # lengths 16 | 18, 20
    ends, starts, slow = [], [], 0
    for step in range(20):
        batch = windows(step)
        rows = np.random.default_rng([0, step])
        pick = rows.integers(windows.experts, size=16)
        pick = np.where(rows.random(16) < 0.5, rows.integers(windows.experts, len(windows.time), size=16), pick)
        to_go = windows.last[pick] - windows.time[pick]
        np.testing.assert_allclose(batch["values"][:, -1], np.maximum(1 - to_go / 16, 0), atol=1e-6)
        slow += (windows.last[pick] - windows.first[pick] > 16).sum()
        starts += batch["values"][to_go >= 16, -1].tolist()
        ends += batch["values"][to_go == 0, -1].tolist()
    assert set(starts) == {0.0} and set(ends) == {1.0} and 120 < slow < 200


def test_annotated_windows_follow_the_segment_labels(tmp_path: Path) -> None:
    labels = np.array([0] * 8 + [1] * 4 + [2] * 4 + [0] * 8, np.int8)
    marked = dataclasses.replace(made_episode(0, 24), segments=labels)
    accident = dataclasses.replace(made_episode(1, 6), segments=np.array([0, 0, 2, 2, 2, 2], np.int8))
    data = DecodedCache(store := a_store(tmp_path / "store", [marked, accident]))
    config = tiny.wvm(target="annotated", fps=5.0)
    bank = ClipBank(LatentEncoder(tiny.PCA).fit(data.images), data.images, 0, 1, 0)
    windows = Windows(store, data, bank, TextEmbedder(config.text), config, seed=0)
    np.testing.assert_allclose(windows.progress[:25], oracle_return(labels, True), atol=1e-6)
    assert len(windows.time) == 25  # not the accident


def test_frames_are_read_at_the_models_rate() -> None:
    np.testing.assert_array_equal(read_times(10, spacing(10, 4)), [0, 2, 5, 8, 10])
    assert read_times(3, 5.0).tolist() == [0]
    with pytest.raises(ValueError, match="fps=20 is above the control rate of 10 Hz"):
        spacing(10, 20)


def test_a_copy_moves_all_frames_of_a_window_alike(tmp_path: Path) -> None:
    windows, _data = windows_of(tmp_path / "store", image_shift=3, shifted_copies=3)
    still = np.full((1, 5), 7)
    for copy in range(3):
        z = windows.bank(still, np.array([copy]))[0].unflatten(0, (4, -1))
        assert torch.equal(z[0], z[3])
    a, b = (windows.bank(still, np.array([c])) for c in (0, 2))
    assert not torch.equal(a, b)


def test_a_vae_encodes_clips_causally() -> None:
    torch.manual_seed(0)
    encoder = LatentEncoder(tiny.vae())
    frames = np.random.default_rng(0).integers(0, 256, (9, 2, 32, 32, 3), np.uint8)
    whole = encode_clips(encoder, frames, np.arange(9)[None])
    part = encode_clips(encoder, frames, np.arange(5)[None])
    assert whole.shape == (1, 48, 2, 2, 4) and part.shape == (1, 48, 1, 2, 4)
    torch.testing.assert_close(whole[:, :, :1], part, atol=1e-4, rtol=1e-4)
    right = encode_clips(encoder, frames[:, 1:], np.arange(5)[None])
    torch.testing.assert_close(part[..., 2:], right, atol=1e-4, rtol=1e-4)  # views lie side by side


def vae_windows(path: Path, **changes: object) -> tuple[Windows, DecodedCache, LatentEncoder]:
    """Windows of a VAE whose frames differ; its layers are random, those that join frames too."""
    torch.manual_seed(0)
    data = DecodedCache(store := made_store(path, 2, 1))
    encoder = LatentEncoder(tiny.vae())
    config = tiny.wvm(fps=5.0, training=tiny.training(1, batch_size=4), **changes)
    bank = ClipBank(encoder, data.images, 0, 1, 0)
    return Windows(store, data, bank, TextEmbedder(config.text), config, seed=0), data, encoder


def shown_rows(windows: Windows, step: int) -> np.ndarray:
    """Rows (B, 2h + 1) of the frames around the windows that a step draws, none of them rewound."""
    pick = np.random.default_rng([0, step]).integers(windows.experts, size=4)
    rows = windows.time[pick, None] + windows.offsets
    return np.clip(rows, windows.first[pick, None], windows.last[pick, None])


def test_current_and_future_latents_are_those_of_one_clip(tmp_path: Path) -> None:
    windows, data, encoder = vae_windows(tmp_path / "store", rewind=0.0)
    batch, rows = windows(0), shown_rows(windows, 0)
    assert rows.shape == (4, 9)
    whole = encode_clips(encoder, data.images, rows)
    torch.testing.assert_close(batch["future"], whole[:, :, 1:])
    read = encode_clips(encoder, data.images, rows[:, :5])  # all that inference encodes
    torch.testing.assert_close(batch["current"], read, atol=1e-4, rtol=1e-4)
    apart = encode_clips(encoder, data.images, rows[:, 4:])  # a clip of its own has its own first frame
    assert (apart - batch["future"]).abs().max() > 1e-2


def test_no_true_future_is_in_a_rewound_window(tmp_path: Path) -> None:
    windows, data, encoder = vae_windows(tmp_path / "store", rewind=1.0, rewind_plateau=0.0)
    batch, rows = windows(0), shown_rows(windows, 0)
    clip = np.concatenate([rows[:, 4::-1], rows[:, :1].repeat(4, 1)], 1)  # backwards, then held
    z = encode_clips(encoder, data.images, clip)
    torch.testing.assert_close(batch["current"], z[:, :, :1])
    torch.testing.assert_close(batch["future"], z[:, :, 1:])
    assert not batch["video_weight"].any()


def test_the_video_loss_is_the_mean_over_the_windows_that_have_a_future(tmp_path: Path) -> None:
    """Over the whole batch, of which the slices of accumulation and of processes are equal parts."""
    windows, _data = windows_of(tmp_path / "store", wan=dataclasses.replace(tiny.WAN, channels=4 * 48))
    model = WVMModel(windows.config)
    batch = {k: torch.as_tensor(v) for k, v in windows(0).items()}
    kept = batch["video_weight"] > 0
    assert 0 < kept.sum() < len(kept)
    with torch.no_grad():
        once = loss_of(model, batch)
        model.config = dataclasses.replace(model.config, lambda_video=3.0)
        video = (loss_of(model, batch) - once) / 2
        torch.manual_seed(1)  # the same noise, then the same levels
        x0 = batch["future"].float()
        x1, tau = torch.randn_like(x0), sample_tau(len(x0))
        z = torch.cat([batch["current"], interpolate(x0, x1, tau)], 2)
        error = (model.video(z, tau[:, None], batch["text"], 1)[0] - velocity(x0, x1)).square().flatten(1).mean(1)
    torch.testing.assert_close(video.mean(), error[kept].mean(), rtol=1e-4, atol=1e-4)
    assert (video[~kept].abs() < 1e-4).all()
    halves = [part.sum() for part in (batch["video_weight"] * error).chunk(2)]
    torch.testing.assert_close(sum(halves) / len(kept), error[kept].mean())
    windows.config = dataclasses.replace(windows.config, rewind=1.0)
    assert not windows(0)["video_weight"].any()  # no window has a future
