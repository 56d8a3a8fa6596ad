"""Processors that a machine may have."""

from finefuse.processor import Processor

AVX2 = frozenset({"sse4_1", "avx", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
OLD, NEW = (Processor("AMD EPYC", "AMD", flags) for flags in (AVX2, AVX512))
XEON = Processor("Intel(R) Xeon(R)", "Intel", AVX512)
M1 = Processor("Apple M1", x86=False)
