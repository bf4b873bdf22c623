"""VideoVLA: the stock transformer untouched, who sees whom, exact sampling, its action order, learning, files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from made_lift import SPEC, made_episode
from torch import Tensor

from agents.make import load_policy, make_policy
from agents.videovla import VideoVlaPolicy
from agents.videovla_actions import from_videovla, to_videovla
from agents.videovla_model import VideoVlaConfig, VideoVlaModel
from episodes.labels import NEGATIVE, NULL, POSITIVE, Labels
from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode
from episodes.windows import DecodedCache
from networks.checkpoint import save_module
from networks.clip_latents import apart, clip_latents, clip_rows, encode_views, side_by_side
from networks.cogvideox import CogVideoXConfig, diffusion_schedule, load_cogvideox, rotary_positions
from networks.cogvideox_vae import CogVideoXVAEConfig, VideoEncoder
from networks.text import T5Embedder, T5TextConfig

SPEC7 = dataclasses.replace(
    SPEC,
    action_names=("dx", "dy", "dz", "drx", "dry", "drz", "gripper"),
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
    action_units=("m",) * 3 + ("rad",) * 3 + ("-1 opens, +1 closes",),
)
COGVIDEOX = CogVideoXConfig(
    "", num_layers=2, num_attention_heads=2, attention_head_dim=16, time_embed_dim=16, text_dim=16, sample_height=4,
    sample_width=8,
)  # fmt: skip
VAE = CogVideoXVAEConfig("", widths=(8, 8, 8, 8), layers=1, groups=1, training=tiny.training(2, batch_size=2))
TEXT = T5TextConfig("", max_length=40, d_model=16, num_layers=1)


def config(steps: int = 1, **changes: object) -> VideoVlaConfig:
    small = {
        "cameras": list(SPEC.cameras), "latents": 3, "ddim_steps": 3, "transformer": COGVIDEOX, "vae": VAE,
        "text": TEXT, "training": tiny.training(steps),
    }  # fmt: skip
    return VideoVlaConfig(**small | changes)  # type: ignore[arg-type]


def episode(seed: int, sign: float = 1.0) -> Episode:
    """`made_episode` with seven actions; the gripper closes (+1) in the brighter half."""
    made = made_episode(seed)
    actions = np.zeros((len(made), 7), np.float32)
    actions[:, :2] = made.actions
    actions[:, 6] = np.where(made.progress[:-1] > 0.5, 1.0, -1.0)
    return dataclasses.replace(made, actions=sign * actions)


@pytest.fixture(scope="module")
def policy() -> VideoVlaPolicy:
    return VideoVlaPolicy(config(), SPEC7, seed=3).eval()


def model(**changes: object) -> VideoVlaModel:
    torch.manual_seed(0)
    return VideoVlaModel(config(**changes)).eval()  # type: ignore[arg-type]


def inputs(B: int = 2, F: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents (B, F, 16, 4, 8), actions (B, 6, 7), text (B, 40, 16) and timesteps (B,)."""
    g = torch.Generator().manual_seed(seed)
    shapes = ((B, F, 16, 4, 8), (B, 6, 7), (B, 40, 16))
    latents, actions, text = (torch.randn(shape, generator=g) for shape in shapes)
    return latents, actions, text, torch.randint(1000, (B,), generator=g)


def act(policy: VideoVlaPolicy, seeds: list[int], frames: list[int | None], task: str = "raise it") -> np.ndarray:
    made = episode(7)
    policy.reset(np.ones(len(seeds), bool), np.array(seeds), [task] * len(seeds))
    seen = [None if t is None else dataclasses.replace(made.observation(t), instruction=task) for t in frames]
    return policy.act(seen)


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        found = VideoVlaModel(VideoVlaConfig(transformer=CogVideoXConfig("")))
        vae = VideoEncoder(CogVideoXVAEConfig(""))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in found.named_children()}
    assert count["transformer"] == 5_570_283_072
    D = 48 * 64
    assert sum(p.numel() for p in found.parameters()) - count["transformer"] == 7 * D + D + 6 * D + 7 * D + 7
    assert sum(p.numel() for p in vae.parameters()) == 215_583_907


