"""`python -m duly.cli` is the same as the command `duly`.

It exists for places where console scripts are not on the path. Nothing happens on import.
"""

from duly.cli.command import main

if __name__ == "__main__":
    main()
