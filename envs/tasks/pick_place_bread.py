"""PickPlaceBread: carry a loaf of bread from one bin into its compartment of another.

Description: a Panda arm grasps the bread (4 x 5 cm, 5 cm high) in the light bin and puts it into the compartment of
the dark one that a transparent copy of it marks (next to the light bin, on the side away from the robot).

Randomizations: the bread's position uniform in the light bin, at least 5 cm from its edges, and its rotation about z
uniform in [0, 2 pi); Gaussian noise of 0.02 rad on the arm's initial joint angles.

Success Conditions: the bread's centre is inside its compartment and at most 10 cm above the bin's origin (it rests at
4.3 cm), and more than 4.2 cm from the grip (robosuite's own criterion). The environment additionally asks for several
consecutive steps.

Staged Progress (`bins_progress`): 0.25 for reaching, 0.15 for the grasp, 0.2 for raising over the walls, 0.25 for the
way to the compartment and 0.15 for lowering into it.
"""

from envs.tasks.pick_and_place import bins_task

TASK = bins_task("bread")
