"""Writes deslib.npz: what DESlib 0.3.7 makes of random members. It needs scikit-learn < 1.7, so a venv of its own.

pip install deslib==0.3.7 scikit-learn==1.6.1 && python make_deslib.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from deslib.des.knora_e import KNORAE
from deslib.des.knora_u import KNORAU
from deslib.util import aggregation

MEMBERS, VAL, TEST, CLASSES, K = 5, 150, 300, 4, 7


class Slice:
    """A fitted classifier whose probabilities are columns of its inputs."""

    def __init__(self, member):
        self.columns, self.classes_ = slice(member * CLASSES, (member + 1) * CLASSES), np.arange(CLASSES)

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return x[:, self.columns]

    def predict(self, x):
        return self.predict_proba(x).argmax(1)


def drawn(rng, count):
    """Logits (members, count, classes), each member strong on classes of its own, and labels."""
    y = rng.integers(0, CLASSES, count)
    logits = rng.normal(size=(MEMBERS, count, CLASSES)).astype(np.float32)
    for member in range(MEMBERS):
        logits[member, np.arange(count), y] += np.where(y == member % CLASSES, 2.5, 0.4)
    return logits, y


def softmax(z):
    e = np.exp((z - z.max(-1, keepdims=True)).astype(np.float64))
    return e / e.sum(-1, keepdims=True)


def main():
    rng = np.random.default_rng(0)
    val, y = drawn(rng, VAL)
    test, _ = drawn(rng, TEST)
    p = softmax(test).transpose(1, 0, 2)
    out = {"val": val, "y": y, "test": test}
    for name in ("product", "maximum", "minimum", "median"):
        out[name] = getattr(aggregation, f"{name}_rule")(p)
        out[f"{name}_even"] = getattr(aggregation, f"{name}_rule")(p[:, :4])
    for name, method in (("eliminate", KNORAE), ("union", KNORAU)):
        known, asked = (np.concatenate(softmax(z), -1) for z in (val, test))
        fitted = method([Slice(m) for m in range(MEMBERS)], k=K, knn_classifier="knn").fit(known, y)
        distances, region = fitted.get_competence_region(asked)
        predictions = np.stack([Slice(m).predict(asked) for m in range(MEMBERS)], 1)
        votes = fitted.predict_proba_with_ds(predictions, competence_region=region, distances=distances)
        assert (votes.argmax(1) == fitted.predict(asked)).all()
        out[name] = votes
    np.savez_compressed(Path(__file__).with_name("deslib.npz"), **out)


if __name__ == "__main__":
    main()
