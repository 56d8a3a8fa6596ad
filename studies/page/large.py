"""How large a page of 1,000 lines in 20 groups is, and what opening it costs: python studies/page/large.py FOLDER.

Needs selenium, Chromium and its chromedriver. Prints bytes, and seconds of the page's own thread until it can be used.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from finefuse import api

DATASETS, BACKBONES, LINES, SEEDS, EXAMPLES = 10, 2, 50, 3, 1000


def rows() -> list[dict[str, Any]]:
    """Random scores; every second line is a fusion."""
    rng, found = np.random.default_rng(0), []
    for dataset in range(DATASETS):
        for backbone in range(BACKBONES):
            hard = rng.standard_normal(EXAMPLES)
            for line in range(LINES):
                for seed in range(SEEDS):
                    right = 1 + line / LINES + hard + 0.6 * rng.standard_normal(EXAMPLES) > 0
                    found.append(row(f"data-{dataset}", f"net-{backbone}", line, seed, right, rng))
    return found


def row(
    dataset: str, backbone: str, line: int, seed: int, right: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """One record as a run writes it, with the fields that the page shows."""
    kind, use, pool = ("fuse", "soup", "pool") if line % 2 else ("tune", "full", "")
    place = {
        "kind": kind,
        "dataset": dataset,
        "backbone": backbone,
        "label": f"{use}-{line}",
        "pool": pool,
        "seed": seed,
    }
    address = {name: rng.bytes(16).hex() for name in ("key", "artifact", "outputs")}
    scores = {"metrics": ["accuracy"], "better.accuracy": "higher", "test.accuracy": float(right.mean())}
    bits = {"correct": base64.b64encode(np.packbits(right).tobytes()).decode(), "n_test": EXAMPLES, "examples": dataset}
    costs = {
        "seconds": float(rng.lognormal()),
        "cpu_seconds": float(rng.lognormal()),
        "flops": float(rng.integers(10**9)),
    }
    other = {"schema": 1, "suite": "large", "use": use, "params": {}, "member": 0, "round": 0, "status": "ok"}
    return {"cell": f"{dataset} {backbone} {line} {seed}", **place, **other, **address, **scores, **bits, **costs}


def spent(driver: Any) -> float:
    """Seconds of the page's thread so far."""
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def main(folder: Path) -> None:
    """Write the page and open it three times."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (page,) = api.report(folder, reporters="page").written
    print(f"{page.stat().st_size / 1e6:.2f} MB")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1440,900"):
        options.add_argument(f"--{argument}")
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        for _ in range(3):
            driver.get("about:blank")
            before, started = spent(driver), time.perf_counter()
            driver.get(page.resolve().as_uri())
            WebDriverWait(driver, 60).until(lambda d: d.execute_script("return document.documentElement.dataset.ready"))
            clock = time.perf_counter() - started
            print(f"{spent(driver) - before:.2f} s of the page's thread, {clock:.2f} s by the clock")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
