"""The pi0.5-style policy: the published size, exact caching and masks, text it follows, weights it takes over."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from made_lift import SPEC, made_episode, made_store
from safetensors.torch import save_file
from torch import Tensor

from agents.extraction import ExtractionConfig, bc
from agents.make import load_policy, make_policy
from agents.pi05 import Pi05Policy, quantile_range
from agents.pi05_expert import PrefixKeys
from agents.pi05_model import ExpertShape, PaliGemmaShape, Pi05Config, Pi05Model, resize_with_pad
from agents.pi05_text import bin_centres, prompt, prompt_tokens, state_bins
from episodes.labels import NEGATIVE, NULL, POSITIVE, Labels
from episodes.store import EpisodeStore
from networks.checkpoint import save_module
from networks.prompts import PromptTokenizer

PREFIX = PaliGemmaShape(
    image_size=32, patch_size=16, vision_width=32, vision_layers=1, vision_heads=2, vision_mlp=64, width=48, layers=2,
    mlp=96, heads=2, head_dim=24, vocabulary=384, init_std=0.1,
)  # fmt: skip


def config(steps: int = 1, **changes: object) -> Pi05Config:
    small = {
        "checkpoint": "", "tokenizer": "", "max_tokens": 160, "chunk": 4, "execute": 2, "max_action_dim": 3,
        "noise_samples": 4, "prefix": PREFIX, "expert": ExpertShape(32, 64), "training": tiny.training(steps),
    }  # fmt: skip
    return Pi05Config(**small | changes)  # type: ignore[arg-type]


def lively(policy: Pi05Policy) -> Pi05Policy:
    """Random numbers everywhere: fresh gates are zero, and an expert that adds nothing would pass every test here."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return policy.eval()


@pytest.fixture(scope="module")
def policy() -> Pi05Policy:
    return lively(Pi05Policy(config(), SPEC))


def act(
    policy: Pi05Policy, seeds: list[int], frames: list[int | None], tasks: tuple[str, ...] = ("raise it",)
) -> np.ndarray:
    episode = made_episode(7)
    policy.reset(np.ones(len(seeds), bool), np.array(seeds), ["raise it"] * len(seeds))
    seen = [None if t is None else episode.observation(t) for t in frames]
    named = [o and dataclasses.replace(o, instruction=tasks[i % len(tasks)]) for i, o in enumerate(seen)]
    return policy.act(named)


def inputs(B: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, 2, 32, 32, 3), tokens (B, 9) and their mask; the second prompt is two tokens shorter."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.ones(B, 9, dtype=torch.bool)
    mask[1:, 7:] = False
    images = torch.randint(0, 256, (B, 2, 32, 32, 3), generator=g, dtype=torch.uint8)
    return images, torch.randint(3, 380, (B, 9), generator=g), mask


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = Pi05Model(Pi05Config(), 11, 7)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["paligemma"] == 2_923_335_408  # the word embedding once, no language head
    assert sum(count.values()) == 3_353_433_872


def test_the_settings_are_the_published_ones_and_tiny_is_the_same_class() -> None:
    from test_config import composed

    paper, small = composed("policy=pi05", "preset=paper").policy, composed("policy=pi05_tiny").policy
    assert json.dumps(dataclasses.asdict(paper)) == json.dumps(dataclasses.asdict(Pi05Config()))
    assert (paper.chunk, paper.euler_steps, paper.indicator_dropout, paper.guidance) == (50, 10, 0.3, 1.0)
    assert type(small) is type(paper) and not small.checkpoint and not small.tokenizer
    assert composed().policy.name == "flow"


