"""The scripted demonstrator of PickPlaceCan."""

from envs.oracles.bins import BinsOracle

ORACLE = BinsOracle
