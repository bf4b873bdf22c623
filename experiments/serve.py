"""Serve a trained policy over a websocket, in openpi's protocol, or a value; several clients are answered together.

    foresight serve runs/recap_sim/TIME/arms/recap/policy-0
    foresight serve FOLDER port=8000 indicator=positive guidance=1.5
    foresight serve value=FOLDER port=8000        # then, elsewhere: valuefn=ws://host:8000

The server listens on this machine alone unless `host` says otherwise; there is no password. agents/serve.py and
agents/serve_value.py have the messages.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("serve")
