"""The flow policy: learns a readable task, follows its indicator, and does not depend on who acts beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.extraction import bc
from agents.flow import FlowPolicy
from agents.make import continued_policy, load_policy
from agents.settings import ExtractionConfig, FlowConfig, Pi05Config
from episodes.labels import NEGATIVE, NULL, POSITIVE, Labels
from episodes.store import EpisodeStore
from tests.helpers import tiny
from tests.helpers.made_lift import SPEC, made_episode, made_store


def config(steps: int, **changes: object) -> FlowConfig:
    return FlowConfig(**{"width": 64, "chunk": 4, "execute": 2, "training": tiny.training(steps)} | changes)  # type: ignore[arg-type]


def act(policy: FlowPolicy, seeds: list[int], frames: list[int | None]) -> np.ndarray:
    episode = made_episode(7)
    policy.reset(np.ones(len(seeds), bool), np.array(seeds), ["raise it"] * len(seeds))
    return policy.act([None if t is None else episode.observation(t) for t in frames])


def test_noise_belongs_to_the_episode_not_to_the_batch() -> None:
    policy = FlowPolicy(config(1), SPEC).eval()
    together = act(policy, [1, 2, 3], [4, 5, None])
    alone = act(policy, [2], [5])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)
    assert (together[2] == 0).all()
    assert not np.allclose(act(policy, [9], [5]), alone)
    np.testing.assert_array_equal(act(policy, [2], [5]), alone)


@pytest.mark.slow
def test_it_learns_and_the_indicator_chooses_between_two_behaviours(tmp_path: Path) -> None:
    """Half of the data acts with the opposite sign and is marked negative: the token must tell them apart."""
    import dataclasses

    store = EpisodeStore.create(tmp_path / "s", SPEC)
    good = [made_episode(i) for i in range(4)]
    store.append(good + [dataclasses.replace(e, actions=-e.actions) for e in good])
    marks = [np.full(20, POSITIVE if i < 4 else NEGATIVE) for i in range(8)]
    labels = Labels.from_arrays(store, "test", weight=[np.ones(20)] * 8, indicator=marks)
    policy = FlowPolicy(config(400, indicator_dropout=0.2), SPEC, seed=1).fit(store, labels, seed=1)
    truth = made_episode(7).actions[10]
    errors = {}
    for token in (POSITIVE, NEGATIVE, NULL):
        policy.indicator = token
        chunk = np.concatenate([act(policy, [s], [10]) for s in range(20)])
        errors[token] = np.abs(chunk[:, 0] - truth).mean()
    assert errors[POSITIVE] < 0.12 and errors[NEGATIVE] > 0.2 and errors[POSITIVE] < errors[NULL] < errors[NEGATIVE]
    policy.save(tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    loaded.indicator = NULL
    np.testing.assert_array_equal(act(loaded, [3], [5]), act(policy, [3], [5]))
    policy.indicator, policy.guidance = POSITIVE, 3.0
    assert not np.allclose(act(policy, [3], [5]), act(loaded, [3], [5]))


def test_a_store_of_another_robot_is_refused(tmp_path: Path) -> None:
    import dataclasses

    store = made_store(tmp_path / "s")
    policy = FlowPolicy(config(1), dataclasses.replace(SPEC, hz=5.0))
    with pytest.raises(ValueError, match="hz"):
        policy.fit(store, bc(store, [], ExtractionConfig()))


def test_loss_is_per_sample_and_padding_does_not_count() -> None:
    policy = FlowPolicy(config(1), SPEC)
    batch = {
        "images": torch.randint(0, 255, (3, 2, 32, 32, 3), dtype=torch.uint8),
        "proprio": torch.randn(3, 11),
        "actions": torch.zeros(3, 4, 2),
        "valid": torch.tensor([[1, 0, 0, 0]] * 3, dtype=torch.bool),
    }
    torch.manual_seed(0)
    a = policy.loss(batch, torch.ones(3, dtype=torch.long))
    batch["valid"] = torch.ones(3, 4, dtype=torch.bool)
    torch.manual_seed(0)
    b = policy.loss(batch, torch.ones(3, dtype=torch.long))
    assert a.shape == (3,) and not torch.allclose(a, b)


def test_a_policy_never_acts_with_a_token_it_was_not_shown(tmp_path: Path) -> None:
    """An untrained token is a random direction in feature space: acting with it ruins a good policy."""
    store = made_store(tmp_path / "s", successes=2, failures=1)
    policy = FlowPolicy(config(2), SPEC).fit(store, bc(store, [], ExtractionConfig()))
    assert policy.indicator == NULL
    policy.save(tmp_path / "policy")
    assert load_policy(tmp_path / "policy").indicator == NULL
    marks = Labels.from_arrays(
        store,
        "test",
        weight=[np.ones(r["length"]) for r in store.index],
        indicator=[np.zeros(r["length"]) for r in store.index],
    )
    assert FlowPolicy(config(2), SPEC).fit(store, marks).indicator == POSITIVE


def test_training_goes_on_from_saved_weights_and_their_scales(tmp_path: Path) -> None:
    store, other = made_store(tmp_path / "s"), made_store(tmp_path / "t", successes=1, failures=3)
    labels = [bc(s, [], ExtractionConfig()) for s in (store, other)]
    FlowPolicy(config(3), SPEC, seed=1).fit(store, labels[0]).save(tmp_path / "first")
    saved = load_policy(tmp_path / "first").state_dict()
    with pytest.raises(ValueError, match=r"first: it was made with width=64, asked for is width=999; set width=64"):
        continued_policy(tmp_path / "first", config(0, width=999), SPEC)
    policy = continued_policy(tmp_path / "first", config(0, guidance=1.5), SPEC)
    policy.fit(other, labels[1])
    assert policy.guidance == policy.config.guidance == 1.5
    for name, tensor in policy.state_dict().items():
        torch.testing.assert_close(tensor, saved[name], msg=name)  # no step taken, and the scales of its own data
    policy = continued_policy(tmp_path / "first", config(2), SPEC).fit(other, labels[1])
    assert any(not torch.equal(tensor, saved[name]) for name, tensor in policy.state_dict().items())
    marks = Labels.from_arrays(
        other, "test", weight=[np.ones(r["length"]) for r in other.index],
        indicator=[np.ones(r["length"]) for r in other.index],
    )  # fmt: skip
    null = saved["model.indicator.weight"][NULL]
    begun = continued_policy(tmp_path / "first", config(0), SPEC).fit(other, marks)
    torch.testing.assert_close(begun.model.indicator.weight, null.expand(3, -1), msg="never shown: as without a token")
    marked = continued_policy(tmp_path / "first", config(3), SPEC).fit(other, marks)
    marked.save(tmp_path / "marked")
    again = continued_policy(tmp_path / "marked", config(0), SPEC).fit(other, marks)
    torch.testing.assert_close(again.model.indicator.weight, marked.model.indicator.weight, msg="shown: kept")
    with pytest.raises(ValueError, match=r"is flow, policy=pi05; start from one of the same kind"):
        continued_policy(tmp_path / "first", Pi05Config(), SPEC)
    with pytest.raises(ValueError, match="first"):
        continued_policy(tmp_path / "first", config(2), replace(SPEC, hz=20.0))


def test_labels_of_other_episodes_are_refused(tmp_path: Path) -> None:
    store, other = made_store(tmp_path / "s"), made_store(tmp_path / "t", successes=3)
    with pytest.raises(ValueError, match=r"labels bc: made for episodes .*; label this store"):
        FlowPolicy(config(1), SPEC).fit(store, bc(other, [], ExtractionConfig()))
