"""The scripted demonstrator of PickPlaceBread."""

from envs.oracles.bins import BinsOracle

ORACLE = BinsOracle
