"""All things of a world in one mesh, and where each of them is in every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from experiments.data.frames import Floats, to_local
from experiments.data.synthetic.mesh import Mesh, build_mesh
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME
from experiments.data.synthetic.placed import Placed
from experiments.data.synthetic.render import Body
from experiments.data.synthetic.scenery import scenery
from experiments.data.synthetic.shapes import thing_of
from experiments.data.synthetic.signals import COLOURS, heads
from experiments.data.synthetic.world import World

_OFF_STAGE = np.array([1e5, 1e5, 0.0])
"""Where lamps are that do not show; beyond every sensor."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The mesh of a log and the poses of its things; frame `n` is at n * 0.5 s."""

    mesh: Mesh
    ego: Floats
    """(frames, 3) rear axle in the log's frame."""
    things: Floats
    """(frames, things, 3) in the log's frame."""
    braking: Floats
    """(frames, things) 1.0 where brake lights are on."""
    blinks: Floats
    """(frames, things) 1.0 where left indicators blink, -1.0 where right ones do."""

    def body(self, frame: int) -> Body:
        """Return where everything is, seen from the ego."""
        ego = self.ego[frame]
        poses = np.round(to_local(self.things[frame], ego), 6)
        return Body(poses, self.braking[frame] > 0.5, self.blinks[frame], float(ego[2]))


def _lights(world: World, num_frames: int) -> tuple[list[Placed], Floats]:
    """Return lights of each colour and their (frames, lights, 3) poses, one colour on stage."""
    light = world.story.light
    if light is None:
        return [], np.zeros((num_frames, 0, 3))
    times = np.arange(num_frames) * STEP_S * STEPS_PER_FRAME
    shown = [light.colour_at(float(time)) for time in times]
    things: list[Placed] = []
    poses = []
    for colour in COLOURS:
        placed = heads(world.layout, light, colour)
        here = np.array([head.pose for head in placed])[None]
        is_on = np.array([now == colour for now in shown])[:, None, None]
        poses.append(np.where(is_on, here, _OFF_STAGE))
        things += placed
    return things, np.concatenate(poses, axis=1)


def set_stage(rng: Generator, world: World) -> Stage:
    """Return the stage of `world` with freshly drawn scenery."""
    frames = slice(None, None, STEPS_PER_FRAME)
    actors, is_dark = world.story.actors, world.weather.is_dark
    ego = np.round(world.layout.ego.at(world.story.ego.s[frames]), 6)
    still = scenery(rng, world.layout, world.reach(), is_dark=is_dark)
    lights, light_poses = _lights(world, len(ego))
    moving = np.stack([actor.poses[frames] for actor in actors], axis=1)
    fixed = np.tile(np.array([thing.pose for thing in still]).reshape(1, -1, 3), (len(ego), 1, 1))
    unlit = np.zeros((len(ego), len(still) + len(lights)))
    things = [p.thing for p in still + lights]
    return Stage(
        mesh=build_mesh(things + [thing_of(actor, is_dark=is_dark) for actor in actors]),
        ego=ego,
        things=np.round(np.concatenate([fixed, light_poses, moving], axis=1), 6),
        braking=np.concatenate([unlit, np.stack([a.brakes[frames] for a in actors], 1)], axis=1),
        blinks=np.concatenate([unlit, np.stack([a.blinks[frames] for a in actors], 1)], axis=1),
    )
