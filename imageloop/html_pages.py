"""Small pages without a script or a link: they open from a file, from the dashboard's frame, and ten years on."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from imageloop.data.preprocessing import UInt8Array

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; color: #1f2430; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; margin: .5rem 0 } th, td { padding: .25rem .8rem; border-bottom: 1px solid #e3e6ec; text-align: left }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.grid { display: flex; flex-wrap: wrap; gap: .5rem } figure { margin: 0; width: 8rem } img { max-width: 100%; border-radius: 4px; display: block }
figcaption { font-size: .75rem; color: #5a6172; overflow-wrap: anywhere } .group { border: 1px solid #e3e6ec; padding: .5rem; border-radius: 6px }
.good { color: #14733c } .bad { color: #b3261e } p.lead { color: #5a6172 }
"""
Cell = str | int | float


def page(title: str, lead: str, *parts: str) -> str:
    """A whole HTML document. `parts` are HTML already; title and lead are text."""
    body = f"<h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p>" + "".join(parts)
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style><body>{body}</body></html>"


def section(title: str, *parts: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{''.join(parts)}"


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Numbers stand to the right; fractions get three digits."""
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in header) + f"</tr>{body}</table>"


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    text = f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
    return f"<td class=number>{text}</td>"


def image(image_HWC: UInt8Array, caption: str, side: int = 128) -> str:
    small = Image.fromarray(image_HWC)
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=80)
    return f'<figure><img alt="" src="{data_uri(content.getvalue(), "image/jpeg")}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def grid(figures: Iterable[str]) -> str:
    return f"<div class=grid>{''.join(figures)}</div>"


def chart(png: bytes) -> str:
    return f'<img alt="" style="max-width:20rem" src="{data_uri(png, "image/png")}">'


def histogram(title: str, edges: Sequence[float], before: Sequence[float], after: Sequence[float]) -> str:
    """Two distributions over the same bins: grey bars before, blue ones after, with the ends of the scale."""
    highest, wide = max([*before, *after], default=0) or 1, 240 / max(1, len(before))
    bars = "".join(
        f'<rect x="{place * wide + shift:.1f}" y="{80 - height:.1f}" width="{wide * 0.42:.1f}" height="{height:.1f}" fill="{colour}"/>'
        for shares, shift, colour in ((before, 0.0, "#b6bcc9"), (after, wide * 0.45, "#3565c0"))
        for place, height in enumerate(80 * share / highest for share in shares)
    )
    low, high = (f"{edge:.3g}" for edge in (edges[0], edges[-1]))
    return (
        f'<figure style="width:15rem"><svg viewBox="0 0 240 80" role="img" aria-label="{html.escape(title)}: grey before, blue now">{bars}</svg>'
        f"<figcaption>{html.escape(title)}: {low} to {high}</figcaption></figure>"
    )


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def blank(side: int) -> UInt8Array:
    """A placeholder for an image that the store does not have."""
    return np.full((side, side, 3), 230, np.uint8)