def test_the_settings_are_the_papers_and_tiny_is_the_same_class() -> None:
    from test_config import composed

    paper, small = composed("policy=videovla", "preset=paper").policy, composed("policy=videovla_tiny").policy
    assert json.dumps(dataclasses.asdict(paper)) == json.dumps(dataclasses.asdict(VideoVlaConfig()))
    assert (paper.chunk, paper.execute, paper.latents, paper.frames, paper.ddim_steps) == (6, 3, 13, 49, 50)
    assert (paper.training.lr, paper.training.weight_decay, paper.training.batch_size) == (1e-5, 1e-4, 256)
    assert paper.text.max_length == 226 and paper.transformer.revision == paper.vae.revision == "main"
    real_time = composed("policy=videovla_realtime").policy
    assert (real_time.latents, real_time.frames, real_time.ddim_steps) == (4, 13, 10)
    assert type(small) is type(paper) and not small.transformer.checkpoint and small.vae.training is not None


def test_the_schedule_is_the_published_one() -> None:
    schedule = diffusion_schedule()
    assert float(schedule.alphas_cumprod[-1]) == 0 and abs(float(schedule.alphas_cumprod[0]) - (1 - 0.00085)) < 1e-6
    schedule.set_timesteps(50)
    assert schedule.timesteps[0] == 999 and schedule.timesteps[-1] == 19
    x, noise = torch.randn(1, 4), torch.randn(1, 4)
    last = torch.tensor([999])
    torch.testing.assert_close(schedule.add_noise(x, noise, last), noise)  # nothing of the sample is left
    torch.testing.assert_close(schedule.get_velocity(x, noise, last), -x)


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_without_actions_the_output_is_the_base_models(causal: bool) -> None:
    found = model(causal_mask=causal)
    latents, actions, text, t = inputs()
    stock = load_cogvideox(COGVIDEOX).eval()
    stock.load_state_dict(found.transformer.state_dict())
    rope = rotary_positions(stock, 3, 4, 8, latents.device)
    base = stock(latents, text, t, image_rotary_emb=rope, return_dict=False)[0]
    v, none = found.denoise(latents, None, text, t)
    assert none is None and torch.equal(v, base)
    beside, action_v = found.denoise(latents, actions, text, t)
    assert action_v is not None and action_v.shape == (2, 6, 7)
    if causal:  # actions are only listeners
        torch.testing.assert_close(beside, base, atol=1e-5, rtol=0)
    else:
        assert (beside - base).abs().max() > 1e-3


