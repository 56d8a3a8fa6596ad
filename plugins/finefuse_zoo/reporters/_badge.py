"""A badge, as a picture."""

from __future__ import annotations

import html

COLOUR = "#0a7ea4"
LETTER, HEIGHT = 6.6, 20
"""Pixels of a letter of 11 px, on average, and of the badge."""
LONGEST = 60


def badge(label: str, message: str) -> str:
    """A flat badge with two fields."""
    texts = [text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for text in (label, message)]
    left, right = (round(len(text) * LETTER) + 12 for text in texts)
    shown = [html.escape("".join(c if c.isprintable() else "?" for c in text)) for text in texts]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" '
        f'aria-label="{shown[0]}: {shown[1]}"><title>{shown[0]}: {shown[1]}</title>'
        f'<rect width="{left}" height="{HEIGHT}" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOUR}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2}" y="14" textLength="{left - 12}">{shown[0]}</text>'
        f'<text x="{left + right / 2}" y="14" textLength="{right - 12}">{shown[1]}</text></g></svg>'
    )
