"""The command line's entry: commands are imported when they are called, so `gridbroker --help` stays quick."""

import sys


def main() -> None:
    from gridbroker.app.cli import serve

    {"api": serve.api, "worker": serve.worker, "scheduler": serve.scheduler}[sys.argv[1]]()


if __name__ == "__main__":
    main()
