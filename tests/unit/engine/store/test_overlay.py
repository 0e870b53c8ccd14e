"""Layers: whatever order they are merged in, the files are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.engine.store import overlay, patterns
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import DIRECTORY, FOLDER, Entry, Tree
from tests.unit.engine.store.trees import file, link, of

PLACES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
ENTRIES = st.sampled_from([file("1"), file("2", 0o600), link("a"), FOLDER, FOLDER._replace(uid=7)])


def closed(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Return the entries with directories above each, and nothing below a file."""
    found: dict[str, Entry] = {}
    for path, entry in sorted(entries.items()):
        above = list(patterns.parents(path))
        if all(found.get(each, FOLDER).kind == DIRECTORY for each in above):
            found |= {each: found.get(each, FOLDER) for each in above} | {path: entry}
    return found


CLOSED = st.dictionaries(PLACES, ENTRIES, max_size=6).map(closed)
TREES = CLOSED.map(lambda entries: Tree({"": FOLDER, **entries}))
LAYERS = st.builds(Layer, entries=CLOSED, removed=st.frozensets(PLACES, max_size=2))


def require_sound(tree: Tree) -> None:
    """Check what holds for every tree: it has a root, and only directories have paths below."""
    assert "" in tree.entries
    for path in tree.entries:
        for above in patterns.parents(path):
            assert tree.entries[above].kind == DIRECTORY, path


@given(TREES, LAYERS, LAYERS, LAYERS)
def test_merged_layers_have_the_effect_of_each(t: Tree, a: Layer, b: Layer, c: Layer) -> None:
    one_by_one = overlay.apply(c, overlay.apply(b, overlay.apply(a, t)))
    require_sound(one_by_one)
    for merged in (
        overlay.merge(overlay.merge(a, b), c),
        overlay.merge(a, overlay.merge(b, c)),
    ):
        assert overlay.apply(merged, t) == one_by_one


@given(TREES, LAYERS, PLACES)
def test_a_part_is_that_part_of_the_whole(t: Tree, layer: Layer, place: str) -> None:
    whole = overlay.apply(layer, t)
    inside = of_place(t, place)
    assert overlay.part(layer, place, inside) == of_place(whole, place)
    assert overlay.part(layer, "", t) == whole
    if layer.hides(place) and place not in layer.entries:
        assert place not in whole.entries


def of_place(t: Tree, place: str) -> Tree | None:
    """Return what is at a place, None where nothing is."""
    if place not in t.entries:
        return None
    inner = {p[len(place) + 1 :]: e for p, e in t.entries.items() if p.startswith(place + "/")}
    return Tree({"": t.entries[place], **inner})


def test_a_layer_hides_adds_and_replaces() -> None:
    below = of("a", "d/x", "e")
    layer = Layer(
        entries={"d": file("now a file"), "n": FOLDER, "n/f": file()}, removed=frozenset({"a"})
    )
    assert sorted(overlay.apply(layer, below).entries) == ["", "d", "e", "n", "n/f"]
    odd = Layer(removed=frozenset({"x[1]"}))
    assert sorted(overlay.apply(odd, of("x[1]", "x1")).entries) == ["", "x1"]


@pytest.mark.parametrize("texts", [("one", "two", "one"), ("one", "one"), ("two", "one", "two")])
def test_the_last_of_equal_changes_wins(texts: tuple[str, ...]) -> None:
    whole = Layer()
    for text in texts:
        whole = overlay.merge(whole, Layer(entries={"f": file(text)}))
    assert overlay.apply(whole, Tree()).entries["f"].content == texts[-1]


def test_a_name_that_is_removed_created_and_removed_again_is_gone() -> None:
    removal, creation = Layer(removed=frozenset({"f"})), Layer(entries={"f": file()})
    whole = overlay.merge(overlay.merge(removal, creation), removal)
    assert "f" not in overlay.apply(whole, of("f")).entries
