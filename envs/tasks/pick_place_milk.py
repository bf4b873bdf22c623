"""d"""
from envs.tasks.pick_and_place import bins_task
TASK = bins_task("milk")
