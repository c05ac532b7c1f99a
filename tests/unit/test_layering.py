from hypothesis import given
from hypothesis import strategies as st

from builder import layering
from builder.models import Wheel


def wheel(name, size):
    return Wheel(name=name, version="1", filename=f"{name}-1-py3-none-any.whl", sha256="0" * 64, size=size)


names = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
wheels = st.dictionaries(names, st.integers(0, 2 * layering.LARGE), max_size=150).map(
    lambda sizes: [wheel(name, size) for name, size in sizes.items()]
)


def test_a_large_wheel_has_a_layer_of_its_own_and_the_largest_is_lowest():
    groups = layering.group([wheel("b", 3), wheel("big", layering.LARGE), wheel("huge", 9 * layering.LARGE)])
    assert groups == (("huge",), ("big",), ("b",))


@given(wheels)
def test_every_wheel_is_in_exactly_one_layer_and_layers_stay_within_the_limit(some):
    groups = layering.group(some)
    assert sorted(name for group in groups for name in group) == sorted(w.name for w in some)
    assert len(groups) <= layering.LIMIT


@given(wheels, names, st.integers(0, layering.LARGE - 1))
def test_adding_one_small_wheel_changes_one_layer(some, name, size):
    some = [w for w in some if w.name != name]
    before = set(layering.group(some))
    after = set(layering.group([*some, wheel(name, size)]))
    assert len(after - before) == 1


@given(wheels)
def test_the_order_of_the_wheels_does_not_matter(some):
    assert layering.group(some) == layering.group(list(reversed(some)))
