"""What listings of a container show, and when they show nothing.

The answers are written here; real ones are in tests/engine/states/test_recording.py.
"""

import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from ci.engine.docker import listing
from ci.engine.docker.listing import TOLERANCE, Changes, Found, Listing, UnclearError

NOW = 1_700_000_000
MOUNTS = b"""\
9 1 0:9 / / rw - overlay overlay rw
10 9 0:10 / /proc rw - proc proc rw
11 9 0:11 / /my\\040data rw shared:1 - ext4 /dev/vda rw

"""


def found(kind: str, path: str, inode: int, changed: int = NOW, *, mode: int = 0o755) -> Found:
    target = "there" if kind == "l" else ""
    return Found(kind, str(inode), f"{changed}.5", mode, 1, 2, 7, 3, 1, path, target)


ROOT, FOLDER = found("d", "", 1), found("d", "d", 5)
FILES = [ROOT, found("d", "proc", 2), found("d", "my data", 3), FOLDER, found("f", "d/a", 6)]
NEW = found("f", "d/new", 20, NOW + 9)


def answer(files: Iterable[Found], now: int | None) -> bytes:
    """Return what `find` prints of files, and of the file that shows the present time."""
    shown = [*files, *([] if now is None else [found("f", "proc/self/stat", 1, now)])]
    return b"".join(
        f"{e.kind} {e.inode} {e.changed} {e.mode:o} {e.uid} {e.gid} {e.mtime}.25 {e.size} "
        f"{e.links} /{e.path}\0{e.target}\0".encode()
        for e in shown
    )


def container(*answers: bytes | None) -> tuple[Callable[[str], bytes | None], list[str]]:
    """Return a container that gives these answers after its first listing, and what it is asked."""
    left, asked = [MOUNTS + answer(FILES, NOW + 1), *answers], list[str]()

    def ask(command: str) -> bytes | None:
        asked.append(command)
        return left.pop(0)

    return ask, asked


def test_a_changed_directory_is_listed_again_and_mounts_are_left_out() -> None:
    late = answer([FOLDER._replace(changed=f"{NOW + 9}.5")], NOW + 10)
    inside = answer([NEW, found("f", "my data/secret", 4, NOW + 9)], None)
    ask, asked = container(late, inside)
    changes = Listing(ask).changes()
    assert changes.files == {"d": FOLDER._replace(changed=f"{NOW + 9}.5"), "d/new": NEW}
    assert changes.removed == {"d/a"}
    assert asked[1].startswith('set -- "$@" / /d; find "$@" /proc/self/stat -maxdepth 0 -newerct @')
    assert asked[2].startswith("find /d -mindepth 1 -maxdepth 1 -xdev ")


def test_what_was_changed_is_looked_at_again_and_shown_once() -> None:
    late = answer([FOLDER._replace(changed=f"{NOW + 9}.5")], NOW + 10)
    again = answer([FOLDER._replace(changed=f"{NOW + 9}.5"), NEW], NOW + 11)
    ask, asked = container(late, answer([NEW], None), again)
    listed = Listing(ask)
    listed.changes()
    assert listed.changes() == Changes()
    assert asked[3].startswith('set -- "$@" /d/new; find "$@" ')


def test_an_expected_file_that_is_gone_was_removed() -> None:
    late = answer([FOLDER._replace(changed=f"{NOW + 9}.5")], NOW + 10)
    ask, _ = container(late, answer([FILES[-1], NEW], None))
    listed = Listing(ask)
    listed.expect({"d/new": "f", "d/gone": "f", "d/folder": "d", "d/folder/a": "f"})
    changes = listed.changes()
    assert changes.files["d/new"] == NEW
    assert changes.removed == {"d/gone", "d/folder"}


def test_an_expected_directory_is_shown_with_all_below_it() -> None:
    late = answer([ROOT._replace(changed=f"{NOW + 9}.5")], NOW + 10)
    new, file = found("d", "e", 30, NOW + 9), found("f", "e/b", 31, NOW + 9)
    ask, _ = container(late, answer([FOLDER, new], None), answer([file], None))
    listed = Listing(ask)
    listed.expect({"e": "d", "e/a": "f", "d": "d"})
    changes = listed.changes()
    assert changes.files == {"e": new, "e/b": file}
    assert changes.removed == {"e"}


