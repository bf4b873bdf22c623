"""The training of one value or policy on a store, on all processes of an `accelerate launch`."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from agents.extraction import bc
from agents.make import make_policy
from episodes.labels import Labels
from episodes.store import EpisodeStore
from experiments.data.schemas import pair
from experiments.loop.checks import check_device
from experiments.loop.pinned import pin
from experiments.loop.run_folder import environment, write_json
from experiments.loop.schemas import TrainConfig
from networks.latents import require_size
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
        part = settings.valuefn if settings.part == "value" else settings.policy
        latents = settings.latents if settings.part == "value" and reads_latents(part) else None
        if latents is not None:
            require_size(store.spec.image_size)
        (part, latents), checkpoints = _pinned(part, latents)
        if accelerator.is_main_process:
            facts = environment(settings.device) | {"processes": accelerator.num_processes, "checkpoints": checkpoints}
            write_json(out / "environment.json", facts)
        if settings.part == "value":
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


def _pinned(part, latents):  # type: ignore[no-untyped-def]
    pinned, facts = pin({"part": part, "latents": latents})
    return (pinned["part"], pinned["latents"]), facts
