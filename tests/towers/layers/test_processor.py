from __future__ import annotations

from pathlib import Path

import pytest

from towerzoo.towers.layers.processor import processor_field

CPUINFO = "processor\t: 0\nvendor_id\t: Maker\nmodel name\t: Chip: Pro\n\nprocessor\t: 1\nvendor_id\t: Other\n"


@pytest.mark.parametrize(("field", "expected"), [("vendor_id", "Maker"), ("model name", "Chip: Pro"), ("flags", None)])
def test_a_field_comes_from_the_first_processor(monkeypatch, field, expected):
    monkeypatch.setattr(Path, "read_text", lambda self: CPUINFO)
    assert processor_field(field) == expected
