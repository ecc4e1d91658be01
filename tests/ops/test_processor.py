"""The kernels that suit one maker's processors are for those alone."""

import pytest

from glassformer.ops import processor


@pytest.mark.parametrize(("maker", "amd"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_processor_says_who_made_it(maker, amd, monkeypatch):
    monkeypatch.setattr(processor.Path, "is_file", lambda _: True)
    monkeypatch.setattr(processor.Path, "read_text", lambda _: f"vendor_id\t: {maker}\n")
    assert processor.is_amd() == amd
