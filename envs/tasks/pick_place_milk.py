"""PickPlaceMilk: carry a milk carton from one bin into its compartment of another.

Description: a Panda arm grasps the milk (5 cm square, 14 cm high) in the left bin and puts it into the
compartment of the right one that a transparent copy of it marks: the near and left one.

Randomizations: the milk's position uniform in the left bin, 5 cm away from its walls, and its rotation about z uniform
in [0, 2 pi); Gaussian noise of 0.02 rad on the arm's initial joint angles.

Success Conditions: the milk's centre is inside its compartment, at most 10 cm above the bin's origin, and more than
4.2 cm from the grip (robosuite's own criterion). The environment additionally asks for several consecutive steps.
"""

from envs.tasks.pick_and_place import bins_task

TASK = bins_task("milk")
