"""The training of one value or policy on a store, on all processes of an `accelerate launch`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from agents.extraction import bc
from agents.make import make_policy
from episodes.labels import Labels
from episodes.store import EpisodeStore
from episodes.windows import DecodedCache
from experiments.data.schemas import pair
from experiments.loop.checks import check_device
from experiments.loop.pinned import pin
from experiments.loop.run_folder import environment, write_json
from experiments.loop.schemas import TrainConfig
from networks.latents import LatentEncoder, require_size
from valuefns.make import make_value
from valuefns.registry import reads_latents


def run_all(config: DictConfig) -> None:
    """Fit the part and save it; what is there already is not trained again."""
    from accelerate import Accelerator

    settings = OmegaConf.to_object(config)
    assert isinstance(settings, TrainConfig)
    check_device(settings.device)
    out = Path(settings.out)
    if (out / "model.safetensors").exists():
        print(f"{out}: is trained already", flush=True)
        return
    accelerator = Accelerator(cpu=settings.device == "cpu")  # first: it gives each process its GPU
    try:
        store = EpisodeStore.open(Path(settings.store), image_size=pair(settings.image_size))
        part = {"value": settings.valuefn, "policy": settings.policy, "latents": settings.latents}[settings.part]
        if settings.init:
            part = started(part, settings.part, settings.init)
        latents = settings.latents if settings.part == "value" and reads_latents(part) else None
        if latents is not None:
            require_size(store.spec.image_size)
        (part, latents), checkpoints = _pinned(part, latents)
        if accelerator.is_main_process:
            facts = environment(settings.device) | {"processes": accelerator.num_processes, "checkpoints": checkpoints}
            write_json(out / "environment.json", facts)
        if settings.part == "latents":
            data = DecodedCache(store, Path(settings.cache) / "decoded")
            LatentEncoder(part).fit(data.images, settings.seed, settings.device, out).save(out)
        elif settings.part == "value":
            value = make_value(part, latents or settings.latents, settings.seed, settings.device)
            value.fit(store, out).save(out)  # latents that are not published are fitted by all processes together
        else:
            labels = Labels.load(Path(settings.labels), store) if settings.labels else bc(store, [], settings.labeller)
            policy = make_policy(part, store.spec, settings.seed, settings.device)
            policy.fit(store, labels, settings.seed, out, Path(settings.cache) / "decoded").save(out)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            print(f"{out}: trained on {accelerator.num_processes} processes", flush=True)
    finally:
        accelerator.end_training()


def started(part: Any, kind: str, init: str) -> Any:
    """The settings of a part whose training starts from the saved weights `init`."""
    if not hasattr(part, "init"):
        raise ValueError(f"init={init}: {kind}={part.name} has no weights that training could start from; leave it out")
    return replace(part, init=init)


def _pinned(part, latents):  # type: ignore[no-untyped-def]
    pinned, facts = pin({"part": part, "latents": latents})
    return (pinned["part"], pinned["latents"]), facts
