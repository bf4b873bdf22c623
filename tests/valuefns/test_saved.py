"""A saved value as an ingredient: applied as it is, said what it was trained on, and where trainings start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.extraction import bc
from agents.flow import FlowPolicy
from agents.make import load_policy, make_policy
from agents.policy import Policy
from agents.settings import FlowConfig
from experiments.loop.pinned import pin
from networks.hub import find_model, model_content
from networks.latents import LatentEncoder
from tests.helpers import tiny
from tests.helpers.commands import foresight
from tests.helpers.made_lift import SPEC, made_episode, made_store
from valuefns.crossfit import cross_fit
from valuefns.distributional import Distributional
from valuefns.make import load_value, make_value
from valuefns.saved import SavedValue
from valuefns.settings import ConstantConfig, SavedConfig
from valuefns.trained_on import said_of, seen_episodes
from valuefns.viva import ViVa
from valuefns.wvm import WVM


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and one value of every kind and a policy trained on it."""
    place = tmp_path_factory.mktemp("saved")
    store = made_store(place / "store", successes=3, failures=1)
    for config in (tiny.viva(2), tiny.wvm(2), tiny.distributional(2)):
        make_value(config, tiny.PCA).fit(store).save(place / config.name)
    policy = FlowPolicy(FlowConfig(width=16, training=tiny.training(2)), SPEC)
    policy.fit(store, bc(store, [], None)).save(place / "flow")  # type: ignore[arg-type]
    return place


def opened(place: Path) -> Any:
    from episodes.store import EpisodeStore

    return EpisodeStore.open(place / "store")


@pytest.mark.parametrize("kind", ["viva", "wvm", "distributional"])
def test_it_scores_as_the_value_it_was_and_no_fold_is_fitted(place: Path, tmp_path: Path, kind: str) -> None:
    store, local = opened(place), load_value(place / kind)
    config = SavedConfig(folder=str(place / kind))
    values = cross_fit(config, tiny.PCA, store, folds=2, folder=tmp_path / "v")
    for episode, scored in zip(store, values, strict=True):
        np.testing.assert_array_equal(scored, local.score(episode))
    assert not list(tmp_path.rglob("model.safetensors"))
    value = make_value(config, tiny.PCA)
    assert (value.name, value.scale, value.history, value.fps) == (local.name, local.scale, local.history, local.fps)
    assert value.networks().keys() == local.networks().keys()


def test_it_says_what_it_was_trained_on(place: Path, tmp_path: Path) -> None:
    store, value = opened(place), load_value(place / "viva")
    assert seen_episodes(value.trained_on, store) == [0, 1, 2, 3]  # type: ignore[attr-defined]
    other = made_store(tmp_path / "other", successes=5, failures=0)  # three of them are the same episodes
    assert seen_episodes(value.trained_on, other) == [0, 1, 2]  # type: ignore[attr-defined]
    assert "trained on 4 episodes, 3 of these 5 are among them" in said_of(place / "viva", other)
    value.trained_on = None  # type: ignore[attr-defined]  as one that was saved before this was kept
    value.save(tmp_path / "old")
    assert "is not known" in said_of(tmp_path / "old", other)


def test_other_data_is_refused_before_anything_is_scored(place: Path, tmp_path: Path) -> None:
    from episodes.store import EpisodeStore

    small = EpisodeStore.open(made_store(tmp_path / "s", 1, 0).path, image_size=(64, 64))
    with pytest.raises(ValueError, match="pictures are 64x64, it was made for 32x32"):
        make_value(SavedConfig(folder=str(place / "viva")), tiny.PCA).fit(small)


def test_a_folder_is_pinned_to_what_it_holds(place: Path, tmp_path: Path) -> None:
    folder = str(place / "viva")
    pinned, facts = pin({"valuefn": SavedConfig(folder=folder)})
    content = model_content(place / "viva")
    assert pinned["valuefn"].folder == f"{folder}@{content}" and facts["valuefn.folder"]["content"] == content
    assert pin(pinned)[0] == pinned  # pinned once more it stays
    other = {"valuefn.folder": facts["valuefn.folder"] | {"content": "0" * 64}}
    with pytest.raises(ValueError, match="it was changed since then"):
        pin({"valuefn": SavedConfig(folder=folder)}, other)
    with pytest.raises(ValueError, match="leave out @main"):
        find_model(f"{folder}@main")


