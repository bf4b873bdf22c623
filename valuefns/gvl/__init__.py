"""Values read off vision-language models: GVL, TOPReward, RoboReward-style scores, success questions, segments."""
