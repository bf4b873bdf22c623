"""VideoVLA's network: the stock transformer untouched, who sees whom, exact sampling, loss and its ablations."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.settings import VideoVlaConfig
from agents.videovla_model import VideoVlaModel
from networks.cogvideox import diffusion_schedule, load_cogvideox, rotary_positions
from networks.cogvideox_vae import VideoEncoder
from networks.settings import CogVideoXConfig, CogVideoXVAEConfig
from tests.helpers.small_videovla import COGVIDEOX, config, inputs, model


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
    from tests.helpers.composing import composed

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
