"""Configuration: every preset composes without building a model; a bad key or value is named."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException

from experiments.loop.schemas import CONF
from tests import ROOT
from tests.helpers.composing import composed
from valuefns.registry import reads_latents


@pytest.mark.parametrize("preset", [p.stem for p in sorted(Path(CONF, "preset").glob("*.yaml"))])
def test_every_preset_composes(preset: str) -> None:
    settings = composed(f"preset={preset}")
    assert settings.preset == preset and settings.valuefn.name == "viva"


@pytest.mark.parametrize("task", [p.stem for p in sorted(Path(CONF, "task").glob("*.yaml")) if p.stem != "own"])
def test_every_task_composes_with_its_own_time_limits(task: str) -> None:
    settings = composed(f"task={task}", "task.image_size=48", "preset=small")
    assert settings.task.env_id.startswith("foresight/")
    assert (settings.task.image_size, settings.preset) == (48, "small")
    assert 0 < settings.evaluation.max_steps < settings.collect.max_steps
    assert composed(f"task={task}", "collect.max_steps=77").collect.max_steps == 77


def test_every_simpler_task_composes_with_its_own_camera_and_rate() -> None:
    from envs import SIMPLER_TASKS
    from envs.simpler.env import CAMERA

    assert {p.stem for p in Path(CONF, "task", "simpler").glob("*.yaml")} == set(SIMPLER_TASKS)
    for name, simpler in SIMPLER_TASKS.items():
        task = composed(f"task=simpler/{name}").task
        assert (task.env_id, task.hz, task.cameras) == (simpler.env_id, simpler.hz, [CAMERA[simpler.robot]])


@pytest.mark.parametrize("valuefn", [p.stem for p in sorted(Path(CONF, "valuefn").glob("*.yaml"))])
def test_every_value_composes_and_says_whether_it_reads_latents(valuefn: str) -> None:
    settings = composed(f"valuefn={valuefn}")
    assert valuefn.startswith(settings.valuefn.name)
    assert reads_latents(settings.valuefn) == (settings.valuefn.name in ("viva", "wvm"))


def test_wvms_defaults_are_the_papers() -> None:
    v = composed("preset=paper", "valuefn=wvm").valuefn
    assert (v.chunk, v.fps, v.lambda_video, v.prefix_random, v.head, v.bins) == (4, 2.0, 1.0, 0.5, "flow", 51)
    assert (v.rewind, v.rewind_plateau, v.inference_steps, v.fastest, v.slower) == (0.5, 0.1, 1, 1.0, 0.0)
    assert (v.value_dim, v.value_heads, v.value_ffn_dim) == (512, 8, 14336) and v.wan.checkpoint
    t = v.training
    assert (t.steps, t.batch_size, t.lr, t.lr_final, t.warmup) == (30_000, 1024, 1e-4, 0.1, 500)
    assert list(t.betas) == [0.9, 0.95]


def test_paper_defaults_are_the_papers() -> None:
    paper = composed("preset=paper")
    v = paper.valuefn
    assert (v.horizon, v.lambda_prop, v.lambda_value, v.inference_steps, v.tau_shift) == (50, 1.0, 0.5, 1, 1.0)
    assert v.training.batch_size == 192 and paper.folds == 1 and v.wan.checkpoint
    e = paper.labeller
    assert (e.advantage.n, e.awr_temperature, e.awr_clip, e.keep, e.positive) == (50, 10.0, 2.0, 0.7, 0.4)


def test_a_value_without_look_ahead_denoises_the_value_alone() -> None:
    full, without = composed("valuefn=viva_tiny").valuefn, composed("valuefn=viva_tiny_no_lookahead").valuefn
    unlearned = composed("valuefn=viva_tiny_future_unlearned").valuefn
    assert without == dataclasses.replace(full, predict_proprio=False)
    assert unlearned == dataclasses.replace(full, lambda_prop=0.0)


def test_parts_are_swapped_on_the_command_line_whatever_the_preset() -> None:
    settings = composed("preset=tiny", "valuefn=constant", "latents=wan_vae_tiny", "methods=[bc]", "labeller=paper")
    assert (settings.valuefn.name, settings.latents.name, settings.methods) == ("constant", "wan_vae", ["bc"])
    assert settings.labeller.keep == 0.7
    mix = composed("collect.mix.expert=0.4", "collect.mix.hesitation=0.1").collect.mix
    assert (mix.expert, mix.hesitation) == (0.4, 0.1)


def test_vision_language_values_take_a_backend_by_its_own_word() -> None:
    settings = composed("valuefn=gvl", "backend=vllm", "valuefn.backend.model=x", "labeller=gvl")
    assert (settings.valuefn.name, settings.valuefn.frames, settings.valuefn.backend.key_env) == ("gvl", 30, "")
    assert (settings.labeller.advantage.kind, settings.labeller.advantage.n) == ("chunk", 2)
    assert composed("valuefn=topreward", "backend=qwen").valuefn.backend.kind == "local"
    assert composed("valuefn=gvl_oneshot").valuefn.shots == 1 and not composed("valuefn=gvl_no_shuffle").valuefn.shuffle
    assert composed("valuefn=roboreward").valuefn.prefixes == 5
    with pytest.raises(ConfigCompositionException):
        composed("valuefn=constant", "backend=qwen")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("valuefn.horizonn=3", "horizonn"),
        ("seed=abc", "seed"),
        ("valuefn=vivaa", "vivaa"),
        ("collect.mix.expert=x", "expert"),
    ],
)
def test_an_unknown_key_or_a_bad_value_is_named(override: str, named: str) -> None:
    with pytest.raises(ConfigCompositionException) as error:
        composed(override)
    assert named in str(error.value) + str(error.value.__cause__)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("methods=[bc,ppo]", "ppo"),
        ("device=cuda", "device=cuda"),
        ("evaluation.split=test", "split"),
        ("folds=0", "folds"),
        ("valuefn=wvm_tiny valuefn.fps=20", "valuefn.fps=20"),
        ("valuefn=distributional_tiny valuefn.scale=recap", "valuefn.scale=recap"),
        ("policy=videovla_tiny valuefn=constant task.image_size=40", "task.image_size=40"),
    ],
)
def test_the_command_refuses_in_one_line_before_it_works(override: str, named: str, tmp_path: Path) -> None:
    import torch

    if override == "device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    command = [
        sys.executable,
        "experiments/recap_sim.py",
        *override.split(),
        f"runs={tmp_path}/runs",
        f"cache={tmp_path}/cache",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("recap: ") and named in last
    assert not (tmp_path / "cache").exists()
