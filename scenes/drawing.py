"""Draws scenes."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from scenes import textures
from scenes.backdrops import paint_far, paint_near, view_of
from scenes.canvas import Canvas, faded, flat
from scenes.colours import INK, RGB, WHITE, Shade, tones
from scenes.composition import HABITS, Zone
from scenes.figures import FIGURES
from scenes.scene import Figure, Scene
from scenes.shapes import Part
from scenes.styles import FINISHES, Finish
from scenes.vocabulary import Light, Thing

# A tile is a little larger than the figure's box, so that lines at its border are whole.
TILE = 1.12


def draw(scene: Scene, size: tuple[int, int] = (800, 600)) -> Image.Image:
    """The scene at this width and height. The same scene looks alike at every size."""
    oversampling = 2 if min(size) > 64 else 3
    large = (size[0] * oversampling, size[1] * oversampling)
    canvas = Canvas(large, FINISHES[scene.style])
    view = view_of(scene, canvas)
    paint_far(view)
    figures = [(subject.thing, figure) for subject in scene.subjects for figure in subject.figures]
    figures.sort(key=lambda pair: pair[1].y + pair[1].radius)  # what is nearer comes later
    far = [pair for pair in figures if HABITS[pair[0]].zone is Zone.HORIZON]
    for thing, figure in far:
        _paint(canvas, scene.light, thing, figure)
    paint_near(view)
    for thing, figure in (pair for pair in figures if pair not in far):
        _paint(canvas, scene.light, thing, figure)
    return _on_paper(canvas.image.reduce(oversampling), canvas.finish)


def _paint(canvas: Canvas, light: Light, thing: Thing, figure: Figure) -> None:
    """The figure with its reflection or shadow and a soft rim of light."""
    habit = HABITS[thing]
    reach = figure.radius * canvas.unit * TILE
    left = round(figure.x * canvas.width - reach)
    top = round(figure.y * canvas.height - reach)
    tile = _tile(canvas, thing, figure, (left, top))
    mask = tile.getchannel("A")
    if thing is Thing.BOAT:
        _reflect(canvas, tile, (left, top))
    elif habit.zone is Zone.LAND:
        _ground_shadow(canvas, figure, feet=habit.height)
    _glow(canvas, mask, (left, top), _halo(light, habit.zone, figure.shade))
    if canvas.finish.shadow:
        canvas.shade(mask, (left, top), depth=0.02)
    canvas.image.paste(tile, (left, top), mask)


def _tile(canvas: Canvas, thing: Thing, figure: Figure, at: tuple[int, int]) -> Image.Image:
    """The figure alone on a transparent square."""
    side = round(2 * figure.radius * canvas.unit * TILE)
    tile = Image.new("RGBA", (side, side), (*figure.shade.rgb, 0))
    brush = ImageDraw.Draw(tile)
    shade_by_tone = tones(figure.shade)
    line = round(canvas.finish.line * canvas.unit)
    ink = _ink(figure.shade).rgb
    for part in FIGURES[thing](Random(figure.look)):
        points = _placed(part, figure)
        outline = flat(points, side, side)
        brush.polygon(outline, fill=shade_by_tone[part.tone].rgb)
        if line and not part.is_fine:
            brush.line([*outline, *outline[:4]], fill=ink, width=line, joint="curve")
    return _shaded(tile, canvas, at)


def _ink(shade: Shade) -> Shade:
    """A line that is seen on the shade and near to it: pale on black."""
    return shade.mixed(WHITE, 0.55) if shade.lightness < 0.3 else INK


def _placed(part: Part, figure: Figure) -> NDArray[np.float64]:
    """The part's points as fractions of its tile."""
    direction = -1 if figure.is_mirrored else 1
    return (part.points * (direction / TILE, 1 / TILE) + 1) / 2


