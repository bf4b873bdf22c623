"""The pi0.5-style policy: the published size, exact caching and masks, text it follows, learning, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.extraction import bc
from agents.make import load_policy, make_policy
from agents.pi05 import Pi05Policy, quantile_range
from agents.pi05_expert import PrefixKeys
from agents.pi05_model import Pi05Model, resize_with_pad
from agents.pi05_text import bin_centres, prompt, prompt_tokens, state_bins
from agents.settings import ExtractionConfig, Pi05Config
from episodes.labels import NEGATIVE, NULL, POSITIVE, Labels
from episodes.store import EpisodeStore
from networks.checkpoint import save_module
from networks.prompts import PromptTokenizer
from tests.helpers.made_lift import SPEC, made_episode, made_store
from tests.helpers.small_pi05 import PREFIX, act, config, inputs, lively


@pytest.fixture(scope="module")
def policy() -> Pi05Policy:
    return lively(Pi05Policy(config(), SPEC))


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = Pi05Model(Pi05Config(), 11, 7)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["paligemma"] == 2_923_335_408  # the word embedding once, no language head
    assert sum(count.values()) == 3_353_433_872


def test_the_settings_are_the_published_ones_and_tiny_is_the_same_class() -> None:
    from tests.helpers.composing import composed

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


@pytest.mark.slow
def test_the_loop_runs_with_it(tmp_path: Path) -> None:
    from tests.helpers.recap_command import command

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
