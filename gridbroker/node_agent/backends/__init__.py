"""Ways to run a placement's program on this machine."""
