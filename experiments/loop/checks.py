"""What can be known to fail before anything is written: refused at the start, not after minutes of work."""

from __future__ import annotations

import re
from typing import Any

from agents.registry import METHODS, POLICIES
from episodes import seeds
from experiments.loop.applied import check_applied
from experiments.loop.schemas import RecapSimConfig
from valuefns.registry import VALUES, reads_latents


def check(settings: RecapSimConfig) -> None:
    """Raise a ValueError naming the first setting that cannot work together with the others or on this machine."""
    if not settings.methods or len(set(settings.methods)) != len(settings.methods):
        raise ValueError(f"methods={list(settings.methods)}: name each method once, for example methods=[bc,awr]")
    for method in settings.methods:
        METHODS.require(method)
    if settings.track:
        from experiments.loop.tracking import destination

        destination(settings.track)
    check_common(settings)


def check_common(settings: RecapSimConfig) -> None:
    """The same for experiments that choose their methods themselves."""
    VALUES.require(settings.valuefn.name)
    if settings.policy is not None:
        POLICIES.require(settings.policy.name)
    check_backend(settings.valuefn)
    episodes = settings.collect.episodes
    if settings.collect.store:
        from episodes.store import EpisodeStore

        episodes = len(EpisodeStore.open(settings.collect.store))
    if settings.folds > episodes:
        raise ValueError(f"folds={settings.folds}: there are {episodes} episodes; use more episodes or fewer folds")
    seeds.train_block(settings.seed, episodes + (settings.iterations - 1) * settings.rollouts)
    if reads_latents(settings.valuefn) and settings.task.image_size % 32:
        raise ValueError(
            f"task.image_size={settings.task.image_size}: latents need multiples of 32; use 64, or valuefn=constant"
        )
    if getattr(settings.policy, "name", "") == "videovla" and settings.task.image_size % 16:
        raise ValueError(f"task.image_size={settings.task.image_size}: videovla needs multiples of 16; use 64")
    fps = getattr(settings.valuefn, "fps", 0)
    if fps > settings.task.hz:
        raise ValueError(f"valuefn.fps={fps:g}: above the control rate; use valuefn.fps={settings.task.hz:g} or less")
    scale = getattr(settings.valuefn, "exposed_scale", "viva")
    if scale != "viva":
        raise ValueError(f"valuefn.scale={scale}: advantages are computed in ViVa's scale; use valuefn.scale=viva")
    check_applied(settings.valuefn, settings.task)
    check_device(settings.device)
    _check_environment(settings)


def check_backend(valuefn: Any) -> None:
    """Refuse a missing key or model of a vision-language value; asks nothing and loads nothing."""
    if hasattr(valuefn, "backend"):
        from valuefns.gvl.backends import make_backend

        make_backend(valuefn.backend)


def check_device(device: str) -> None:
    """Raise a ValueError for a device that torch does not know or does not see."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device={device}: choose cpu, cuda or cuda:0")
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"device={device}: torch sees no CUDA device; use device=cpu")
        if int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
            raise ValueError(f"device={device}: torch sees {torch.cuda.device_count()}; use cuda:0")


def _check_environment(settings: RecapSimConfig) -> None:
    import envs
    from envs.simpler.catalogue import SimplerTask

    found = envs.find_task(settings.task.env_id)
    if isinstance(found, envs.OwnTask) and not settings.collect.store:
        raise ValueError(f"task.env_id={found.env_id}: has no scripted demonstrator; give collect.store=STORE")
    if isinstance(found, envs.OwnTask) and settings.corrections:
        raise ValueError(
            f"corrections=true: {found.env_id} has no scripted demonstrator that could correct; leave it out"
        )
    if isinstance(found, SimplerTask):
        from envs.simpler.backend import load_maniskill, render_backend

        load_maniskill()
        render_backend()