def joint_velocity(
    model: Pi05Model, images: Tensor, tokens: Tensor, mask: Tensor, z: Tensor, tau: Tensor, blind: bool = True
) -> Tensor:
    """The same network as one sequence [prefix, actions], layer by layer, with one written-out mask and no cache."""
    lm, expert = model.paligemma.language_model, model.gemma_expert
    prefix = torch.cat([model.encode_images(images), lm.embed_tokens(tokens)], 1)
    x = model.action_in_proj(z)
    half = x.shape[-1] // 2
    periods = torch.tensor([4e-3 * 1000 ** (i / (half - 1)) for i in range(half)])
    angles = 2 * math.pi * tau[:, None] / periods
    time = torch.cat([angles.sin(), angles.cos()], -1)
    silu = torch.nn.functional.silu
    time = silu(model.time_mlp_out(silu(model.time_mlp_in(time))))
    B, L, K = len(z), prefix.shape[1], z.shape[1]
    real = torch.cat([mask.new_ones(B, L - tokens.shape[1]), mask, mask.new_ones(B, K)], 1)
    is_action = torch.arange(L + K) >= L
    allowed = real[:, None, :] & (is_action[:, None] | ~is_action[None, :] | (not blind))
    cos, sin = lm.rotary_emb(x, (real.cumsum(1) - 1).clamp(min=0))

    def turn(q: Tensor) -> Tensor:
        a, b = q.chunk(2, -1)
        return q * cos[:, None] + torch.cat([-b, a], -1) * sin[:, None]

    heads, E = PREFIX.heads, PREFIX.head_dim
    for ours, theirs in zip(lm.layers, expert.layers, strict=True):
        p, (a, gate) = ours.input_layernorm(prefix), theirs.input_layernorm(x, time)

        def split(name: str, p: Tensor = p, a: Tensor = a, ours=ours, theirs=theirs) -> Tensor:
            both = [getattr(layer.self_attn, name)(h) for layer, h in ((ours, p), (theirs, a))]
            return torch.cat(both, 1).unflatten(-1, (-1, E)).transpose(1, 2)

        q, k, v = turn(split("q_proj")), turn(split("k_proj")), split("v_proj")
        scores = (q @ k.transpose(2, 3)) / math.sqrt(E)
        out = scores.masked_fill(~allowed[:, None], -torch.inf).softmax(-1) @ v.expand(-1, heads, -1, -1)
        out = out.transpose(1, 2).flatten(2)
        prefix = prefix + ours.self_attn.o_proj(out[:, :L])
        prefix = prefix + ours.mlp(ours.post_attention_layernorm(prefix))
        x = x + gate * theirs.self_attn.o_proj(out[:, L:])
        y, gate = theirs.post_attention_layernorm(x, time)
        x = x + gate * theirs.mlp(y)
    return model.action_out_proj(expert.norm(x, time)[0])


@torch.no_grad()
def test_sampling_from_the_cache_equals_the_joint_forward_without_one(policy: Pi05Policy) -> None:
    model, (images, tokens, mask) = policy.model, inputs()
    z = noise = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(1))
    for k in range(10):
        z = z - joint_velocity(model, images, tokens, mask, z, torch.full((2,), 1 - k / 10)) / 10
    cached = model.sample(images, tokens[:, None], mask[:, None], 1.0, noise)
    torch.testing.assert_close(cached, model.unscale(z), atol=1e-5, rtol=0)
    seeing = joint_velocity(model, images, tokens, mask, noise, torch.ones(2), blind=False)
    blind = joint_velocity(model, images, tokens, mask, noise, torch.ones(2))
    assert (seeing - blind).abs().max() > 1e-3  # a prefix that saw the actions would be another policy


