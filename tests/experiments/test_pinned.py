"""What a run records of published checkpoints, and addresses that outlive new settings."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from experiments.loop import pinned
from experiments.loop.addresses import LATER, digest
from experiments.loop.pinned import pin
from experiments.studies.engine import first_difference
from networks.hub import Found
from networks.settings import ScaleConfig
from tests.helpers.composing import composed
from valuefns.settings import OracleConfig, ViVaConfig, WVMConfig

OLD, NEW = "a" * 40, "b" * 40


def test_every_revision_becomes_its_commit_and_a_continued_run_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def located(source: str, revision: str, what: str) -> Found:
        asked.append((what, revision))
        return Found(source, Path("."), revision if len(revision) == 40 else NEW)

    monkeypatch.setattr(pinned, "locate", located)
    settings = composed("preset=paper", "policy=pi05")
    done, facts = pin(settings)
    places = {"valuefn.wan.checkpoint", "valuefn.text.checkpoint", "latents.vae.checkpoint"}
    assert set(facts) == places | {"policy.checkpoint", "policy.tokenizer"}
    assert facts["valuefn.wan.checkpoint"] == {"source": "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "commit": NEW}
    assert (done.valuefn.wan.revision, done.latents.vae.revision, done.policy.tokenizer_revision) == (NEW,) * 3
    assert settings.valuefn.wan.revision == "main"
    known = {"valuefn.wan.checkpoint": {"source": settings.valuefn.wan.checkpoint, "commit": OLD}}
    kept, _ = pin(settings, known)
    assert (kept.valuefn.wan.revision, kept.valuefn.text.revision) == (OLD, NEW)
    asked.clear()
    tiny = composed("latents=wan_vae", "valuefn=constant")  # reads no latents, so their VAE is nobody's business
    assert pin(tiny) == (tiny, {}) and not asked
    for preset in ("tiny", "small"):  # patch_pca stands in for the VAE, whatever checkpoint that one's settings name
        settings = composed(f"preset={preset}")
        assert pin(settings) == (settings, {}) and not asked


def test_settings_that_came_later_leave_old_addresses_valid() -> None:
    training = composed().valuefn.training
    old = {k: v for k, v in asdict(training).items() if k != "scale"}
    nested = [digest({"valuefn": {"training": some}}) for some in (training, old, asdict(training))]
    assert len(set(nested)) == 1
    changed = replace(training, scale=ScaleConfig(lora_rank=8))
    assert digest(changed) != digest(training)
    assert LATER["TrainerConfig"]["scale"] == asdict(ScaleConfig())
    assert LATER["ViVaConfig"]["proprio_swap"] == ViVaConfig().proprio_swap


def test_a_setting_of_the_same_name_elsewhere_is_part_of_the_address() -> None:
    """A value of somebody else's may have `pixels`, `gripper` or `format`; its address depends on them."""
    for name, before in (("pixels", False), ("gripper", ""), ("weighting", "loss"), ("format", 1)):
        assert digest({"valuefn": {"name": "theirs", name: before}}) != digest({"valuefn": {"name": "theirs"}})
    assert digest({"task": {"gripper": ""}}) == digest({"task": {}}) != digest({"task": {"gripper": "change"}})


def test_a_values_format_is_part_of_the_address_of_what_it_made() -> None:
    """Nothing trained by older code is taken for what the same settings make now; values without a format stay."""
    for config in (ViVaConfig(), WVMConfig(), OracleConfig()):
        old = {k: v for k, v in asdict(config).items() if k != "format"}
        assert digest(1, config) != digest(1, old)
        assert first_difference({"valuefn": old}, {"valuefn": asdict(config)}) == "valuefn.format=1, now 2"
        assert first_difference({"valuefn": asdict(config)}, {"valuefn": asdict(config)}) == ""
    assert first_difference({"task": {"hz": 10}}, {"task": {"hz": 10, "gripper": ""}}) == ""
