"""Every policy and every method by name; torch is imported when one is built, not before."""

from __future__ import annotations

from agents.settings import FlowConfig, Pi05Config, VideoVlaConfig
from episodes.registry import Registry

POLICIES = Registry("policy", "foresight.policies", {c.name: c for c in (FlowConfig, Pi05Config, VideoVlaConfig)})

_METHODS = ("bc", "filtered_bc", "success_bc", "success_filtered_bc", "success_random", "label_bc", "awr", "recap")
METHODS = Registry("method", "foresight.labellers", {name: f"agents.extraction:{name}" for name in _METHODS})
"""What a policy is trained with: each is a labeller (store, values, ExtractionConfig) -> Labels."""
