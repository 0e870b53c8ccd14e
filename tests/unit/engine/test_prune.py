import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.engine import prune
from ci.engine.prune import PrunePolicy, select_results
from ci.engine.store.cache import Store, key_of
from ci.engine.store.tree import FILE, Entry, Tree
from ci.engine.usage import (
    CachedResult,
    ImageLayers,
    Inventory,
    layer_stacks,
    measured_volumes,
    references,
    take_inventory,
)

NOW = 1_000_000.0
SIZES = {"a": 1, "b": 10, "c": 100, "d": 1000}


@st.composite
def kept(draw: st.DrawFn) -> Inventory:
    times = draw(st.lists(st.floats(0, NOW), max_size=8))
    held = st.frozensets(st.sampled_from("abcd"))
    return Inventory(
        items=tuple(
            CachedResult(key=str(n), used=used, needs=draw(held), broken=draw(st.booleans()))
            for n, used in enumerate(times)
        ),
        contents={name: (size, 0.0) for name, size in SIZES.items()},
        sizes=SIZES,
    )


POLICIES = st.builds(
    PrunePolicy,
    older_than=st.none() | st.floats(0, NOW),
    keep=st.none() | st.integers(0, 1200),
    everything=st.booleans(),
)


@given(kept(), POLICIES, st.floats(0, NOW))
def test_what_goes_is_old_and_only_as_much_as_was_wished(
    found: Inventory, policy: PrunePolicy, cutoff: float
) -> None:
    gone = select_results(found, policy, NOW, cutoff)
    left = [item for item in found.items if item not in gone]
    free = [item for item in left if item.used < cutoff]
    assert all(item.used < cutoff for item in gone)
    assert gone == sorted(gone, key=lambda item: item.used)
    assert not any(item.broken for item in free)
    assert not (policy.everything and free)
    if policy.older_than is not None:
        assert all(item.used >= NOW - policy.older_than for item in free)
    size = found.size({name for item in left for name in item.needs})
    if policy.keep is not None and free:
        assert size <= policy.keep
    if policy == PrunePolicy(keep=policy.keep) and policy.keep is not None:
        whole = [item for item in gone if not item.broken]
        assert all(one.used <= other.used for one in whole for other in free)
        if whole:  # without the last one it would not have fitted
            back = found.size({name for item in [*left, whole[-1]] for name in item.needs})
            assert back > policy.keep


def test_nothing_is_wished_by_default() -> None:
    items = (CachedResult(key="old", used=1.0), CachedResult(key="broken", used=2.0, broken=True))
    found = Inventory(items=items, contents={}, sizes={})
    assert [item.key for item in select_results(found, PrunePolicy(), NOW, NOW)] == ["broken"]


# --- with a store -----------------------------------------------------------------------------
STEPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=3),  # contents of a tree
        st.floats(1, 100),  # used so many seconds ago
        st.booleans(),  # by a command, or as a directory of an image
    ),
    max_size=6,
)


def filled(store: Store, steps: list[tuple[list[int], float, bool]], now: float) -> list[str]:
    """Put results into a store, as if made and used that long ago."""
    keys = []
    for number, (contents, ago, ran) in enumerate(steps):
        blobs = [store.add_bytes(f"content {each}".encode()) for each in contents]
        entries = {str(n): Entry(FILE, 0o644, content=blob) for n, blob in enumerate(blobs)}
        digest = store.save(Tree({**Tree().entries, **entries}))
        stream = store.add_bytes(f"stream {number % 3}".encode())
        streams = dict.fromkeys(("stdout", "stderr", "combined"), stream)
        keys.append(key_of(number))
        store.set(keys[-1], {"image": "i", "mounts": {"/m": digest}, **streams} if ran else digest)
        store._index.execute("update steps set used = ? where key = ?", [now - ago, keys[-1]])
    for path in store.root.glob("blobs/*/*"):
        os.utime(path, (now - 1000, now - 1000))
    return keys


def forget(store: Store, policy: PrunePolicy, now: float) -> None:
    """Do what `prune.prune` does, without a container engine."""
    found = take_inventory(store, {}, {})
    prune.remove_results(store, found, select_results(found, policy, now, now), now)


def whole(store: Store) -> list[CachedResult]:
    """Return all results of a store; every one has all that it holds."""
    items = take_inventory(store, {}, {}).items
    assert not [item for item in items if item.broken]
    for item in items:
        assert all(store.has(name) for name in item.needs - {"i"})
    return list(items)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@given(STEPS, POLICIES, st.integers(0, 20))
@settings(deadline=None, max_examples=60)  # files on a disk that others use
def test_after_any_prune_and_in_its_middle_every_result_is_whole(
    root: Path, steps: list[tuple[list[int], float, bool]], policy: PrunePolicy, last: int
) -> None:
    store = Store(root / os.urandom(8).hex())
    now = time.time()
    keys = filled(store, steps, now)
    gone = {item.key for item in select_results(take_inventory(store, {}, {}), policy, now, now)}
    store.add_bytes(b"used just now, held by nothing")
    with pytest.MonkeyPatch.context() as patch:
        _end_after(last, patch)
        try:
            forget(store, policy, now)
        except KeyboardInterrupt:
            whole(store)
    forget(store, policy, now)  # the next one goes on
    left = whole(store)
    assert store.has(store.add_bytes(b"used just now, held by nothing"))
    assert {item.key for item in left} == {*keys} - gone
    held = {name for item in left for name in item.needs - {"i"}}
    assert len({*take_inventory(store, {}, {}).contents} - held) == 1
    store.close()


