"""Skies, lands and waters behind the figures."""

from __future__ import annotations

from random import Random

from scenes.backdrops import horizon, land, sky, water
from scenes.backdrops.view import View
from scenes.canvas import Canvas
from scenes.colours import WHITE
from scenes.scene import Scene
from scenes.vocabulary import Place


def view_of(scene: Scene, canvas: Canvas) -> View:
    random = Random(f"{scene.seed}/backdrop")
    shades = random.choice(sky.SKIES[scene.light])
    return View(scene, canvas, random, [canvas.tinted(shade) for shade in shades])


def paint_far(view: View) -> None:
    """The sky and what stands at the horizon. Mountains come next."""
    sky.paint(view)
    horizon.paint(view)


def paint_near(view: View) -> None:
    """Land and water, the farther one first."""
    ground = view.scene.ground
    is_sea = view.scene.place is Place.SEA
    first, second = (water.paint, land.paint) if is_sea else (land.paint, water.paint)
    first(view, ground.horizon, ground.shore or 1.0)
    if ground.shore is not None:
        second(view, ground.shore, 1.0)
    land.paint_blades(view)
    if view.scene.place is Place.SNOW:
        view.sprinkle(70, 0.0, 1.0, 0.0038, view.canvas.tinted(WHITE))
