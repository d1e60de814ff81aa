"""What the processor under us can do that a library does not see by itself."""

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
"What OpenBLAS' SkylakeX kernels are compiled for."


def kernels(cpuinfo: Path = _CPUINFO) -> dict[str, str]:
    """Environment for OpenBLAS: its AVX-512 kernels on an AMD that has it, nothing elsewhere.

    OpenBLAS takes an AMD younger than itself for an old Haswell: numpy 2.4 on a Zen 5 multiplied the net's matrices of
    50 sessions in 117 us instead of 67 (measured).
    """
    try:
        facts = dict(_fact(line) for line in cpuinfo.read_text().splitlines())
    except OSError:
        return {}  # not Linux
    able = facts.get("vendor_id") == "AuthenticAMD" and set(facts.get("flags", "").split()) >= _AVX512
    return {"OPENBLAS_CORETYPE": "SKYLAKEX"} if able else {}


def _fact(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
