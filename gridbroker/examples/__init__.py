"""Real programs to run on Gridbroker."""
