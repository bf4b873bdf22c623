"""Every value function by name; torch is imported when one is built, not before."""

from __future__ import annotations

from typing import Any

from episodes.registry import Registry
from valuefns import settings as own
from valuefns.gvl import settings as language

_SETTINGS: tuple[type[Any], ...] = (
    own.ViVaConfig, own.WVMConfig, own.DistributionalConfig, own.ConstantConfig, own.OracleConfig, own.SavedConfig,
    own.ServedConfig, own.RewardServerConfig,
    language.GVLConfig, language.TopRewardConfig, language.RoboRewardConfig, own.ClockConfig, own.RandomConfig,
    own.ProgressConfig,
)  # fmt: skip
VALUES = Registry("value", "foresight.values", {settings.name: settings for settings in _SETTINGS})
"""Every value function by name."""


def reads_latents(config: Any) -> bool:
    """Whether the value that `config` describes reads latent frames (`needs_latents` of its settings class)."""
    return bool(getattr(config, "needs_latents", False))
