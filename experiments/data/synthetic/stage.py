"""All things of a world in one mesh, and where each of them is in every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from experiments.data.frames import Floats, to_local
from experiments.data.synthetic.mesh import Mesh, build_mesh, thing_of
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME
from experiments.data.synthetic.render import Body
from experiments.data.synthetic.scenery import Placed, scenery, traffic_lights
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

    def body(self, frame: int) -> Body:
        """Return where everything is, seen from the ego."""
        ego = self.ego[frame]
        poses = np.round(to_local(self.things[frame], ego), 6)
        return Body(poses, self.braking[frame] > 0.5, float(ego[2]))


def _lights(world: World, num_frames: int) -> tuple[list[Placed], Floats]:
    """Return red and green lamps and their (frames, lamps, 3) poses, one colour on stage."""
    red_until = world.story.red_until_s
    if red_until is None:
        return [], np.zeros((num_frames, 0, 3))
    red, green = (traffic_lights(world.layout, is_red) for is_red in (True, False))
    times = np.arange(num_frames) * STEP_S * STEPS_PER_FRAME
    is_red = (times < red_until)[:, None, None]
    here = np.array([lamp.pose for lamp in red])[None]
    poses = np.concatenate(
        [np.where(is_red, here, _OFF_STAGE), np.where(is_red, _OFF_STAGE, here)], axis=1
    )
    return red + green, poses


def set_stage(rng: Generator, world: World) -> Stage:
    """Return the stage of `world` with freshly drawn scenery."""
    frames = slice(None, None, STEPS_PER_FRAME)
    actors = world.story.actors
    ego = np.round(world.layout.ego.at(world.story.ego.s[frames]), 6)
    still = scenery(rng, world.layout, world.reach())
    lamps, lamp_poses = _lights(world, len(ego))
    moving = np.stack([actor.poses[frames] for actor in actors], axis=1)
    fixed = np.tile(np.array([thing.pose for thing in still]).reshape(1, -1, 3), (len(ego), 1, 1))
    brakes = np.zeros((len(ego), len(still) + len(lamps) + len(actors)))
    brakes[:, len(still) + len(lamps) :] = np.stack([a.brakes[frames] for a in actors], axis=1)
    return Stage(
        mesh=build_mesh([p.thing for p in still + lamps] + [thing_of(actor) for actor in actors]),
        ego=ego,
        things=np.round(np.concatenate([fixed, lamp_poses, moving], axis=1), 6),
        braking=brakes,
    )
