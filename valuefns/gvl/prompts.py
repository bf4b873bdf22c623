"""What is said to the model; images stand between the lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valuefns.gvl.questions import Part

Shown = Sequence[tuple[np.ndarray, float]]
"""An example: (image, progress in [0, 1]) in the order shown."""


def goal_parts(instruction: str, goal_image: np.ndarray | None) -> list[Part]:
    """How the task is named: by its instruction, or by an image of its end."""
    if goal_image is None:
        return [f"The task of the robot: {instruction}\n"]
    return ["The task of the robot is to reach the situation in this image:\n", goal_image]


def gvl_prompt(
    instruction: str,
    goal_image: np.ndarray | None,
    anchor: np.ndarray | None,
    frames: Sequence[np.ndarray],
    examples: Sequence[tuple[str, Shown]],
    shuffled: bool,
    again: bool,
) -> tuple[Part, ...]:
    """GVL's prompt (appendix B in our words): role, task, examples, anchor at 0, frames, one line per frame."""
    parts: list[Part] = [
        "You are an expert in robotics. You judge from camera images how far a robot has come with its task, as a task "
        "completion percentage: 0 is the situation before the robot began, 100 is the task fully completed. The "
        "percentage may rise and fall; it says what the image shows, not how much time has passed.\n",
        *goal_parts(instruction, goal_image),
    ]
    for k, (task, shown) in enumerate(examples, 1):
        parts.append(f"\nExample {k}, of the task: {task}. Its images are in random order.\n")
        for image, progress in shown:
            parts += [image, f"Task completion: {100 * progress:.0f}%\n"]
    if anchor is not None:
        parts += ["\nThe initial scene of the episode to judge. Its task completion is 0%:\n", anchor]
    order = "in random order: judge each image by itself" if shuffled else "in order of time"
    if len(frames) > 1:
        parts.append(f"\nNow {len(frames)} images of this episode, {order}.\n")
    for i, image in enumerate(frames, 1):
        parts += [f"Frame {i}:\n", image]
    parts.append(
        f"\nFor each of the frames 1 to {len(frames)}, write one line of exactly this form:\n"
        "Frame {number}: {what the image shows, in one short sentence}; Task completion: {percentage}%"
    )
    if again:
        parts.append(f"\nGive a line with a percentage for every frame from 1 to {len(frames)}, without exception.")
    return tuple(parts)


TRUE_HEAD = "The video shows a robot that works on a task, as a sequence of frames in order of time:\n"


def true_tail(instruction: str) -> str:
    """TOPReward's question after a prefix; the answer begins with True or False."""
    return (
        f"\nThe robot's task: {instruction}\nStatement: at the last frame the robot has completed this task. "
        "Is the statement True or False? Answer with one word."
    )


def score_tail(instruction: str) -> str:
    """RoboReward's question after a prefix: a discrete progress score."""
    return (
        f"\nThe robot's task: {instruction}\nHow far has the robot come with it at the last frame? "
        "1: no progress; 2: a small part is done; 3: about half is done; 4: nearly done; 5: fully completed. "
        "Answer with one line of the form: Score: {1, 2, 3, 4 or 5}"
    )


def success_tail(instruction: str, think: bool) -> str:
    """Success-VQA's question after a whole video, with or without chain of thought."""
    question = f"\nThe robot's task: {instruction}\nDoes the robot complete the task by the end of the video? "
    if think:
        return question + (
            "First describe what happens step by step and compare the last frames with what the task asks for. Then "
            "write a last line that is just Yes or No."
        )
    return question + "Answer with just Yes or No."


def segments_tail(instruction: str, last: int, hz: float) -> str:
    """WVM's request for non-progress intervals (appendix B.2 in our words), answered as JSON."""
    return (
        f"\nThese are frames of a robot's video of {last + 1} frames at {hz:g} frames per second; before each stands "
        f"its number. The robot's task: {instruction}\n"
        "Find the stretches in which the robot makes no progress towards completing the task: it is stuck, waits, "
        "repeats a motion without effect, or moves where it does not help (hesitation); or the state of the task goes "
        "back, for instance a grasp missed or an object dropped, up to the moment the loss is made good (retry). Slow "
        "but successful motion is progress.\n"
        "Answer with one JSON object and nothing else:\n"
        '{"non_progress_segments": [{"start_frame": <number>, "end_frame": <number>, "type": "hesitation" or "retry", '
        '"description": "<why this is no progress, in a few words>"}], "task_completed": <true or false>, '
        '"summary": "<one sentence>"}\n'
        "If all of the video is progress, the list is empty."
    )
