"""Which operations of torch have other bits under other instruction sets: digests by environment, one process each.

    python studies/portable/operations.py [AS_INTEL]

AS_INTEL is a shared library that makes MKL take any processor for one of Intel's, which shows what MKL does there:

    echo 'int mkl_serv_intel_cpu_true(void) { return 1; }' | gcc -shared -fPIC -x c - -o intel.so
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

SETTINGS = (
    "",
    "ATEN_CPU_CAPABILITY=avx2",
    "ONEDNN_MAX_CPU_ISA=AVX2",
    "ONEDNN_MAX_CPU_ISA=AVX512_CORE",
    "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16",
    "MKL_CBWR=AVX2",
    "MKL_CBWR=AVX512",
    "MKL_CBWR=COMPATIBLE",
    "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=AVX2",
)


def digests() -> dict[str, str]:
    """A digest of the result of each operation, in float32 and on one thread."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=drawn)

    images, kernels, square = draw(32, 16, 16, 16).requires_grad_(), draw(32, 16, 3, 3).requires_grad_(), draw(40, 40)
    tokens, results = draw(8, 4, 17, 12), {"product": draw(32, 64) @ draw(64, 10)}
    results["large product"] = draw(300, 300) @ draw(300, 300)
    results["convolution"] = functional.conv2d(images, kernels, padding=1)
    results["convolution"].square().sum().backward()
    results["its gradients"] = torch.cat([images.grad.flatten(), kernels.grad.flatten()])
    results["exp"] = draw(1000).exp()
    results["softmax"] = draw(32, 10).softmax(-1)
    results["gelu"] = functional.gelu(draw(1000))
    results["layer norm"] = functional.layer_norm(draw(32, 48), (48,))
    results["attention"] = functional.scaled_dot_product_attention(tokens, tokens, tokens)
    results["cholesky"] = torch.linalg.cholesky(square @ square.T + 40 * torch.eye(40))
    results["svd"] = torch.linalg.svd(square).S
    return {name: hashlib.sha256(one.detach().numpy().tobytes()).hexdigest()[:6] for name, one in results.items()}


def elsewhere(settings: str, library: str = "") -> dict[str, str]:
    """The digests of a fresh process with these variables."""
    env = os.environ | dict(pair.split("=") for pair in settings.split()) | ({"LD_PRELOAD": library} if library else {})
    command = [sys.executable, __file__, "--digests"]
    return dict(json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout))


def main() -> None:
    """Print what differs from the first line, for this processor and as if it were Intel's."""
    if sys.argv[1:] == ["--digests"]:
        print(json.dumps(digests()))
        return
    first = elsewhere("")
    for library in ("", *sys.argv[1:]):
        for settings in SETTINGS:
            found = elsewhere(settings, library)
            others = [f"{name} {digest}" for name, digest in found.items() if digest != first[name]]
            print(
                f"{'as Intel: ' * bool(library)}{settings or '(none)'}: {', '.join(others) or 'the same'}", flush=True
            )


if __name__ == "__main__":
    main()