def test_a_repository_of_the_hub_is_asked_for_at_a_revision(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    commit, asked = "a" * 40, []

    def snapshot(repo: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repo, revision, tuple(allow_patterns)))
        target = tmp_path / commit
        if not target.exists():
            shutil.copytree(place / "viva", target)
        return str(target)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert isinstance(ViVa.from_pretrained("somebody/lift", revision="v1"), ViVa)
    assert asked == [("somebody/lift", "v1", ("*config.json", "*model.safetensors"))]
    pinned, facts = pin({"valuefn": SavedConfig(folder="somebody/lift")})
    assert pinned["valuefn"].folder == f"somebody/lift@{commit}"
    assert facts["valuefn.folder"] == {"source": "somebody/lift", "commit": commit}


def test_from_pretrained_and_save_pretrained(place: Path, tmp_path: Path) -> None:
    episode = made_episode(7)
    for kind, cls in (("viva", ViVa), ("wvm", WVM), ("distributional", Distributional)):
        value = cls.from_pretrained(place / kind)
        again = load_value(value.save_pretrained(tmp_path / kind))
        assert (tmp_path / kind / "README.md").is_file()
        np.testing.assert_array_equal(again.score(episode), value.score(episode))
    policy = FlowPolicy.from_pretrained(place / "flow")
    again_policy = load_policy(policy.save_pretrained(tmp_path / "flow"))
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, again_policy.state_dict()[name])
    with pytest.raises(ValueError, match="'viva' is not wvm"):
        WVM.from_pretrained(place / "viva")
    with pytest.raises(ValueError, match="Policy is no kind of its own; load_value or load_policy"):
        Policy.from_pretrained(place / "flow")
    assert isinstance(load_value(str(place / "viva")), ViVa)
    with pytest.raises(ValueError, match="no weights of its own"):
        SavedValue.from_pretrained(place / "viva")


def test_push_to_hub_uploads_the_model_and_its_card_alone(place: Path) -> None:
    sent: dict[str, Any] = {}

    class Api:
        def create_repo(self, repo: str, private: bool, exist_ok: bool) -> None:
            sent.update(repo=repo, private=private)

        def upload_folder(self, repo_id: str, folder_path: str, **_: Any) -> Any:
            sent["files"] = sorted(p.name for p in Path(folder_path).rglob("*") if p.is_file())
            return type("Done", (), {"commit_url": "https://hub/commit/1"})

    assert load_value(place / "viva").push_to_hub("somebody/lift", api=Api()) == "https://hub/commit/1"
    assert sent["repo"] == "somebody/lift" and sent["private"]
    assert sent["files"] == ["README.md", "config.json", "config.json", "model.safetensors", "model.safetensors"]


@pytest.mark.parametrize("kind", ["viva", "wvm", "distributional"])
def test_training_starts_from_saved_weights_and_latents(place: Path, tmp_path: Path, kind: str) -> None:
    make = {"viva": tiny.viva, "wvm": tiny.wvm, "distributional": tiny.distributional}[kind]
    store = made_store(tmp_path / "store", successes=2, failures=2)
    config = make(1, training=tiny.training(1, lr=1e-12), init=str(place / kind))
    value = make_value(config, tiny.PCA).fit(store)
    before = load_value(place / kind)
    for name, network in before.networks().items():  # the encoder of the latents, too
        for key, tensor in network.state_dict().items():
            np.testing.assert_allclose(value.networks()[name].state_dict()[key], tensor, atol=1e-6, err_msg=key)
    value.save(tmp_path / "again")
    names = {*before.trained_on, *store_names(store)}  # type: ignore[attr-defined]
    again = load_value(tmp_path / "again")
    assert set(again.trained_on) == names  # type: ignore[attr-defined]
    assert not again.config.init  # type: ignore[attr-defined]


def store_names(store: Any) -> tuple[str, ...]:
    from valuefns.trained_on import names_of

    return names_of(store)