def _end_after(count: int, patch: pytest.MonkeyPatch) -> None:
    """Make the process end at some removal of a file."""
    removals = iter(range(count))
    unlink = Path.unlink

    def ending(path: Path, *, missing_ok: bool = False) -> None:
        if next(removals, None) is None:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    patch.setattr(Path, "unlink", ending)


def test_what_is_used_while_a_prune_runs_stays(tmp_path: Path) -> None:
    store, now = Store(tmp_path), time.time()
    keys = filled(store, [([1], 50, True), ([2], 60, False)], now)
    gone = select_results(take_inventory(store, {}, {}), PrunePolicy(everything=True), now, now)
    assert store.get(keys[0]) is not None  # another session, between the choice and the removal
    store.remove_results((item.key for item in gone), now)
    assert [item.key for item in whole(store)] == [keys[0]]
    seen = take_inventory(store, {}, {})
    again = store.add_bytes(b"content 2")
    prune.remove_contents(store, seen, now)
    assert store.has(again)
    assert [item.key for item in whole(store)] == [keys[0]]


def test_a_result_whose_tree_is_gone_or_damaged_is_broken_and_goes(tmp_path: Path) -> None:
    store, now = Store(tmp_path), time.time()
    keys = filled(store, [([1], 50, True), ([2], 60, False), ([3], 70, False)], now)
    store.path(store.get(keys[1])).write_bytes(b"damaged")
    store.path(store.get(keys[2])).unlink()
    forget(store, PrunePolicy(), time.time())
    assert [item.key for item in whole(store)] == [keys[0]]


def test_a_source_whose_contents_went_is_read_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    content = store.add_bytes(b"x")
    store.remember_files([("/src/f", "stamp", content)])
    os.utime(store.path(content), (1, 1))
    assert prune.remove_contents(store, take_inventory(store, {}, {}), time.time()) == [content]
    assert store.known_files("/src") == {}
    assert not store.touch(content, 1)


BEGUN = "import sys; from pathlib import Path; from ci.engine.store.cache import Store\n" + (
    "store = Store(Path(sys.argv[1])); store.register_session('other'); print(1, flush=True)\n"
    "input()"
)


def test_a_session_counts_until_its_process_ends_in_any_way(tmp_path: Path) -> None:
    start = time.time() - prune.MARGIN
    store, own = Store(tmp_path), Store(tmp_path)
    own.register_session("own")
    command = [sys.executable, "-c", BEGUN, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = prune.running_sessions(store)
        assert set(found) == {"own", "other"}
        assert all(start <= began <= time.time() for began in found.values())
        other.kill()
    assert set(prune.running_sessions(store)) == {"own"}
    own.close()
    assert prune.running_sessions(store) == {}
    assert not list((tmp_path / "sessions").iterdir())


# --- what results hold --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "held"),
    [
        ({"volume": "v"}, (set(), set(), {"v"})),
        ({"image": "i"}, (set(), set(), {"i"})),
        ("acso-engine:tag", (set(), set(), {"acso-engine:tag"})),
        ("0" * 64, (set(), {"0" * 64}, set())),
        ([None], (set(), set(), set())),
    ],
)
def test_a_result_names_what_it_holds(value: Any, held: Any) -> None:
    assert references(value) == held


def test_layers_that_images_share_count_once_and_those_of_others_not() -> None:
    images = {
        "base": ImageLayers(size=100, layers=("1",)),
        "bare": ImageLayers(size=100, layers=("1",), tags=("acso-engine:b",)),
        "one": ImageLayers(size=130, layers=("1", "2", "3"), tags=("acso-engine:1",)),
        "two": ImageLayers(size=170, layers=("1", "2", "3", "4"), tags=("acso-engine:2",)),
        "scratch": ImageLayers(size=5, layers=("9",), tags=("acso-engine:s",)),
    }
    stacks, sizes = layer_stacks(images)
    added = {image: sum(sizes[name] for name in stack) for image, stack in stacks.items()}
    assert added == {"base": 0, "bare": 0, "one": 30, "two": 70, "scratch": 5}
    assert stacks["one"] < stacks["two"]
    assert sum(sizes.values()) == 75


def test_volumes_are_measured_in_the_forms_of_old_and_new_engines() -> None:
    volumes = [{"Name": "v", "UsageData": {"Size": 5, "RefCount": 0}}]
    for answer in (
        {"Volumes": volumes, "LayersSize": 9},
        {"VolumeUsage": {"TotalCount": 1, "Items": volumes}},  # Docker 29, by its types
        {"VolumesUsage": {"TotalCount": 1, "Items": volumes}, "Volumes": None},
    ):
        assert measured_volumes(answer) == volumes
    assert measured_volumes({"VolumeUsage": {"TotalCount": 0}}) == []


# --- words --------------------------------------------------------------------------------------
def test_sizes_and_ages_are_read_and_shown() -> None:
    assert [prune.size(text) for text in ("5GB", "300 MiB", "1.5kb", "7")] == [
        5 * 10**9,
        300 << 20,
        1500,
        7,
    ]
    assert [prune.age(text) for text in ("7d", "12h", "1.5m")] == [604800, 43200, 90]
    for text in ("5", "d", "5 parsecs", "-1d"):
        with pytest.raises(ValueError, match="is not a number with one of the units s, m, h, d, w"):
            prune.age(text)
    assert [prune.format_size(n) for n in (0, 999, 1500, 123_456_789, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "123 MB",
        "5000 TB",
    ]
