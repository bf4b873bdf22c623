"""The scripted demonstrator of PickPlaceMilk."""

from envs.oracles.bins import BinsOracle

ORACLE = BinsOracle