def test_another_model_is_refused_with_the_first_setting_that_differs(place: Path, tmp_path: Path) -> None:
    store = opened(place)
    with pytest.raises(ValueError, match=r"made with horizon=5, asked for is horizon=7; set horizon=5"):
        make_value(tiny.viva(1, horizon=7, init=str(place / "viva")), tiny.PCA)
    with pytest.raises(ValueError, match=r"wan.num_layers=2, asked for is wan.num_layers=3"):
        make_value(tiny.viva(1, wan=replace(tiny.WAN, num_layers=3), init=str(place / "viva")), tiny.PCA)
    with pytest.raises(ValueError, match="'viva' is not wvm"):
        make_value(tiny.wvm(1, init=str(place / "viva")), tiny.PCA)
    with pytest.raises(ValueError, match="it reads latents=patch_pca, asked for is wan_vae"):
        make_value(tiny.viva(1, init=str(place / "viva")), tiny.vae())
    with pytest.raises(ValueError, match=r"made with width=16, asked for is width=32"):
        make_policy(FlowConfig(width=32, init=str(place / "flow")), SPEC)
    with pytest.raises(ValueError, match=r"init .*no such folder"):
        make_policy(FlowConfig(init=str(tmp_path / "none")), SPEC)
    two = replace(SPEC, cameras=("wrist",))
    with pytest.raises(ValueError, match="cameras"):
        make_policy(FlowConfig(width=16, init=str(place / "flow")), two)
    assert len(store)


def test_a_policy_and_a_vae_start_from_saved_ones(place: Path, tmp_path: Path) -> None:
    config = FlowConfig(width=16, training=tiny.training(1), init=str(place / "flow"))
    policy, saved = make_policy(config, SPEC), FlowPolicy.load(place / "flow")
    assert policy.started and all(torch.equal(v, saved.state_dict()[k]) for k, v in policy.state_dict().items())
    images = opened(place)[0].images["front"][:, None]
    LatentEncoder(tiny.vae()).fit(images).save(tmp_path / "vae")
    small = replace(tiny.vae(), init=str(tmp_path / "vae"), training=tiny.training(1, batch_size=4, lr=1e-12))
    first, second = LatentEncoder(replace(small, init="")).fit(images), LatentEncoder(small).fit(images)
    saved_vae = LatentEncoder(replace(tiny.vae(), checkpoint=str(tmp_path / "vae")))
    key = "vae.encoder.conv_in.weight"
    np.testing.assert_allclose(second.state_dict()[key], saved_vae.state_dict()[key], atol=1e-6)
    assert not np.allclose(first.state_dict()[key], saved_vae.state_dict()[key], atol=1e-6)
    with pytest.raises(ValueError, match=r"latents.init: patch_pca is computed"):
        LatentEncoder(replace(tiny.PCA, init=str(tmp_path / "vae"))).fit(images)


def test_what_was_made_before_these_settings_is_still_found() -> None:
    from dataclasses import asdict

    from experiments.loop.addresses import _first, digest

    for config in (tiny.viva(), tiny.distributional(), FlowConfig(), tiny.PCA):
        assert "'init':" not in str(_first(config, "")), config
    assert "'init':" not in str(_first({"latents": asdict(tiny.PCA)}, ""))
    assert digest(tiny.viva()) != digest(replace(tiny.viva(), init="x"))


def test_a_value_by_its_place_is_spelled_out(place: Path) -> None:
    from experiments.cli.values import value_words

    folder = str(place / "viva")
    assert value_words([f"valuefn={folder}"]) == ["valuefn=saved", f"valuefn.folder='{folder}'"]
    assert value_words(["+valuefn@values.mine=owner/name@v1"]) == [
        "+valuefn@values.mine=saved", "values.mine.folder='owner/name@v1'",
    ]  # fmt: skip
    assert value_words(["valuefn=viva_tiny", "valuefn=a.b:C", "seed=1"]) == [
        "valuefn=viva_tiny",
        "valuefn=a.b:C",
        "seed=1",
    ]
    assert ConstantConfig().name == "constant"


def test_commands_read_a_saved_value_and_refuse_what_it_has_seen(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from episodes.store import EpisodeStore

    with pytest.raises(SystemExit, match="was trained on 4 of its 4 episodes"):
        foresight("rank", f"stores=[{place / 'store'}]", f"valuefn={place / 'viva'}", f"runs={tmp_path / 'r'}")
    with EpisodeStore.create(tmp_path / "new", SPEC) as store:
        store.append(made_episode(50 + i, 18, True) for i in range(3))
    foresight("rank", f"stores=[{tmp_path / 'new'}]", f"valuefn={place / 'viva'}", f"runs={tmp_path / 'r'}")
    assert "| store | VOC |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"train: value 'viva', init=.*horizon=5, asked for is horizon=\d+"):
        foresight("train", tmp_path / "new", f"out={tmp_path / 'o'}", "preset=tiny", f"init={place / 'viva'}")
    foresight("train", tmp_path / "new", f"out={tmp_path / 'pca'}", "preset=tiny", "part=latents")
    assert (tmp_path / "pca" / "model.safetensors").is_file()