def test_the_directories_above_a_change_are_shown_with_it() -> None:
    late = answer([FOLDER._replace(changed=f"{NOW + 9}.5")], NOW + 10)
    again = NEW._replace(changed=f"{NOW + 12}.5")
    above = FOLDER._replace(changed=f"{NOW + 9}.5")
    inside = answer([NEW], None)
    ask, asked = container(late, inside, answer([again], NOW + 13), answer([above], None))
    listed = Listing(ask)
    listed.changes()
    assert listed.changes() == Changes(files={"d/new": again, "d": above})
    assert asked[4].startswith("find /d -maxdepth 0 ")


def test_a_new_directory_is_listed_with_all_below_it() -> None:
    late = answer([ROOT._replace(changed=f"{NOW + 9}.5")], NOW + 10)
    new, old = found("d", "it's new", 30, NOW + 9), found("f", "it's new/old", 31, NOW - 9)
    ask, asked = container(late, answer([FOLDER, new], None), answer([old], None))
    assert Listing(ask).changes() == Changes(files={"it's new": new, "it's new/old": old})
    assert asked[3].startswith("""find '/it'"'"'s new' -mindepth 1 -xdev """)


def test_a_link_in_place_of_a_directory_hides_what_it_leads_to() -> None:
    link = found("l", "d", 40, NOW + 9)
    seen = [ROOT._replace(changed=f"{NOW + 9}.5"), link, found("f", "d/a", 41, NOW + 9)]
    later = [found("f", "d/a", 41, NOW + 12)]
    ask, _ = container(answer(seen, NOW + 10), answer([link], None), answer(later, NOW + 13))
    listed = Listing(ask)
    assert listed.changes() == Changes(files={"d": link}, removed=frozenset({"d"}))
    assert listed.changes() == Changes()


@pytest.mark.parametrize(
    "late",
    [
        answer([], NOW - TOLERANCE - 1),
        answer([FOLDER], None),
        answer([found("?", "x", 9)], NOW + 10),
        None,
    ],
    ids=["clock set back", "cut off", "unknown kind", "no answer"],
)
def test_what_a_listing_cannot_show_is_an_error(late: bytes | None) -> None:
    ask, _ = container(late, answer(FILES[1:], None), answer([], None))
    listed = Listing(ask)
    with pytest.raises(UnclearError):
        listed.changes()


def test_a_directory_whose_name_has_two_lines_cannot_be_listed() -> None:
    late = answer([FOLDER._replace(changed=f"{NOW + 9}.5")], NOW + 10)
    ask, _ = container(late, answer([found("d", "d/x\ny", 9, NOW + 9)], None))
    with pytest.raises(UnclearError, match="more than one line"):
        Listing(ask).changes()


def test_a_change_of_the_root_is_shown_once() -> None:
    root = ROOT._replace(mode=0o700, changed=f"{NOW + 9}.5")
    ask, _ = container(answer([root], NOW + 10), answer([], None), answer([root], NOW + 11))
    listed = Listing(ask)
    assert listed.changes().root
    assert listed.changes() == Changes()


def test_only_overlayfs_gives_a_directory_a_new_time_for_each_changed_file() -> None:
    with pytest.raises(UnclearError, match="overlayfs"):
        Listing(lambda _: MOUNTS.replace(b"overlay", b"btrfs") + answer(FILES, NOW))


def test_too_many_files_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_LISTED", 2)
    with pytest.raises(UnclearError, match="too many"):
        Listing(container()[0])


def test_a_first_listing_holds_what_it_keeps_and_no_copy_of_all_files() -> None:
    number = 5_000
    files = [ROOT, *(found("f", f"f{each}", each + 9) for each in range(number))]
    output = MOUNTS + answer(files, NOW)
    del files
    tracemalloc.start()
    try:
        listed = Listing(lambda _: output)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(listed, Listing)
    assert peak < kept + 1.5 * len(output)
