"""Values as rewards: the shaping terms, what they read, and wrappers for Gymnasium (agents/sb3.py: Stable-Baselines3)."""
