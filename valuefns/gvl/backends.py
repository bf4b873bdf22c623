"""Every kind of model that answers, by name; none is loaded before it is first asked."""

from __future__ import annotations

from episodes.registry import Registry
from valuefns.gvl.backend import Backend
from valuefns.gvl.settings import BackendConfig

_OWN = {"openai": "valuefns.gvl.endpoint:Endpoint", "local": "valuefns.gvl.local:LocalBackend"}
BACKENDS = Registry("backend", "foresight.backends", _OWN)


def make_backend(config: BackendConfig, device: str = "cpu") -> Backend:
    """Build the backend that `config` describes; `device` is for a model on this machine."""
    made: Backend = BACKENDS.part(config.kind, Backend).make(config, device)
    return made
