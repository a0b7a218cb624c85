"""Kernels of ours need a compiler, which not every machine has."""

import pytest

from experiments import devices


def test_a_machine_without_a_compiler_is_told_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices.shutil, "which", lambda _: None)
    devices.has_triton.cache_clear()
    assert not devices.has_triton()
    assert not devices.has_triton()
    devices.has_triton.cache_clear()
    (said,) = caplog.messages
    assert "a C compiler is missing" in said
