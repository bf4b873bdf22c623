"""What to do: policies, policy extraction, the RECAP loop, evaluation."""
