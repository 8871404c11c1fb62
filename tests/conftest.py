"""One thread of torch in each process, set before torch is loaded.

Threads of several processes on the same cores wait for each other, and results of the tests that
compare bits across processes depend on how many there are.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
