"""Import a dataset of another program into a new episode store: LeRobotDataset v2.1 / v3.0, or HDF5 demonstrations.

    foresight import SOURCE target=TARGET
    foresight import demos.hdf5 target=data/demos success=yes instruction='lift the cube'
    foresight import SOURCE target=TARGET success=FILE.csv image_size=[96,96] encoding=mp4 skip=[3,7]

docs/data.md says what is unknown after an import, and what the options take. SOURCE is only read; TARGET must be new.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("import")
