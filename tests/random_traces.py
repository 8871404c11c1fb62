"""Random traces for Hypothesis, in which no network ran."""

from __future__ import annotations

from hypothesis import strategies as st

from srprof.records import Storage
from tests.made_up import image, made_up_trace, weight


@st.composite
def random_traces(draw):
    """Storages with any lifetimes and uses that a run can have."""
    count = draw(st.integers(1, 8))
    storages = [weight(draw(st.integers(0, 2000))), image(draw(st.integers(1, 2000)))]
    for _ in range(draw(st.integers(1, 12))):
        birth = draw(st.integers(-1, count - 1))
        death = draw(st.integers(birth + 1, count))
        uses = draw(st.sets(st.integers(birth + 1, death - 1))) if death > birth + 1 else ()
        storages.append(
            Storage(
                nbytes=draw(st.integers(0, 2000)),
                role="activation",
                birth=birth,
                death=death,
                uses=tuple(sorted(uses)),
                returned=death == count and draw(st.booleans()),
                host=draw(st.integers(0, 5)) == 0,
            )
        )
    return made_up_trace(storages, ["op"] * count)
