"""`python -m srprof`."""

import sys

from srprof.cli import entry

if __name__ == "__main__":
    sys.exit(entry())
