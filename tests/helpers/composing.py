"""The main job's settings as its command composes them."""

from hydra import compose, initialize_config_dir

from experiments.loop import schemas
from experiments.loop.schemas import CONF, RecapSimConfig, resolve


def composed(*overrides: str) -> RecapSimConfig:
    schemas.register()
    with initialize_config_dir(CONF, version_base="1.3"):
        return resolve(compose("recap_sim", overrides=list(overrides)))
