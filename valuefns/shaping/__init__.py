"""Values as rewards: the terms, what they read, and wrappers for Gymnasium (Stable-Baselines3: agents/sb3.py)."""
