"""What the figures in docs/benchmarks.md come from: real processes, databases and HTTP over loopback, bounded in count and time."""
