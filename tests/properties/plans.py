"""What the store machine draws: few keys and values, so that its calls meet."""

from __future__ import annotations

from hypothesis import strategies as st

from sidecar.core.operations import Append, Increment

KEYS = ["a", "a\0", "b", "ba", "\ue000", "\U0001f680"]

keys = st.sampled_from(KEYS)
ttls = st.sampled_from([None, None, 1, 1000, 4000])
values = st.sampled_from([b"", b"0", b"41", b"[1,2]", b"text", b"\0\xff"])
guards = st.sampled_from(["none"] * 4 + ["current"] * 3 + ["zero", "stale", "deleted", "newer epoch"])
changes = st.one_of(
    st.builds(Increment, delta=st.integers(-3, 3), maximum=st.sampled_from([None, None, 42])),
    st.builds(Append, items=st.lists(st.integers(0, 9), max_size=3).map(tuple), max_items=st.integers(0, 4)),
)
plans = st.one_of(
    st.tuples(st.just("put"), keys, guards, values, ttls),
    st.tuples(st.just("remove"), keys, guards),
    st.tuples(st.just("check"), keys, guards.filter(lambda guard: guard != "none")),
    st.tuples(st.just("change"), keys, changes, st.booleans(), ttls),
)
"""An operation before the machine knows which version its guard names."""
