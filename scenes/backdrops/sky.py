"""The sky."""

from __future__ import annotations

from scenes.backdrops.view import View
from scenes.colours import WHITE, Shade
from scenes.shapes import smooth
from scenes.vocabulary import Light

# Each sky from its zenith down to the horizon.
SKIES: dict[Light, tuple[tuple[Shade, ...], ...]] = {
    Light.DAY: (
        (Shade(0.76, 0.09, 235), Shade(0.88, 0.05, 225), Shade(0.96, 0.02, 210)),
        (Shade(0.82, 0.07, 205), Shade(0.91, 0.05, 190), Shade(0.97, 0.03, 110)),
        (Shade(0.80, 0.06, 265), Shade(0.90, 0.03, 270), Shade(0.96, 0.025, 60)),
        (Shade(0.90, 0.04, 220), Shade(0.95, 0.03, 100), Shade(0.97, 0.035, 85)),
    ),
    Light.SUNSET: (
        (Shade(0.56, 0.11, 295), Shade(0.72, 0.12, 10), Shade(0.87, 0.10, 70)),
        (Shade(0.62, 0.08, 240), Shade(0.80, 0.07, 30), Shade(0.88, 0.09, 60)),
        (Shade(0.66, 0.12, 345), Shade(0.79, 0.12, 40), Shade(0.91, 0.09, 85)),
        (Shade(0.60, 0.10, 275), Shade(0.76, 0.09, 330), Shade(0.90, 0.06, 40)),
    ),
    Light.NIGHT: (
        (Shade(0.29, 0.08, 272), Shade(0.38, 0.09, 268), Shade(0.52, 0.08, 262)),
        (Shade(0.28, 0.06, 245), Shade(0.38, 0.07, 225), Shade(0.53, 0.07, 205)),
        (Shade(0.29, 0.09, 292), Shade(0.38, 0.10, 300), Shade(0.52, 0.09, 330)),
        (Shade(0.33, 0.04, 265), Shade(0.42, 0.05, 262), Shade(0.55, 0.05, 250)),
    ),
}


def paint(view: View) -> None:
    """A gradient with small lights at night and veils by day."""
    horizon = view.scene.ground.horizon
    depth = [*view.sky] + [view.sky[-1]] * round(len(view.sky) * (1 / horizon - 1))
    view.canvas.fill(depth)
    if view.scene.light is Light.NIGHT:
        view.sprinkle(60, 0.0, horizon, 0.0022, view.sky[-1].mixed(WHITE, 0.65))
    else:
        _veils(view, horizon)


def _veils(view: View, horizon: float) -> None:
    """Long soft stripes of thin cloud."""
    for _ in range(view.random.randint(2, 4)):
        y = view.random.uniform(0.05, horizon * 0.9)
        x, length = view.random.uniform(-0.2, 0.8), view.random.uniform(0.3, 0.7)
        share = y / horizon * (len(view.sky) - 1)
        near = view.sky[min(int(share), len(view.sky) - 2)]
        behind = near.mixed(view.sky[min(int(share) + 1, len(view.sky) - 1)], share % 1)
        lens = [
            (x, y),
            (x + length * 0.3, y - 0.007),
            (x + length * 0.7, y - 0.004),
            (x + length, y),
            (x + length * 0.6, y + 0.007),
            (x + length * 0.2, y + 0.005),
        ]
        view.canvas.polygon(smooth(lens), behind.mixed(WHITE, 0.2))
