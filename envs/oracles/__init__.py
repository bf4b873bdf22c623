"""Scripted actors that read the simulator's state: experts, and demonstrators with labelled mistakes."""
