"""VideoVLA the policy: its action order, what the VAE shows it, learning, files, refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.make import load_policy, make_policy
from agents.videovla import VideoVlaPolicy
from agents.videovla_actions import from_videovla, to_videovla
from episodes.labels import NEGATIVE, NULL, POSITIVE, Labels
from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode
from episodes.windows import DecodedCache
from networks.checkpoint import save_module
from networks.clip_latents import apart, clip_latents, clip_rows, encode_views, join_views
from networks.cogvideox import load_cogvideox
from networks.settings import CogVideoXConfig, CogVideoXVAEConfig, T5TextConfig
from networks.text import T5Embedder
from tests.helpers.made_lift import SPEC
from tests.helpers.small_videovla import COGVIDEOX, SPEC7, TEXT, VAE, config, episode


@pytest.fixture(scope="module")
def policy() -> VideoVlaPolicy:
    return VideoVlaPolicy(config(), SPEC7, seed=3).eval()


def act(policy: VideoVlaPolicy, seeds: list[int], frames: list[int | None], task: str = "raise it") -> np.ndarray:
    made = episode(7)
    policy.reset(np.ones(len(seeds), bool), np.array(seeds), [task] * len(seeds))
    seen = [None if t is None else dataclasses.replace(made.observation(t), instruction=task) for t in frames]
    return policy.act(seen)


def test_the_action_order_round_trips_under_either_polarity() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 4, 7)).astype(np.float32)
    actions[..., 6] = np.sign(actions[..., 6])
    for close in (1.0, -1.0):
        spec = dataclasses.replace(SPEC7, gripper_close=close)
        x = to_videovla(actions, spec)
        np.testing.assert_array_equal(x[..., :3], actions[..., 3:6])
        np.testing.assert_array_equal(x[..., 3:6], actions[..., :3])
        np.testing.assert_array_equal(x[..., 6], actions[..., 6] == -close)  # 0 is closed, 1 is open
        np.testing.assert_array_equal(from_videovla(x, spec), actions)
    for spec, named in ((SPEC, "dx, dy"), (dataclasses.replace(SPEC7, gripper_close=0.5), "gripper_close=0.5")):
        with pytest.raises(ValueError, match=named):
            to_videovla(actions, spec)


def test_the_vae_never_shows_the_future_in_the_current_latent(policy: VideoVlaPolicy) -> None:
    """The class itself does: its group norms average over all frames of a clip."""
    clips = torch.randint(0, 256, (2, 9, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    other = clips.clone()
    other[:, 1:] = 255
    encoder = policy.encoder
    z, w = encoder.encode(clips), encoder.encode(other)
    assert z.shape == (2, 3, 16, 4, 4)
    assert torch.equal(z[:, 0], w[:, 0]) and torch.equal(z[:, :1], encoder.encode(clips, first_only=True))
    assert (z[:, 1:] - w[:, 1:]).abs().max() > 1e-3
    with torch.no_grad():
        raw = [encoder.vae.encode(encoder._pixels(x)).latent_dist.mode()[:, :, 0] for x in (clips, other)]
    assert (raw[0] - raw[1]).abs().max() > 1e-3
    for F in (1, 2, 3, 4):
        assert encoder.decode(z[:, [0, 1, 2, 2][:F]]).shape == (2, 1 + 4 * (F - 1), 32, 32, 3)
    assert torch.equal(encoder.decode(z[:, :2]), encoder.decode(z[:, [0, 1, 1]])[:, :5])  # the same moments
    with pytest.raises(ValueError, match="24 x 32"):
        encoder.encode(clips[:, :, :24])


def made_store(path: Path, episodes: list[Episode]) -> EpisodeStore:
    store = EpisodeStore.create(path, SPEC7)
    store.append(episodes)
    return store


def test_clips_begin_at_their_step_and_are_encoded_once(tmp_path: Path, policy: VideoVlaPolicy) -> None:
    data = DecodedCache(made_store(tmp_path / "s", [episode(0), episode(1)]))
    rows = clip_rows(data, 9, 2)
    assert rows.shape == (40, 9) and rows[0].tolist() == [*range(0, 17, 2)]
    assert rows[15].tolist() == [15, 17, 19, *[20] * 6]  # the final observation is the last one there is
    assert rows[20, 0] == 21  # the second episode's first frame
    made = (policy.encoder, data, [1, 0], 9, 1, 3, 2, 0)
    z = clip_latents(*made, folder=tmp_path / "cache")
    assert z.shape == (2, 40, 3, 16, 4, 8) and z.dtype == np.float16
    clips = data.images[clip_rows(data, 9, 1)[[3, 30]]][:, :, [1, 0]]
    with torch.autocast("cpu", torch.bfloat16):
        direct = encode_views(policy.encoder, clips)
    np.testing.assert_allclose(z[0, [3, 30]].astype(np.float32), direct.numpy(), atol=0.05)
    assert np.abs(z[0].astype(np.float32) - z[1]).max() > 0.05  # the second copy is shifted
    (place,) = (tmp_path / "cache").glob("clips-*/latents.npy")
    stamp = place.stat().st_mtime_ns
    np.testing.assert_array_equal(clip_latents(*made, folder=tmp_path / "cache"), z)
    assert place.stat().st_mtime_ns == stamp
    views = torch.randn(2, 2, 3, 16, 4, 4)
    torch.testing.assert_close(apart(join_views(views), 2), views)
    place.write_bytes(place.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"latents\.npy.*encoded again"):
        clip_latents(*made, folder=tmp_path / "cache")


def test_a_chunk_depends_on_its_own_episode_alone(policy: VideoVlaPolicy) -> None:
    policy.indicator, policy.guidance = POSITIVE, 1.5
    try:
        together, alone = act(policy, [1, 2, 3], [4, 5, None]), act(policy, [2], [5])
        np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
        assert together.shape == (3, 6, 7) and together.dtype == np.float32 and (together[2] == 0).all()
        assert not np.allclose(act(policy, [9], [5]), alone)  # other noise
        assert not np.allclose(act(policy, [2], [15]), alone)  # another picture
        assert not np.allclose(act(policy, [2], [5], "lower it"), alone)  # other words
        assert set(np.unique(together[:2, :, 6])) <= {-1.0, 1.0}  # the gripper is open or closed
        policy.guidance = 1.0
        unguided = act(policy, [2], [5])
        policy.indicator = NEGATIVE
        assert not np.allclose(unguided, alone) and not np.allclose(unguided, act(policy, [2], [5]))
        policy.reset(np.ones(1, bool), np.array([2]), ["raise it"])
        video = policy.imagine([episode(7).observation(5), None])
        assert video.shape == (1, 2, 9, 32, 32, 3) and video.dtype == np.uint8
    finally:
        policy.indicator, policy.guidance = NULL, 1.0


def test_prompts_are_embedded_once_and_a_long_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text, calls = T5Embedder(TEXT), []
    encode = text._encode
    monkeypatch.setattr(text, "_encode", lambda prompts: calls.append(prompts) or encode(prompts))
    found = text.embed(["a", "b", "a"])
    assert found.shape == (3, 40, 16) and torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])
    text.embed(["b", "a"])
    assert calls == [["a", "b"]]
    assert torch.equal(T5Embedder(TEXT).embed(["b"])[0], found[1])  # the random encoder is the same everywhere
    with pytest.raises(ValueError, match="max_length=40"):
        text.embed(["x" * 40])


def test_it_learns_and_the_text_chooses_between_two_behaviours(tmp_path: Path) -> None:
    """Half of the data acts with the opposite sign and is marked negative: the words must tell them apart."""
    good = [episode(i) for i in range(3)]
    store = made_store(tmp_path / "s", good + [episode(i, -1.0) for i in range(3)])
    marks = [np.full(20, POSITIVE if i < 3 else NEGATIVE) for i in range(6)]
    labels = Labels.from_arrays(store, "test", weight=[np.ones(20)] * 6, indicator=marks)
    policy = make_policy(config(300, indicator_dropout=0.1), SPEC7, seed=1)
    assert isinstance(policy, VideoVlaPolicy)
    policy.fit(store, labels, seed=1, folder=tmp_path / "train", cache=tmp_path / "cache")
    losses = [json.loads(line) for line in (tmp_path / "train" / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = [row["loss"] for row in losses if row["stage"] == "policy"]
    assert last < 0.6 * first
    assert policy.indicator == POSITIVE
    made, error = episode(7), {}
    for token in (POSITIVE, NEGATIVE):
        policy.indicator = token
        found = act(policy, list(range(8)) * 2, [3] * 8 + [17] * 8)[:, 0]
        truth = made.actions[[3] * 8 + [17] * 8]
        error[token] = np.abs(found - truth)[:, [0, 1]].mean()
        right = (found[:, 6] == truth[:, 6]).mean()  # the first picture opens, the second closes
        assert right > 0.8 if token == POSITIVE else right < 0.2
    assert error[POSITIVE] < 0.15 < 0.25 < error[NEGATIVE], error

    policy.indicator = POSITIVE
    policy.save(tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert isinstance(loaded, VideoVlaPolicy) and loaded.indicator == POSITIVE and loaded.encoder.fitted
    np.testing.assert_array_equal(act(loaded, [3], [5]), act(policy, [3], [5]))
    (vae,) = (tmp_path / "cache").glob("vae-*/model.safetensors")
    stamp = vae.stat().st_mtime_ns
    again = VideoVlaPolicy(config(1), SPEC7, seed=1).fit(store, labels, seed=1, cache=tmp_path / "cache")
    assert vae.stat().st_mtime_ns == stamp  # taken over, not trained again
    for a, b in zip(again.encoder.parameters(), policy.encoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_published_folders_are_read_with_the_stock_classes(tmp_path: Path, policy: VideoVlaPolicy) -> None:
    from diffusers import AutoencoderKLCogVideoX
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    torch.manual_seed(5)
    theirs = load_cogvideox(dataclasses.replace(COGVIDEOX, num_layers=1))
    theirs.save_pretrained(tmp_path / "transformer")
    AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2, scaling_factor=0.7
    ).save_pretrained(tmp_path / "vae")
    ByT5Tokenizer().save_pretrained(tmp_path / "tokenizer")
    T5EncoderModel(T5Config(vocab_size=384, d_model=16, d_kv=16, d_ff=32, num_layers=1, num_heads=1)).save_pretrained(
        tmp_path / "text_encoder"
    )
    source = str(tmp_path)
    named = config(
        transformer=CogVideoXConfig(source), vae=CogVideoXVAEConfig(source), text=T5TextConfig(source, max_length=40)
    )
    found = VideoVlaPolicy(named, SPEC7)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(found.model.transformer.state_dict()[key], tensor)
    assert found.encoder.fitted and found.model.transformer.gradient_checkpointing
    torch.testing.assert_close(found.encoder.latent_std, torch.full((16,), 1 / 0.7))
    found.save(tmp_path / "policy")  # its weights and their shape; the text encoder stays where it was
    loaded = load_policy(tmp_path / "policy")
    np.testing.assert_allclose(act(loaded, [3], [5]), act(found.eval(), [3], [5]), atol=1e-5)  # type: ignore[arg-type]
    two_b = load_cogvideox(dataclasses.replace(COGVIDEOX, num_layers=1))
    two_b.register_to_config(use_rotary_positional_embeddings=False)
    two_b.save_config(tmp_path / "transformer")
    with pytest.raises(ValueError, match="not a CogVideoX-5b"):
        VideoVlaPolicy(named, SPEC7)


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, policy: VideoVlaPolicy) -> None:
    for changes, named in (
        ({"execute": 7}, "execute=7"),
        ({"schedule": "both"}, "schedule='both'"),
        ({"latents": 1, "schedule": "async"}, "needs a future"),
        ({"ddim_steps": 1001}, "ddim_steps=1001"),
    ):
        with pytest.raises(ValueError, match=named):
            config(**changes)  # type: ignore[arg-type]
    specs: list[tuple[EnvSpec, str]] = [
        (SPEC, "dx, dy"),
        (dataclasses.replace(SPEC7, image_size=(24, 32)), r"24 x 32: videovla needs multiples of 16; .*\[32,32\]"),
        (dataclasses.replace(SPEC7, cameras=("top",)), "cameras="),
    ]
    for spec, named in specs:
        with pytest.raises(ValueError, match=named):
            VideoVlaPolicy(config(), spec)
    with pytest.raises(ValueError, match=r"needs vae\.training"):
        store = made_store(tmp_path / "s", [episode(0)])
        labels = Labels.from_arrays(store, "test", weight=[np.ones(20)])
        untrained = dataclasses.replace(VAE, training=None)
        VideoVlaPolicy(config(vae=untrained), SPEC7).fit(store, labels)
    folder = tmp_path / "policy"
    policy.save(folder)
    raw = json.loads((folder / "config.json").read_text())
    save_module(folder, policy, raw | {"kind": "flow"})
    with pytest.raises(ValueError, match="is not videovla"):
        VideoVlaPolicy.load(folder)
    raw["config"]["transformer"]["num_layers"] = 3
    save_module(folder, policy, raw)
    with pytest.raises(ValueError, match=r"transformer_blocks\.2"):
        load_policy(folder)
