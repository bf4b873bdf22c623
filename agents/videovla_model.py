"""VideoVLA's network: action tokens in the vision stream of a stock CogVideoX transformer, denoised with the video.

Shapes: B batch, F latent frames (the current one first), C latent channels, h w latent pixels, L tokens, D width,
K action chunk, A action.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.settings import TIMESTEPS, VideoVlaConfig
from agents.videovla_actions import GRIPPER
from agents.videovla_streams import Keys, follow, meet, read, run, see
from networks.cogvideox import diffusion_schedule, load_cogvideox, rotary_positions


class VideoVlaModel(nn.Module):
    """Denoises future latents and an action chunk together, given the current latent and the text (section 3.4).

        z_t = sqrt(abar_t) z0 + sqrt(1 - abar_t) eps,  v = sqrt(abar_t) eps - sqrt(1 - abar_t) z0, one t per sample
        l = lambda_video * mean over future latents (v_hat - v)^2 + mean over actions (v_hat - v)^2

    Sequence [text, current latent, future latents, actions]; the current latent is clean and in no loss. Actions are a
    linear layer in, a linear layer out after the output norm, and rotary rows that turn nothing. Those rows tell no
    action from another, so each has a learned embedding (ours; the paper names none).
    CogVideoX takes one timestep per sample: the clean current latent is modulated as if it were noised, too. With
    schedule != sync the actions have their own timestep, through the same norms (agents/videovla_streams.py).
    """

    def __init__(self, config: VideoVlaConfig, action_dim: int = 7) -> None:
        super().__init__()
        self.config = config
        self.transformer = load_cogvideox(config.transformer)
        if config.transformer.checkpoint:
            self.transformer.enable_gradient_checkpointing()
        D = self.transformer.config.num_attention_heads * self.transformer.config.attention_head_dim
        self.action_in = nn.Linear(action_dim, D)
        self.action_place = nn.Parameter(0.02 * torch.randn(config.chunk, D))
        self.action_out = nn.Linear(D, action_dim)
        self.transformer.proj_out.requires_grad_(config.latents > 1)  # without a future it feeds no loss
        self.schedule = diffusion_schedule()
        self.register_buffer("action_low", -torch.ones(action_dim))
        self.register_buffer("action_high", torch.ones(action_dim))
        self._ropes: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def scale(self, actions: Tensor) -> Tensor:
        """Actions in VideoVLA's order with 1 % and 99 % quantiles at -1 and 1; the gripper stays 0 or 1."""
        return 2 * (actions - self.action_low) / (self.action_high - self.action_low) - 1

    def unscale(self, scaled: Tensor) -> Tensor:
        """Inverse of `scale`."""
        return (scaled + 1) / 2 * (self.action_high - self.action_low) + self.action_low

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Set the quantiles (A,) that become -1 and 1."""
        self.action_low.copy_(low)
        self.action_high.copy_(high)
        self.action_low[GRIPPER], self.action_high[GRIPPER] = -1, 1

    def denoise(
        self, latents: Tensor, actions: Tensor | None, text: Tensor, t: Tensor, action_t: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Predicted v of all latents (B, F, C, h, w) and of the actions (B, K, A), at timesteps t (B,), action_t (B,).

        `action_t` None: the video's. Without actions the first is the stock transformer's output, bit for bit.
        """
        model = self.transformer
        said, seen, rope = self._embed(latents, text)
        time, deep = self._time(t), model.gradient_checkpointing
        if actions is None:
            for block in model.transformer_blocks:
                seen, said = run(deep, block, seen, said, time, rope)
            return self._to_latents(model.norm_out(model.norm_final(seen), temb=time), latents.shape), None
        acting = self._act_in(actions)
        action_time = time if action_t is None else self._time(action_t)
        if action_t is not None or self.config.causal_mask:
            step = follow if self.config.causal_mask else meet
            for block in model.transformer_blocks:
                said, seen, acting = run(deep, step, block, said, seen, acting, time, action_time, rope)
        else:
            K, E = acting.shape[1], rope[0].shape[1]
            turned = torch.cat([rope[0], rope[0].new_ones(K, E)]), torch.cat([rope[1], rope[1].new_zeros(K, E)])
            both = torch.cat([seen, acting], 1)
            for block in model.transformer_blocks:
                both, said = run(deep, block, both, said, time, turned)
            seen, acting = both[:, :-K], both[:, -K:]
        seen = model.norm_out(model.norm_final(seen), temb=time)
        return self._to_latents(seen, latents.shape), self._act_out(acting, action_time)

    def video_keys(self, latents: Tensor, text: Tensor, t: Tensor) -> list[Keys]:
        """Keys and values of text and video in every block; under the causal mask they do not depend on the actions."""
        assert self.config.causal_mask, "video sees the actions: its keys change with them"
        said, seen, rope = self._embed(latents, text)
        time, found = self._time(t), []
        for block in self.transformer.transformer_blocks:
            said, seen, keys = see(block, said, seen, time, rope)
            found.append(keys)
        return found

    def denoise_actions(self, actions: Tensor, action_t: Tensor, keys: list[Keys]) -> Tensor:
        """Predicted v of the actions (B, K, A) from the keys of a video that is not computed again."""
        acting = self._act_in(actions)
        time = self._time(action_t)
        for block, known in zip(self.transformer.transformer_blocks, keys, strict=True):
            acting = read(block, acting, time, known)
        return self._act_out(acting, time)

    def _embed(self, latents: Tensor, text: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        dtype = self.action_in.weight.dtype
        joined = self.transformer.patch_embed(text.to(dtype), latents.to(dtype))
        joined = self.transformer.embedding_dropout(joined)
        key = (latents.shape[1], *latents.shape[3:], latents.device)
        if key not in self._ropes:
            self._ropes[key] = rotary_positions(self.transformer, *key)
        return joined[:, : text.shape[1]], joined[:, text.shape[1] :], self._ropes[key]

    def _time(self, t: Tensor) -> Tensor:
        return self.transformer.time_embedding(self.transformer.time_proj(t).to(self.action_in.weight.dtype), None)

    def _act_in(self, actions: Tensor) -> Tensor:
        return self.action_in(actions.to(self.action_in.weight.dtype)) + self.action_place

    def _act_out(self, acting: Tensor, time: Tensor) -> Tensor:
        return self.action_out(self.transformer.norm_out(self.transformer.norm_final(acting), temb=time)).float()

    def _to_latents(self, tokens: Tensor, shape: torch.Size) -> Tensor:
        """Tokens (B, F h/p w/p, D) to latents (B, F, C, h, w), as the stock transformer ends."""
        B, F, C, h, w = shape
        p = self.transformer.config.patch_size
        x = self.transformer.proj_out(tokens).reshape(B, F, h // p, w // p, C, p, p)
        return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(shape).float()

    def losses(self, batch: dict[str, Tensor], text: Tensor) -> Tensor:
        """Loss per sample (B,), each modality averaged over its own elements; text (B, L, D).

        Batch: latents (B, F, C, h, w), current one first; actions (B, K, A) in VideoVLA's order; valid (B, K), true
        before the episode's end.
        """
        latents, config = batch["latents"].float(), self.config
        now, future, a0 = latents[:, :1], latents[:, 1:], self.scale(batch["actions"])
        B = len(latents)
        t = torch.randint(TIMESTEPS, (B,), device=latents.device)
        own = None if config.schedule == "sync" else torch.randint(TIMESTEPS, (B,), device=latents.device)
        action_t = t if own is None else own
        noise, action_noise = torch.randn_like(future), torch.randn_like(a0)
        z = torch.cat([now, self.schedule.add_noise(future, noise, t)], 1)
        v, action_v = self.denoise(z, self.schedule.add_noise(a0, action_noise, action_t), text, t, own)
        assert action_v is not None
        error = (action_v - self.schedule.get_velocity(a0, action_noise, action_t)).square().mean(2)
        valid = batch["valid"].float()
        loss = (error * valid).sum(1) / valid.sum(1)
        if future.shape[1]:
            video = (v[:, 1:] - self.schedule.get_velocity(future, noise, t)).square().mean((1, 2, 3, 4))
            loss = loss + config.lambda_video * video
        return loss

    @torch.no_grad()
    def sample(
        self, now: Tensor, text: Tensor, guidance: float, noise: Tensor, action_noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """DDIM from noise to actions (B, K, A) in VideoVLA's order and units, and latents (B, F, C, h, w).

        now (B, 1, C, h, w) is written in anew at every step; text (B, I, L, D) is the prompt, and with I = 2 the prompt
        without indicator after it: v = v_null + beta (v_I - v_null), both in one batch; noise (B, F - 1, C, h, w).
        """
        schedule, config = self.schedule, self.config
        schedule.set_timesteps(config.ddim_steps)
        steps, I = schedule.timesteps.tolist(), text.shape[1]
        prompts, z, a = text.flatten(0, 1), noise, action_noise

        def each(x: Tensor) -> Tensor:
            return x.repeat_interleave(I, 0)

        def at(t: int) -> Tensor:
            return torch.full((len(prompts),), t, device=now.device)

        def mixed(v: Tensor) -> Tensor:
            v = v.unflatten(0, (-1, I))
            return v[:, 0] if I == 1 else v[:, 1] + guidance * (v[:, 0] - v[:, 1])

        def step(v: Tensor, t: int, x: Tensor) -> Tensor:
            return schedule.step(mixed(v), t, x, return_dict=False)[0]

        def predict(t: int, action_t: int | None, actions: Tensor | None) -> tuple[Tensor, Tensor | None]:
            video = each(torch.cat([now, z], 1))
            acting = None if actions is None else each(actions)
            v, action_v = self.denoise(video, acting, prompts, at(t), None if action_t is None else at(action_t))
            return v[:, 1:], action_v

        if config.schedule != "async":
            for t in steps:
                v, action_v = predict(t, None, a)
                z, a = step(v, t, z), step(action_v, t, a)  # type: ignore[arg-type]
            return self.unscale(a), torch.cat([now, z], 1)
        for t in steps:  # the video, beside actions that are still noise; under the causal mask it cannot see them
            z = step(predict(t, TIMESTEPS - 1, None if config.causal_mask else a)[0], t, z)
        keys = self.video_keys(each(torch.cat([now, z], 1)), prompts, at(0)) if config.causal_mask else None
        for t in steps:  # the actions, beside the finished video
            if keys is not None:
                action_v = self.denoise_actions(each(a), at(t), keys)
            else:
                action_v = predict(0, t, a)[1]  # type: ignore[assignment]
            a = step(action_v, t, a)  # type: ignore[arg-type]
        return self.unscale(a), torch.cat([now, z], 1)
