"""`foresight serve`: a policy or a value behind a websocket until Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import Any

from omegaconf import DictConfig, OmegaConf

from agents.make import load_policy, policy_content
from agents.serve import PolicyServer
from agents.serve_value import ValueServer
from agents.settings import INDICATORS, ServeConfig
from networks.hub import model_content
from networks.saved import found_policy, found_value
from valuefns.make import load_value
from valuefns.shaping.readers import freeze


def load(settings: ServeConfig) -> Any:
    """The policy to serve, with the token and the guidance that the settings ask for."""
    policy = load_policy(found_policy(settings.policy, "policy").folder, settings.device)
    if settings.indicator != "own":
        policy.indicator = INDICATORS[settings.indicator]
    if settings.guidance:
        policy.guidance = settings.guidance
    return policy


def server_of(settings: ServeConfig) -> PolicyServer:
    """The server of the settings, before it listens."""
    place = (settings.host, settings.port, settings.slots)
    if settings.value:
        folder = found_value(settings.value, "value").folder
        value = load_value(folder, settings.device)
        freeze(value)
        exact = settings.batch == "exact" or (settings.batch == "auto" and settings.device == "cpu")
        return ValueServer(value, *place, model_content(folder), settings.resize, exact)
    if not settings.policy:
        raise ValueError("policy=: name the folder of a saved policy, or value= that of a value")
    folder = found_policy(settings.policy, "policy").folder
    content = policy_content(folder, settings.indicator, settings.guidance)
    return PolicyServer(load(settings), *place, content, settings.resize)


def run_all(config: DictConfig) -> None:
    """Serve until Ctrl-C; a port that is taken is a ValueError."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ServeConfig)
    server = server_of(settings)
    what = settings.value or settings.policy

    def ready(port: int) -> None:
        print(f"serving {what} for {server.policy.spec.env_id} on ws://{settings.host}:{port}", flush=True)

    try:
        asyncio.run(server.run(ready))
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise ValueError(f"{place}: {error.strerror or error}; choose another port or host") from error