@torch.no_grad()
def test_who_sees_whom(policy: Pi05Policy) -> None:
    model, (images, tokens, mask) = policy.model, inputs()
    seen = model.encode_images(images)

    def last_keys(tokens: Tensor, mask: Tensor) -> Tensor:
        return model.encode_prefix(seen, tokens, mask).keys[-1][:, 0]

    changed = tokens.clone()
    changed[:, 6] += 1
    moved = (last_keys(changed, mask) - last_keys(tokens, mask)).abs().amax(-1)
    assert (moved[:, :-2] > 1e-4).all()  # the prefix is bidirectional: its first token sees a late one
    changed = tokens.clone()
    changed[1, 7:] = 5
    moved = (last_keys(changed, mask) - last_keys(tokens, mask)).abs().amax(-1)
    assert (moved[1, :-2] == 0).all()  # and nobody sees padding
    prefix, z, tau = model.encode_prefix(seen, tokens, mask), torch.zeros(2, *model.shape), torch.full((2,), 0.5)
    before = model.velocity(z, tau, prefix)
    for k in (0, 3):  # every action token sees every other, in both directions
        moved = (model.velocity(z.index_fill(1, torch.tensor(k), 1.0), tau, prefix) - before).abs().amax(-1)
        assert (moved > 1e-5).all()
    for position in (0, prefix.mask.shape[1] - 3):  # and the prefix from its first to its last real token
        values = [v.clone().index_fill(2, torch.tensor(position), 1.0) for v in prefix.values]
        moved = (model.velocity(z, tau, PrefixKeys(prefix.keys, values, prefix.mask)) - before).abs().amax(-1)
        assert (moved > 1e-6).all()


def test_a_chunk_depends_on_its_own_episode_alone(policy: Pi05Policy) -> None:
    """Prompts of different lengths in one batch, an empty slot, guidance: none of it may show in another's chunk."""
    tasks = ("raise it", "raise the small red thing", "raise")
    try:
        policy.indicator, policy.guidance = POSITIVE, 1.5
        together = act(policy, [1, 2, 3], [4, 5, None], tasks)
        alone = act(policy, [2], [5], tasks[1:])
        np.testing.assert_allclose(together[1], alone[0], atol=1e-5)
        assert together.dtype == np.float32 and (together[2] == 0).all()
        assert not np.allclose(act(policy, [9], [5], tasks[1:]), alone)
        assert not np.allclose(act(policy, [2], [5]), alone)  # it reads its instruction
        np.testing.assert_array_equal(act(policy, [2], [5], tasks[1:]), alone)
    finally:
        policy.indicator, policy.guidance = NULL, 1.0


