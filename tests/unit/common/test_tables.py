"""Tables fit the terminal: columns where there is room, a paragraph for each row where not."""

import pytest

from ci.common.tables import fitted, folded, table, terminal_width

HEADS = ("agent", "release", "health", "last event")
ROWS = [
    ("supervisor", "2026.11.24-3", "healthy", "has reached a steady state."),
    ("threat-hunter", "-", "HTTP 503 (drift)", ""),
]


def test_with_room_there_are_columns() -> None:
    assert table(HEADS, ROWS, width=0, indent="  ") == [
        "  agent          release       health            last event",
        "  supervisor     2026.11.24-3  healthy           has reached a steady state.",
        "  threat-hunter  -             HTTP 503 (drift)",
    ]
    assert table(HEADS, ROWS, width=80, indent="  ") == table(HEADS, ROWS, width=0, indent="  ")
    assert table(HEADS, ROWS, width=0, header=False) == [
        "supervisor     2026.11.24-3  healthy           has reached a steady state.",
        "threat-hunter  -             HTTP 503 (drift)",
    ]


def test_without_room_each_row_is_a_paragraph() -> None:
    assert table(HEADS, ROWS, width=60, indent="  ") == [
        "  supervisor",
        "    release 2026.11.24-3, health healthy, last event has",
        "    reached a steady state.",
        "  threat-hunter",
        "    health HTTP 503 (drift)",
    ]


@pytest.mark.parametrize("width", [20, 40, 60])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    lines = table(HEADS, ROWS, width=width, indent="  ")
    lines += folded("a note of many words that go on and on", width=width, indent="  ")
    assert max(map(len, lines)) <= max(width, 26)


def test_a_table_of_nothing_is_its_header() -> None:
    assert table(HEADS, [], width=0) == ["agent  release  health  last event"]


@pytest.mark.parametrize(
    ("columns", "width"), [("60", 60), ("0", 0), ("", 0), ("wide", 0), ("99999", 0)]
)
def test_the_width_is_that_of_columns_or_of_the_terminal(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width() == width


def test_a_text_is_folded_with_its_indent_and_commands_stay_in_one_line() -> None:
    text = (
        "error: agent supervisor does not stay up in staging (revision 14)\n"
        "    | a line that a task wrote and that is longer than the terminal is wide\n"
        "  next: ./acso logs --env staging --agent supervisor; ./acso status --env staging"
    )
    assert fitted(text, width=50).split("\n") == [
        "error: agent supervisor does not stay up in",
        "  staging (revision 14)",
        "    | a line that a task wrote and that is longer than the terminal is wide",
        "  next:",
        "    ./acso logs --env staging --agent supervisor;",
        "    ./acso status --env staging",
    ]
    assert fitted(text, width=0) == text
