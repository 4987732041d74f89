"""`python -m gridbroker.node_agent`: the agent from environment variables and flags; flags win."""

import argparse
import logging
import sys
import threading

from gridbroker.node_agent import agent, config


def main() -> int:
    parser = argparse.ArgumentParser("gridbroker.node_agent", description="Runs workloads on this machine for a Gridbroker server.")
    for name in config.setting_names():
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help=f"also {config.PREFIX}{name.upper()}")
    arguments = parser.parse_args()
    try:
        settings = config.load(**vars(arguments))
    except config.BadConfig as error:
        print(f"gridbroker agent: {error}", file=sys.stderr)  # noqa: T201
        return config.EXIT_CONFIG
    # Many short-lived threads would each reserve the default 8 MiB of stack.
    threading.stack_size(512 * 1024)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    return agent.run(settings)


if __name__ == "__main__":
    sys.exit(main())