@torch.no_grad()
def test_guidance_mixes_the_two_fields(policy: Pi05Policy) -> None:
    """beta = 1 is the indicator's own field, 0 the one without, 2 as far beyond as they are apart."""
    model, (images, tokens, mask) = policy.model, inputs()
    model.config.euler_steps, steps = 1, model.config.euler_steps
    noise = torch.randn(2, *model.shape)
    pair = torch.stack([tokens, tokens.flip(1)], 1), torch.stack([mask, mask], 1)
    guided = [model.sample(images, *pair, beta, noise) for beta in (0.0, 1.0, 2.0)]
    plain = [model.sample(images, pair[0][:, i : i + 1], pair[1][:, i : i + 1], 1.0, noise) for i in (1, 0)]
    model.config.euler_steps = steps
    torch.testing.assert_close(guided[0], plain[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(guided[1], plain[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(guided[2] - guided[1], guided[1] - guided[0], atol=1e-5, rtol=0)
    assert (guided[1] - guided[0]).abs().max() > 1e-3


def test_state_bins_round_trip_and_clip() -> None:
    low, high = np.array([-1.0, 0.0]), np.array([1.0, 5.0])
    q = np.random.default_rng(0).uniform(low, high, (200, 2))
    bins = state_bins(q, low, high)
    assert bins.min() >= 0 and bins.max() <= 255 and len(np.unique(bins)) > 100
    assert (np.abs(bin_centres(bins, low, high) - q) <= (high - low) / 512 + 1e-9).all()
    np.testing.assert_array_equal(state_bins(bin_centres(bins, low, high), low, high), bins)
    np.testing.assert_array_equal(state_bins(np.array([[-9, 9], [1, 5]]), low, high), [[0, 255], [255, 255]])


def test_the_prompt_says_the_indicator_late_and_null_not_at_all() -> None:
    bins = np.array([0, 128, 255])
    assert prompt(" pick_up\nit ", bins, NULL) == "Task: pick up it, State: 0 128 255;\nAction: "
    for indicator, word in ((POSITIVE, "positive"), (NEGATIVE, "negative")):
        text = prompt("pick", bins, indicator)
        assert text == f"Task: pick, State: 0 128 255;\nAdvantage: {word};\nAction: "
    tokens, mask = prompt_tokens(PromptTokenizer("", 100), ["pick", "take it"], np.stack([bins, bins]))
    assert tokens.shape == mask.shape and tokens.shape[:2] == (2, 3)
    assert bytes(int(t) - 3 for t in tokens[1, NULL][mask[1, NULL]][:-1]).decode() == prompt("take it", bins, NULL)
    assert mask.sum(-1).tolist()[0][NULL] + len("Advantage: positive;\n") == mask.sum(-1).tolist()[0][POSITIVE]
    with pytest.raises(ValueError, match="raise max_tokens=20"):
        prompt_tokens(PromptTokenizer("", 20), ["pick"], bins[None])
    with pytest.raises(ValueError, match="no/such/folder"):
        PromptTokenizer("no/such/folder", 20)(["x"])


def test_scales_and_images() -> None:
    x = np.stack([np.linspace(0, 10, 1001), np.full(1001, 3.0), np.r_[np.zeros(1000), 2.0]], 1).astype(np.float32)
    low, high = quantile_range(x)
    np.testing.assert_allclose(low, [0.1, 2.5, 0], atol=1e-5)
    np.testing.assert_allclose(high, [9.9, 3.5, 2], atol=1e-5)
    wide = resize_with_pad(torch.ones(1, 3, 16, 32), 64)
    assert wide.shape == (1, 3, 64, 64)
    assert (wide[0, 0, :16] == -1).all() and (wide[0, 0, 16:48] == 1).all() and (wide[0, 0, 48:] == -1).all()


def batch(B: int = 3) -> dict[str, Tensor]:
    images, _, _ = inputs(B)
    tokens, mask = prompt_tokens(PromptTokenizer("", 160), ["raise it"] * B, np.full((B, 11), 7))
    found = {"images": images, "tokens": torch.as_tensor(tokens), "tokens_mask": torch.as_tensor(mask)}
    return found | {"actions": torch.zeros(B, 4, 2), "valid": torch.tensor([[1, 0, 0, 0]] * B, dtype=torch.bool)}


def test_loss_is_per_sample_padding_does_not_count_and_the_indicator_is_dropped(policy: Pi05Policy) -> None:
    data, positive = batch(), torch.ones(3, dtype=torch.long)

    def loss(indicator: Tensor, **changes: Tensor) -> Tensor:
        torch.manual_seed(0)
        return policy.model.losses(data | changes, indicator)

    plain = loss(positive)
    wrong = torch.zeros(4, 3)
    wrong[1:] = 100.0  # a velocity that is far off, only where the episode is over
    hook = policy.model.action_out_proj.register_forward_hook(lambda _, __, out: out + wrong)
    assert plain.shape == (3,) and torch.equal(plain, loss(positive))
    hook.remove()
    assert not torch.allclose(plain, loss(positive, valid=torch.ones(3, 4, dtype=torch.bool)))
    assert not torch.allclose(plain, loss(0 * positive)) and not torch.allclose(plain, loss(NULL * positive))
    policy.config.indicator_dropout = 1.0
    torch.manual_seed(0)
    dropped = policy.loss(data, positive)
    torch.manual_seed(0)
    torch.testing.assert_close(dropped, policy.loss(data, 0 * positive))  # all dropped: it cannot matter
    policy.config.indicator_dropout = 0.3
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(positive).float(), plain, rtol=0.1, atol=0.1)


def test_every_trained_parameter_gets_a_gradient_and_no_other(policy: Pi05Policy) -> None:
    """What only later prefix layers would read is frozen, so that data-parallel training meets no unused parameter."""
    policy.model.losses(batch(), torch.ones(3, dtype=torch.long)).sum().backward()
    for name, p in policy.named_parameters():
        assert (p.grad is not None and bool(p.grad.abs().sum() > 0)) == p.requires_grad, name
    assert sum(not p.requires_grad for p in policy.parameters()) == 7
    policy.zero_grad()


def test_it_learns_and_the_text_chooses_between_two_behaviours(tmp_path: Path) -> None:
    """Half of the data acts with the opposite sign and is marked negative: the words must tell them apart."""
    store = EpisodeStore.create(tmp_path / "s", SPEC)
    good = [made_episode(i) for i in range(4)]
    store.append(good + [dataclasses.replace(e, actions=-e.actions) for e in good])
    marks = [np.full(20, POSITIVE if i < 4 else NEGATIVE) for i in range(8)]
    labels = Labels.from_arrays(store, "test", weight=[np.ones(20)] * 8, indicator=marks)
    policy = Pi05Policy(config(150, indicator_dropout=0.2), SPEC, seed=1).fit(store, labels, seed=1)
    assert policy.indicator == POSITIVE
    truth = made_episode(7).actions[10]
    error = {}
    for token in (POSITIVE, NEGATIVE, NULL):
        policy.indicator = token
        error[token] = np.abs(act(policy, list(range(20)), [10] * 20)[:, 0] - truth).mean()
    assert error[POSITIVE] < 0.12 and error[NEGATIVE] > 0.2 and error[POSITIVE] < error[NULL] < error[NEGATIVE], error
    policy.indicator = POSITIVE
    for t in (2, 18):  # the picture and the state are read too: the first action goes from -0.4 to 0.4
        first = act(policy, list(range(10)), [t] * 10)[:, 0, 0].mean()
        assert abs(first - made_episode(7).actions[t, 0]) < 0.2

    policy.save(tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert loaded.indicator == POSITIVE and isinstance(loaded, Pi05Policy)
    assert json.dumps(dataclasses.asdict(loaded.config)) == json.dumps(dataclasses.asdict(policy.config))
    np.testing.assert_array_equal(act(loaded, [3], [5]), act(policy, [3], [5]))
    policy.guidance = 3.0
    guided = act(policy, [3], [5])
    assert not np.allclose(guided, act(loaded, [3], [5]))
    policy.indicator = NULL  # without an indicator there is nothing to be guided by
    one = act(policy, [3], [5])
    policy.guidance = 1.0
    np.testing.assert_array_equal(one, act(policy, [3], [5]))


def test_a_little_training_beats_none_and_bc_never_says_advantage(tmp_path: Path) -> None:
    store = made_store(tmp_path / "s", successes=3, failures=0)
    labels = bc(store, [], ExtractionConfig())
    error = {}
    for steps in (1, 60):
        policy = make_policy(config(steps, image_shift=1), SPEC, seed=2)
        policy.fit(store, labels, seed=2)
        assert policy.indicator == NULL
        found = np.stack([act(policy, list(range(8)), [t] * 8)[:, 0] for t in (2, 10, 18)])
        truth = np.stack([made_episode(7).actions[t] for t in (2, 10, 18)])[:, None]
        error[steps] = float(np.abs(found - truth).mean())
    assert error[60] < 0.6 * error[1], error


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, policy: Pi05Policy) -> None:
    store = made_store(tmp_path / "s", successes=1, failures=0)
    with pytest.raises(ValueError, match="hz"):
        Pi05Policy(config(), dataclasses.replace(SPEC, hz=5.0)).fit(store, bc(store, [], ExtractionConfig()))
    with pytest.raises(ValueError, match="execute=5"):
        Pi05Policy(config(execute=5), SPEC)
    with pytest.raises(ValueError, match="max_action_dim=2"):
        Pi05Policy(config(max_action_dim=1), SPEC)
    folder = tmp_path / "policy"
    policy.save(folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors: .*delete it and train again"):
        load_policy(folder)
    (folder / "model.safetensors").write_bytes(whole)
    raw = json.loads((folder / "config.json").read_text())
    save_module(folder, policy.model, raw | {"kind": "flow"})
    with pytest.raises(ValueError, match="is not pi05"):
        Pi05Policy.load(folder)
    raw["config"]["expert"]["mlp"] = 65
    save_module(folder, policy.model, raw)
    with pytest.raises(ValueError, match=r"gemma_expert.layers.0.mlp.down_proj.weight is torch.float32 \(32, 64\)"):
        load_policy(folder)


# One layer of each kind, written from the published names; shapes are those of PREFIX with one layer and an expert of
# width 32 and mlp 64.
PUBLISHED = """
P.vision_tower.vision_model.embeddings.patch_embedding.weight 32 3 16 16
P.vision_tower.vision_model.embeddings.patch_embedding.bias 32
P.vision_tower.vision_model.embeddings.position_embedding.weight 4 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm1.bias 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm1.weight 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm2.bias 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm2.weight 32
P.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias 64
P.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight 64 32
P.vision_tower.vision_model.encoder.layers.0.mlp.fc2.bias 32
P.vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight 32 64
P.vision_tower.vision_model.encoder.layers.0.self_attn.k_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.k_proj.weight 32 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight 32 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight 32 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.v_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.v_proj.weight 32 32
P.vision_tower.vision_model.post_layernorm.bias 32
P.vision_tower.vision_model.post_layernorm.weight 32
P.multi_modal_projector.linear.bias 48
P.multi_modal_projector.linear.weight 48 32
P.language_model.layers.0.input_layernorm.weight 48
P.language_model.layers.0.mlp.down_proj.weight 48 96
P.language_model.layers.0.mlp.gate_proj.weight 96 48
P.language_model.layers.0.mlp.up_proj.weight 96 48
P.language_model.layers.0.post_attention_layernorm.weight 48
P.language_model.layers.0.self_attn.k_proj.weight 24 48
P.language_model.layers.0.self_attn.o_proj.weight 48 48
P.language_model.layers.0.self_attn.q_proj.weight 48 48
P.language_model.layers.0.self_attn.v_proj.weight 24 48
P.language_model.norm.weight 48
paligemma_with_expert.paligemma.lm_head.weight 384 48
paligemma_with_expert.gemma_expert.lm_head.weight 384 32
E.layers.0.input_layernorm.dense.bias 96
E.layers.0.input_layernorm.dense.weight 96 32
E.layers.0.mlp.down_proj.weight 32 64
E.layers.0.mlp.gate_proj.weight 64 32
E.layers.0.mlp.up_proj.weight 64 32
E.layers.0.post_attention_layernorm.dense.bias 96
E.layers.0.post_attention_layernorm.dense.weight 96 32
E.layers.0.self_attn.k_proj.weight 24 32
E.layers.0.self_attn.o_proj.weight 32 48
E.layers.0.self_attn.q_proj.weight 48 32
E.layers.0.self_attn.v_proj.weight 24 32
E.norm.dense.bias 96
E.norm.dense.weight 96 32
action_in_proj.bias 32
action_in_proj.weight 32 3
action_out_proj.bias 3
action_out_proj.weight 3 32
time_mlp_in.bias 32
time_mlp_in.weight 32 32
time_mlp_out.bias 32
time_mlp_out.weight 32 32
"""


def published(beginning: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for line in PUBLISHED.split("\n")[1:-1]:
        key, *shape = line.split()
        for short, part in (("P.", "paligemma"), ("E.", "gemma_expert")):
            if key.startswith(short):
                key = f"paligemma_with_expert.{part}.model.{key.removeprefix(short)}"
        tensors[beginning + key] = torch.randn([int(n) for n in shape], generator=generator)
    return tensors


def test_published_weights_find_their_places(tmp_path: Path) -> None:
    shape = dataclasses.replace(PREFIX, layers=1)
    settings = config(prefix=shape, checkpoint=str(tmp_path))
    for beginning in ("", "model."):  # openpi's file and LeRobot's
        tensors = published(beginning)
        save_file(tensors, tmp_path / "model.safetensors")
        model = make_policy(settings, SPEC).model
        assert isinstance(model, Pi05Model)
        lm, expert = model.paligemma.language_model, model.gemma_expert
        vlm = f"{beginning}paligemma_with_expert.paligemma."
        for found, key in (
            (lm.embed_tokens.weight, f"{vlm}lm_head.weight"),
            (lm.layers[0].mlp.up_proj.weight, f"{vlm}model.language_model.layers.0.mlp.up_proj.weight"),
            (model.paligemma.vision_tower.encoder.layers[0].mlp.fc1.bias,
             f"{vlm}model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"),
            (expert.layers[0].post_attention_layernorm.dense.weight,
             f"{beginning}paligemma_with_expert.gemma_expert.model.layers.0.post_attention_layernorm.dense.weight"),
            (model.time_mlp_out.weight, f"{beginning}time_mlp_out.weight"),
        ):  # fmt: skip
            assert torch.equal(found, tensors[key]), key
        unused = tensors[f"{beginning}paligemma_with_expert.gemma_expert.lm_head.weight"]
        assert sum(p.numel() for p in model.parameters()) == sum(t.numel() for t in tensors.values()) - unused.numel()
    loaded, built = make_policy(settings, SPEC), Pi05Policy(dataclasses.replace(settings, checkpoint=""), SPEC)
    built.model.load_state_dict(loaded.model.state_dict())
    np.testing.assert_array_equal(act(loaded, [1], [3]), act(built, [1], [3]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("time_mlp_in.bias"), r"1 missing \(time_mlp_in.bias\)"),
        (lambda t: t.update({"state_proj.weight": torch.zeros(2)}), r"1 unknown \(state_proj.weight\)"),
        (lambda t: t.update({"action_in_proj.weight": torch.zeros(32, 32)}), r"action_in_proj.weight is \(32, 32\)"),
    ],
)
def test_weights_of_something_else_are_refused(change, named: str, tmp_path: Path) -> None:
    tensors = published()
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=named):
        make_policy(config(prefix=dataclasses.replace(PREFIX, layers=1), checkpoint=str(tmp_path)), SPEC)


def test_too_little_memory_is_said_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(published(), tmp_path / "model.safetensors")
    monkeypatch.setattr("networks.memory.free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"pi05 weights .* needs 0\.0 GiB on cpu, 0\.0 GiB are free"):
        make_policy(config(checkpoint=str(tmp_path)), SPEC)


def test_an_unreadable_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    for checkpoint in (str(tmp_path), str(tmp_path / "none"), "nobody/nothing"):  # the hub is off in tests
        with pytest.raises(ValueError, match=f"pi05 weights.*{Path(checkpoint).name}"):
            make_policy(config(checkpoint=checkpoint), SPEC)


@pytest.mark.slow
def test_the_loop_runs_with_it(tmp_path: Path) -> None:
    from test_recap_sim import command

    done = command(
        tmp_path, "policy=pi05_tiny", "methods=[recap]", "iterations=1", "collect.episodes=4",
        "policy.training.steps=6", "policy.training.log_every=3", "policy.training.batch_size=8", "videos=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (tmp_path / "runs" / "recap_sim").iterdir()
    (row,) = json.loads((run / "summary.json").read_text())["rows"]
    assert row["method"] == "recap" and row["n"] == 2
    policy = load_policy(run / "arms" / "recap" / "policy-0")
    assert isinstance(policy, Pi05Policy) and policy.indicator == POSITIVE and policy.spec.action_dim == 7
