"""How things learn: Wan and text loading, latents and caches, flow matching, checkpoints, the Trainer."""
