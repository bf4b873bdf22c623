"""PickPlaceMilk: carry a milk carton from one bin into its compartment of another.

Description: a Panda arm grasps the milk (4 cm square, 14 cm high) at its gable in the light bin and puts it into the
compartment of the dark one that a transparent copy of it marks (next to the light bin, on the robot's side).

Randomizations: the milk's position uniform in the light bin, at least 5 cm from its edges, and its rotation about z
uniform in [0, 2 pi); Gaussian noise of 0.02 rad on the arm's initial joint angles.

Success Conditions: the milk's centre is inside its compartment and at most 10 cm above the bin's origin (it rests at
8.1 cm), and more than 4.2 cm from the grip (robosuite's own criterion, which may hold before the fingers open: the
grip is 6 cm above the centre). The environment additionally asks for several consecutive steps.

Staged Progress (`bins_progress`): 0.25 for reaching, 0.15 for the grasp, 0.2 for raising over the walls, 0.25 for the
way to the compartment and 0.15 for lowering into it.
"""

from envs.tasks.pick_and_place import bins_task

TASK = bins_task("milk")
