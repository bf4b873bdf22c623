"""The scripted demonstrator of PickPlaceCereal."""

from envs.oracles.bins import BinsOracle

ORACLE = BinsOracle