@torch.no_grad()
def test_own_timesteps_that_are_the_same_change_nothing() -> None:
    """The streams told apart, with one timestep, compute what the stock blocks compute on the joined stream."""
    found, (latents, actions, text, t) = model(), inputs()
    joined, apart = found.denoise(latents, actions, text, t), found.denoise(latents, actions, text, t, t)
    for a, b in zip(joined, apart, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    other = found.denoise(latents, actions, text, t, (t + 500) % 1000)
    assert (other[1] - joined[1]).abs().max() > 1e-3  # type: ignore[operator]


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_every_norm_of_the_actions_is_modulated_by_their_own_timestep(causal: bool) -> None:
    found, (latents, actions, text, t) = model(causal_mask=causal), inputs()
    own = (t + 500) % 1000
    norms = [m for b in found.transformer.transformer_blocks for m in (b.norm1, b.norm2)] + [found.transformer.norm_out]
    seen: dict[int, list[Tensor]] = {i: [] for i in range(len(norms))}
    for i, norm in enumerate(norms):
        norm.linear.register_forward_hook(lambda _, given, __, i=i: seen[i].append(given[0]))
    found.denoise(latents, actions, text, t, own)
    wanted = [torch.nn.functional.silu(found._time(x)) for x in (t, own)]
    for calls in seen.values():
        assert len(calls) == 2 and all(torch.equal(a, b) for a, b in zip(calls, wanted, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_who_sees_whom(causal: bool) -> None:
    """Under the causal mask no action reaches the video, not even through the text of an earlier block."""
    found, (latents, actions, text, t) = model(causal_mask=causal), inputs()
    own = (t + 300) % 1000
    for action_t in (None, own):
        v, action_v = found.denoise(latents, actions, text, t, action_t)
        moved, moved_action = found.denoise(latents, actions.index_fill(1, torch.tensor(5), 2.0), text, t, action_t)
        assert torch.equal(v, moved) == causal
        assert ((action_v - moved_action).abs().amax(-1) > 1e-5).all()  # every action sees every other
        late = latents.index_fill(1, torch.tensor(2), 1.0)
        assert ((action_v - found.denoise(late, actions, text, t, action_t)[1]).abs().amax(-1) > 1e-5).all()
    order = actions.flip(1)
    assert not torch.allclose(
        found.denoise(latents, order, text, t)[1].flip(1), found.denoise(latents, actions, text, t)[1]
    )
    if causal:
        keys = found.video_keys(latents, text, t)
        torch.testing.assert_close(found.denoise_actions(actions, own, keys), action_v, atol=1e-5, rtol=0)


class Knowing(VideoVlaModel):
    """Predicts the true v of known latents and actions, and remembers what it was asked."""

    def know(self, latents: Tensor, actions: Tensor) -> None:
        self.truth, self.asked = (latents, self.scale(actions)), []

    def _v(self, z: Tensor, z0: Tensor, t: Tensor) -> Tensor:
        abar = self.schedule.alphas_cumprod[t].float().reshape(-1, *[1] * (z.ndim - 1))
        noise = (z - abar.sqrt() * z0) / (1 - abar).sqrt()
        return abar.sqrt() * noise - (1 - abar).sqrt() * z0

    def denoise(self, latents: Tensor, actions: Any, text: Tensor, t: Tensor, action_t: Any = None) -> Any:
        self.asked.append((int(t[0]), None if action_t is None else int(action_t[0])))
        torch.testing.assert_close(latents[:, :1], self.truth[0][:, :1])  # the current latent is clean at every step
        v = self._v(latents, self.truth[0], t)
        return v, None if actions is None else self._v(actions, self.truth[1], t if action_t is None else action_t)

    def video_keys(self, latents: Tensor, text: Tensor, t: Tensor) -> Any:
        self.asked.append("keys")
        return []

    def denoise_actions(self, actions: Tensor, action_t: Tensor, keys: Any) -> Tensor:
        self.asked.append(int(action_t[0]))
        return self._v(actions, self.truth[1], action_t)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("schedule", "causal"), [("sync", False), ("async", False), ("async", True)])
def test_sampling_with_the_true_velocity_recovers_the_truth(steps: int, schedule: str, causal: bool) -> None:
    found = Knowing(config(schedule=schedule, causal_mask=causal, ddim_steps=steps))
    found.set_range(-torch.arange(1.0, 8), torch.arange(1.0, 8))
    latents, actions, text, _ = inputs()
    found.know(latents, actions)
    noise, action_noise = torch.randn(2, 2, 16, 4, 8), torch.randn(2, 6, 7)
    a, z = found.sample(latents[:, :1], text[:, None], 1.0, noise, action_noise)
    torch.testing.assert_close(z, latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(a, actions, atol=1e-3, rtol=0)
    grid = [1000 * (steps - i) // steps - 1 for i in range(steps)]
    if schedule == "sync":
        assert found.asked == [(t, None) for t in grid]
    elif causal:  # the video alone, its keys once, then the actions
        assert found.asked == [(t, 999) for t in grid] + ["keys"] + grid
    else:
        assert found.asked == [(t, 999) for t in grid] + [(0, t) for t in grid]


@torch.no_grad()
def test_guidance_mixes_the_two_fields() -> None:
    """beta = 1 is the indicator's own field, 0 the one without, 2 as far beyond as they are apart."""
    found, (latents, _, text, _) = model(ddim_steps=1), inputs()
    noise, action_noise = torch.randn(2, 2, 16, 4, 8), torch.randn(2, 6, 7)
    pair = torch.stack([text, text.flip(0)], 1)
    guided = [found.sample(latents[:, :1], pair, beta, noise, action_noise) for beta in (0.0, 1.0, 2.0)]
    plain = [found.sample(latents[:, :1], pair[:, i : i + 1], 1.0, noise, action_noise) for i in (1, 0)]
    for k in (0, 1):  # actions, latents
        for i in (0, 1):
            torch.testing.assert_close(guided[i][k], plain[i][k], atol=1e-5, rtol=0)
        torch.testing.assert_close(guided[2][k] - guided[1][k], guided[1][k] - guided[0][k], atol=1e-4, rtol=0)
    assert (guided[1][0] - guided[0][0]).abs().max() > 1e-3


def batch(B: int = 3) -> dict[str, Tensor]:
    latents, actions, _, _ = inputs(B)
    valid = torch.ones(B, 6, dtype=torch.bool)
    valid[:, 4:] = False
    return {"latents": latents, "actions": actions, "valid": valid, "task": torch.zeros(B, dtype=torch.long)}


def test_what_is_in_the_loss() -> None:
    """Neither the current latent's output nor actions past the episode's end; both modalities by their own means."""
    found, data, text = model(), batch(), inputs(3)[2]

    def loss(**changes: Tensor) -> Tensor:
        torch.manual_seed(0)
        return found.losses(data | changes, text)

    plain, per_frame = loss(), 2 * 4
    assert plain.shape == (3,)
    wrong = torch.zeros(3 * per_frame, 1)
    wrong[:per_frame] = 100.0
    hook = found.transformer.proj_out.register_forward_hook(lambda _, __, out: out + wrong)
    torch.testing.assert_close(loss(), plain)
    hook.remove()
    hook = found.transformer.proj_out.register_forward_hook(lambda _, __, out: out + wrong.flip(0))
    assert (loss() > plain + 100).all()
    hook.remove()
    late = torch.zeros(6, 7)
    late[4:] = 100.0
    hook = found.action_out.register_forward_hook(lambda _, __, out: out + late)
    torch.testing.assert_close(loss(), plain)
    assert (loss(valid=torch.ones(3, 6, dtype=torch.bool)) > plain + 100).all()
    hook.remove()


def gradients(found: VideoVlaModel, data: dict[str, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    found.zero_grad()
    found.losses(data, inputs(3)[2]).sum().backward()
    return {name: p.grad.clone() for name, p in found.named_parameters() if p.grad is not None}


def test_no_video_loss_has_no_gradient_of_the_video_and_action_only_no_future() -> None:
    data = batch()
    shifted = data | {"latents": data["latents"].clone()}
    silent, full = gradients(model(lambda_video=0.0), data), gradients(model(), data)
    assert silent.keys() == full.keys() == dict(model().named_parameters()).keys()  # none is unused
    head = [name for name in silent if "proj_out" in name]
    assert head and all((silent[n] == 0).all() and (full[n] != 0).any() for n in head)
    assert all((silent[n] != 0).any() for n in silent if n not in head)
    alone, now = model(latents=1), {**shifted, "latents": data["latents"][:, :1]}
    found = gradients(alone, now)
    assert set(full) - set(found) == set(head)  # and the head is frozen
    assert all(not p.requires_grad for p in alone.transformer.proj_out.parameters())
    a, z = alone.sample(now["latents"], inputs(3)[2][:, None], 1.0, torch.zeros(3, 0, 16, 4, 8), torch.randn(3, 6, 7))
    assert a.shape == (3, 6, 7) and z.shape[1] == 1


@pytest.mark.parametrize("changes", [{"causal_mask": True}, {"schedule": "async"}, {"schedule": "async_training"}])
def test_every_ablation_trains_all_parameters_also_with_checkpointing(changes: dict[str, Any]) -> None:
    found, data = model(**changes), batch()
    plain = gradients(found, data)
    assert all((g != 0).any() for g in plain.values())
    found.transformer.enable_gradient_checkpointing()
    for name, g in gradients(found.train(), data).items():
        torch.testing.assert_close(g, plain[name])


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
    torch.testing.assert_close(apart(side_by_side(views), 2), views)
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
        (dataclasses.replace(SPEC7, image_size=(24, 32)), "multiples of 16"),
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
