"""Train one value function or policy on a recorded store, on all processes of an `accelerate launch`.

    foresight train STORE out=FOLDER preset=tiny part=policy labels=LABELS.parquet
    foresight train STORE out=FOLDER preset=paper device=cuda valuefn.training.scale.activation_checkpointing=true
    accelerate launch --config_file experiments/conf/accelerate/fsdp.yaml experiments/train.py STORE out=FOLDER

Every process reads the store and draws the same batches; the first one writes. FOLDER then loads like any trained value
or policy (`foresight label STORE value=FOLDER`). A stopped training goes on when the same command is given again.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("train")
