"""The only place that writes angle brackets: elements, escaping, and the `Svg` text itself."""

from __future__ import annotations

from html import escape


class Svg(str):
    """Finished markup. Template engines that know `__html__` leave it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Show the picture in a notebook."""
        return str(self)


def number(value: float) -> str:
    """Return a short decimal with at most two digits, never in exponent form.

    >>> number(3.0), number(0.126), number(-0.001)
    ('3', '0.13', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def share(value: float) -> str:
    """Return a ratio as a percentage for an attribute.

    >>> share(0.12345)
    '12.35%'
    """
    return number(value * 100) + "%"


def el(name: str, *children: str, **attributes: str | float | None) -> Svg:
    """Return one element. `_` in attribute names becomes `-`; a trailing one is dropped.

    Children that are plain text are escaped; `Svg` children are taken as they are.

    >>> el("text", "a < b", x=3.0, text_anchor="end", class_="k")
    '<text x="3" text-anchor="end" class="k">a &lt; b</text>'
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        text = value if isinstance(value, str) else number(value)
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    body = "".join(c if isinstance(c, Svg) else escape(c, quote=False) for c in children)
    head = " ".join(parts)
    return Svg(f"<{head}>{body}</{name}>") if body else Svg(f"<{head}/>")


def picture(title: str, *children: str, width_px: float, height_px: float, class_: str) -> Svg:
    """Return a whole picture with its name for those who do not see it."""
    return el(
        "svg",
        el("title", title),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        aria_label=title,
        width=width_px,
        height=height_px,
        class_=class_,
    )


def group_picture(
    title: str, *children: str, width_px: float, height_px: float, class_: str
) -> Svg:
    """Return a picture whose parts are links: a group with a name instead of one image."""
    return el(
        "svg",
        el("title", title),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        role="group",
        aria_label=title,
        width=width_px,
        height=height_px,
        class_=class_,
    )