def _shaded(tile: Image.Image, canvas: Canvas, at: tuple[int, int]) -> Image.Image:
    """The tile with the light and the paint of the style."""
    finish = canvas.finish
    side = tile.width
    mask = tile.getchannel("A")
    pixels = np.asarray(tile.convert("RGB"), dtype=np.float32)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    slope = (ramp[:, None] * 0.75 + ramp[None, :] * 0.35).astype(np.float32)  # lit from above left
    tone = 1 - 0.13 * finish.shading * slope
    if finish.blotches:
        tone += 0.11 * finish.blotches * _window(textures.blotches(canvas.image.size), at, side)
    if finish.edges:
        soft = mask.filter(ImageFilter.BoxBlur(max(canvas.unit * 0.012, 1)))
        tone -= 0.22 * finish.edges * (1 - np.asarray(soft, dtype=np.float32) / 255)
    if finish.speckle:
        dots = _window(textures.grain(canvas.image.size), at, side)
        tone -= 0.16 * finish.speckle * (dots + slope > 0.75)
    pixels = pixels * tone[..., None]
    if finish.strokes:
        bare = np.clip(_window(textures.strokes(canvas.image.size), at, side) * 1.6 - 0.25, 0, 1)
        pixels += (np.float32(245) - pixels) * (0.55 * finish.strokes * bare)[..., None]
    shaded = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    shaded.putalpha(mask)
    return shaded


def _window(texture: textures.Texture, at: tuple[int, int], side: int) -> textures.Texture:
    """The square of a texture that lies under a tile."""
    height, width = texture.shape
    left = min(max(at[0], 0), width - side)
    top = min(max(at[1], 0), height - side)
    return texture[top : top + side, left : left + side]


@dataclass(frozen=True)
class _Halo:
    rgb: RGB
    strength: float


def _halo(light: Light, zone: Zone, shade: Shade) -> _Halo:
    """A soft rim that parts dark from dark and bright from bright."""
    if light is Light.DAY and shade.lightness > 0.85:
        return _Halo((70, 84, 120), 0.3)
    if light is Light.NIGHT:
        return _Halo((255, 244, 222), 0.5 if zone is Zone.SKY else 0.25)
    return _Halo((255, 248, 232), 0.3 if zone is Zone.SKY else 0.12)


def _glow(canvas: Canvas, mask: Image.Image, at: tuple[int, int], halo: _Halo) -> None:
    wide = round(mask.width * 0.25)
    big = Image.new("L", (mask.width + 2 * wide, mask.height + 2 * wide))
    big.paste(mask, (wide, wide))
    small = big.reduce(4) if wide > 40 else big
    blurred = small.filter(ImageFilter.GaussianBlur(wide * 0.4 * small.width / big.width))
    faint = blurred.resize(big.size).point(faded(halo.strength))
    canvas.image.paste(halo.rgb, (at[0] - wide, at[1] - wide), faint)


def _reflect(canvas: Canvas, tile: Image.Image, at: tuple[int, int]) -> None:
    """The figure upside down in the water below it."""
    side = tile.width
    mirrored = tile.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((side, round(side * 0.7)))
    faint = mirrored.getchannel("A").point(faded(0.25))
    canvas.image.paste(mirrored, (at[0], at[1] + round(side * 0.84)), faint)


def _ground_shadow(canvas: Canvas, figure: Figure, *, feet: float) -> None:
    width, height = figure.radius * canvas.unit, figure.radius * canvas.unit * 0.16
    size = (round(width * 2.2), round(height * 2.6))
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse((size[0] * 0.08, size[1] * 0.2, size[0] * 0.92, size[1] * 0.8), 70)
    mask = mask.filter(ImageFilter.BoxBlur(max(height * 0.22, 1)))
    x = round(figure.x * canvas.width - size[0] / 2 + width * 0.1)
    y = round(figure.y * canvas.height + width * feet * 0.97 - size[1] / 2)
    canvas.image.paste((28, 26, 48), (x, y), mask)


def _on_paper(picture: Image.Image, finish: Finish) -> Image.Image:
    """The finished picture with the tooth of its paper."""
    if not finish.grain:
        return picture
    pixels = np.asarray(picture, dtype=np.float32)
    tone = 1 + 0.055 * finish.grain * textures.grain(picture.size)
    if finish.blotches:
        tone += 0.05 * finish.blotches * textures.blotches(picture.size)
    return Image.fromarray(np.clip(pixels * tone[..., None], 0, 255).astype(np.uint8))
