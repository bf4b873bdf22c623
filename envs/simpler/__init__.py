"""SIMPLER's tasks on ManiSkill 3: scenes, robots, controllers, protocol and scripted oracles."""
