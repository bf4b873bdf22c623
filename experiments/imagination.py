"""What a VideoVLA policy imagines beside what then happens, and whether the two agree where it succeeds.

    foresight imagine POLICY trials=20 out=runs/imagination

Rolls a saved policy out, keeps the video that it imagines with every chunk of actions, and writes into `out`:
videos/<seed>.mp4 (what happened | what was last imagined, their similarity below), rows.json (an entry per trial),
summary.json, and similarity.png: the similarity of trials that succeed and that fail (VideoVLA section 4.4, figure 3).
The foreground comes from the simulator's own segmentation; robosuite tasks only.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("imagine")
