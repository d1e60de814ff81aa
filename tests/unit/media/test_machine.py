"""Which kernels of OpenBLAS a worker asks for."""

from pathlib import Path

import pytest

from media.machine import kernels

AVX512 = "fpu sse4_2 avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("vendor", "flags", "asked"),
    [
        ("AuthenticAMD", AVX512, {"OPENBLAS_CORETYPE": "SKYLAKEX"}),
        ("AuthenticAMD", AVX512.replace("avx512vl", ""), {}),
        ("AuthenticAMD", "fpu sse4_2 avx2", {}),
        ("GenuineIntel", AVX512, {}),
    ],
)
def test_only_an_amd_with_all_that_they_need(tmp_path: Path, vendor: str, flags: str, asked: dict[str, str]) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert kernels(cpuinfo) == asked


def test_where_there_is_no_such_file_nothing_is_asked(tmp_path: Path) -> None:
    assert kernels(tmp_path / "none") == {}
