"""From settings to a value function; heavy classes are imported only when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from networks.checkpoint import load_config
from networks.settings import LatentsConfig
from valuefns.protocol import ValueFunction


def reads_latents(config: Any) -> bool:
    """Whether the value that `config` describes reads latent frames (`needs_latents` of its settings class)."""
    return bool(getattr(config, "needs_latents", False))


def make_value(config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> ValueFunction:
    """Build the untrained value function that `config` (a settings dataclass with a `name`) describes.

    `latents` is for values that read latent frames; the others ignore it.
    """
    if config.name == "viva":
        from valuefns.viva import ViVa

        return ViVa(config, latents, seed, device)
    if config.name == "wvm":
        from valuefns.wvm import WVM

        return WVM(config, latents, seed, device)
    if config.name == "distributional":
        from valuefns.distributional import Distributional

        return Distributional(config, seed, device)
    if config.name == "constant":
        from valuefns.constant import ConstantValue

        return ConstantValue(config)
    if config.name == "oracle":
        from valuefns.oracle import OracleValue

        return OracleValue(config)
    if config.name in ("clock", "random", "progress"):
        from valuefns.bench.probes import PROBES

        return PROBES[config.name]()
    if config.name == "gvl":
        from valuefns.gvl.method import GVL

        return GVL(config, device)
    if config.name in ("topreward", "roboreward"):
        from valuefns.gvl import prefixes

        return (prefixes.TopReward if config.name == "topreward" else prefixes.RoboReward)(config, device)
    raise ValueError(
        f"valuefn {config.name!r}: choose viva, wvm, distributional, constant, oracle, gvl, topreward, "
        "roboreward, clock, random or progress"
    )


def load_value(folder: Path, device: str = "cpu") -> ValueFunction:
    """Load a learned value function from the folder it was saved in."""
    kind = load_config(folder).get("kind")
    if kind == "viva":
        from valuefns.viva import ViVa

        return ViVa.load(folder, device)
    if kind == "wvm":
        from valuefns.wvm import WVM

        return WVM.load(folder, device)
    if kind == "distributional":
        from valuefns.distributional import Distributional

        return Distributional.load(folder, device)
    raise ValueError(f"value {folder}: unknown kind {kind!r}; name the folder of a viva, wvm or distributional value")
