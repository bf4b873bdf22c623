"""The way out of every cause for which a dataset cannot be imported: one table, each line of it tried by a test.

An error says what was wrong, where, and the words of its cause. Options are written as on the command line; in Python
they are the fields of `Known` and the arguments of `import_dataset` of the same names.
"""

from __future__ import annotations

from episodes.extras import install

REMEDIES: dict[str, str] = {
    # the files themselves
    "damaged": "the file is cut short or damaged: copy it from the original again",
    "missing": "copy it from the original again",
    "lacks": "take the files of one dataset from one original, this one is incomplete",
    "text": "save it as UTF-8",
    "format": "give the folder that has meta/info.json, or an HDF5 file",
    "hdf5_layout": (
        "robomimic's, LIBERO's and Isaac Lab's files (data/demo_K) and ManiSkill's (traj_K) are read: convert it to "
        "one of these, or to a LeRobotDataset"
    ),
    "version": "convert it to v3.0 with lerobot first",
    "newer": "write it as v3.0, or update this program",
    "no_episodes": "give a dataset that has episodes",
    "metadata": "correct that entry, or copy the metadata from the original again",
    "outside": "correct the entry to a path inside the dataset's folder",
    "file_link": "put a copy of the file in its place",
    "link": "put the data itself into the file (h5copy -f soft,ext)",
    # which arrays
    "action": "name the vector of the actions with action=KEY",
    "state": "name the vectors of the state with state=[KEY,KEY]",
    "vector": "name another vector with action=KEY or state=[KEY]: one row of numbers a frame is needed",
    "camera": "choose among these with cameras=[NAME,NAME]",
    "camera_name": "leave that camera out: name the others with cameras=[NAME,NAME]",
    "colourless": "where one is a colour camera, name it: cameras=[NAME]",
    "not_rgb": "it is no colour picture (depth?): leave that camera out, name the others with cameras=[NAME,NAME]",
    "array": (
        "store its pictures as uint8 (T, H, W, 3), 0..255, or leave that camera out: name the others with "
        "cameras=[NAME,NAME]"
    ),
    "codec": (
        "convert the pictures to PNG or JPEG of 8 bits a colour, or leave that camera out: name the others with "
        "cameras=[NAME,NAME]"
    ),
    "sizes": "choose cameras of one size with cameras=[NAME,NAME], or fit all to one with image_size=[H,W]",
    "no_pictures": "import a dataset that was recorded with pictures",
    "raw_robosuite": (
        "the file has simulator states alone: add pictures with python -m robomimic.scripts.dataset_states_to_obs "
        "--dataset FILE --output_name NEW --camera_names agentview --camera_height 84 --camera_width 84, import NEW"
    ),
    "raw_maniskill": (
        "the file has no pictures: add them with python -m mani_skill.trajectory.replay_trajectory --traj-path FILE "
        "-o rgb --save-traj, import the file it writes"
    ),
    # facts that the files do not say, or contradict
    "success": (
        "say it with success=...: yes or no where all ended alike, @COLUMN or @COLUMN>0.5 of the source, or a csv file "
        "with the columns episode,success"
    ),
    "success_values": "say it with a rule, success=@COLUMN>NUMBER, or a csv file with the columns episode,success",
    "success_contradicts": "name the one that counts: success=@COLUMN",
    "success_column": "name one of these: success=@COLUMN",
    "instruction": "give it with instruction=...: a text, @COLUMN of the source, or a csv file: episode,instruction",
    "episode_instruction": (
        "give one with instruction=...: a text, @COLUMN of the source, or a csv file: episode,instruction; or leave "
        "the episode out with skip=[NUMBER]"
    ),
    "csv": "correct the csv file: a first line episode,success or episode,instruction, then one line an episode",
    "hz": "say the control rate with hz=NUMBER",
    "hz_contradicts": "leave hz= (or hz in the file of spec=) out, the source's rate counts",
    "spec": "correct the field in the file of spec=",
    "bounds": "correct action_low and action_high in the file of spec=, or leave them out",
    "convention": "say what the actions are with actions=absolute or actions=delta",
    "conversion": "leave oxe= out and say in the file of spec= what the actions are",
    "not_asked": "leave actions= out and say in the file of spec= what they are (action_names, action_units, rotation)",
    "gripper": "give the value that closes as gripper_close in the file of spec=",
    # single episodes; all of them also go with skip=
    "rows": "the rows and the metadata are not of one dataset: leave the episode out with skip=[NUMBER]",
    "width": "correct its shape in meta/info.json, or leave the episode out with skip=[NUMBER]",
    "one_size": "fit all to one size with image_size=[H,W], or leave the episode out with skip=[NUMBER]",
    "fps": "correct fps in meta/info.json, or leave the episode out with skip=[NUMBER]",
    "unit": "write them in seconds, or leave the episode out with skip=[NUMBER]",
    "late": "take the first timestamp of each episode from all of its own, or leave the episode out with skip=[NUMBER]",
    "clock": "leave the episode out with skip=[NUMBER]",
    "timestamps": "allow more with tolerance= (in frames), or leave the episode out with skip=[NUMBER]",
    "video_size": (
        "correct that camera's shape in meta/info.json, leave it out (cameras=[NAME,NAME] names the others), or leave "
        "the episode out with skip=[NUMBER]"
    ),
    "picture": "the picture is damaged: leave the episode out with skip=[NUMBER]",
    "not_finite": "leave the episode out with skip=[NUMBER]",
    "short": "leave the episode out with skip=[NUMBER]",
    # the command
    "skip": "correct skip=",
    "empty": "skip fewer episodes",
    "h5py": install("robomimic"),
}
