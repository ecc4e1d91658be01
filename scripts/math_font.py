"""Cut the page's formula font out of STIX Two Math: what `web/src/trace/mathml.ts` draws, no more.

    npm pack @fontsource/stix-two-math && tar xzf fontsource-stix-two-math-*.tgz
    python scripts/math_font.py package/files/stix-two-math-latin-400-normal.woff2 \
        web/src/font/math.woff2

Needs fonttools and brotli. The font's license (OFL 1.1) lies beside the result.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

AXES = "ntijwdcme"
"""Letters of axes, slanted; h has a place of its own among the mathematical letters."""

SLANTED = [
    *(chr(0x1D44E + ord(letter) - ord("a")) for letter in AXES),
    "ℎ",
    *"\U0001d700\U0001d70b\U0001d715",
]
UPRIGHT = "0123456789.,+=<>(){|/-−·≤≥≠∂∞∑√⌊⌋επe"

TALLER = {"√": 3, "∑": 2, "{": 1, "(": 3, ")": 3}
"""How many sizes of a sign are kept; beyond them it is put together of parts, but for the sum."""


def main(source: Path, out: Path) -> None:
    font = TTFont(source)
    prune(font)
    for table in ("GPOS", "GSUB", "GDEF", "gasp"):
        del font[table]
    options = subset.Options(hinting=False, glyph_names=False, layout_features=[])
    options.name_IDs = [0, 1, 2, 13, 14]
    options.notdef_outline = False
    cut = subset.Subsetter(options)
    cut.populate(text=UPRIGHT + "".join(SLANTED))
    cut.subset(font)
    font.flavor = "woff2"
    font.save(out)


def prune(font: TTFont) -> None:
    """Leave out the sizes that no formula of the page reaches."""
    glyphs = font.getBestCmap() or {}
    kept = {glyphs[ord(sign)]: sizes for sign, sizes in TALLER.items()}
    variants = font["MATH"].table.MathVariants
    for glyph, sizes in zip(
        variants.VertGlyphCoverage.glyphs, variants.VertGlyphConstruction, strict=True
    ):
        sizes.MathGlyphVariantRecord = sizes.MathGlyphVariantRecord[: kept.get(glyph, 1)]
        sizes.VariantCount = len(sizes.MathGlyphVariantRecord)
        if glyph not in kept or glyph == glyphs[ord("∑")]:
            sizes.GlyphAssembly = None
    variants.HorizGlyphCoverage, variants.HorizGlyphConstruction = None, []
    variants.HorizGlyphCount = 0
    font["MATH"].table.MathGlyphInfo.MathTopAccentAttachment = None


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
