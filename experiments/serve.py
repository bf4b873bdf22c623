"""Serve a trained policy over a websocket, in openpi's protocol; several clients are answered in one batch.

    foresight serve runs/recap_sim/TIME/arms/recap/policy-0
    foresight serve FOLDER port=8000 indicator=positive guidance=1.5
    foresight serve FOLDER host=0.0.0.0 device=cuda

The server listens on this machine alone unless `host` says otherwise; there is no password. agents/serve.py has the
messages.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("serve")
