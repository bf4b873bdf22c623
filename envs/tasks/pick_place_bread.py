"""PickPlaceBread: carry a loaf of bread from one bin into its compartment of another.

Description: a Panda arm grasps the bread (6 cm square, 5 cm high) in the left bin and puts it into the
compartment of the right one that a transparent copy of it marks: the far and left one.

Randomizations: the bread's position uniform in the left bin, 5 cm away from its walls, and its rotation about z uniform
in [0, 2 pi); Gaussian noise of 0.02 rad on the arm's initial joint angles.

Success Conditions: the bread's centre is inside its compartment, at most 10 cm above the bin's origin, and more than
4.2 cm from the grip (robosuite's own criterion). The environment additionally asks for several consecutive steps.
"""

from envs.tasks.pick_and_place import bins_task

TASK = bins_task("bread")
