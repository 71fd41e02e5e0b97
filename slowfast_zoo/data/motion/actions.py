"""Procedural actors: figures with joints that do things, alone or in pairs, before a camera that may move.

A clip has the labels of three sets at once: what the camera does (``CAMERA_MOTIONS``), what is done
(``ACTIONS``), and how (``MANNERS``). Clip ``i`` of a seed is always the same clip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch

from slowfast_zoo.data.motion.actors import Actor, draw_cast, paste
from slowfast_zoo.data.motion.camera import CAMERA_MOTIONS, Floats, draw_path, fit_view, log_uniform, warp
from slowfast_zoo.data.motion.clips import ASPECTS, MotionClips, moments, rearranged
from slowfast_zoo.data.motion.footage import Frames, record
from slowfast_zoo.data.motion.scenes import Field, Pixels, draw_sprite

Generator = np.random.Generator


@dataclasses.dataclass(frozen=True)
class Pose:
    """A figure at T moments: angles in radians, 0 hanging or upright, forward above 0; lengths in heights."""

    lean: Floats
    shoulders: tuple[Floats, Floats]
    elbows: tuple[Floats, Floats]
    hips: tuple[Floats, Floats]
    knees: tuple[Floats, Floats]
    lift: Floats
    """Upward."""
    travel: Floats
    """Forward."""


Motion = Callable[[Floats, Floats, Generator], Pose]
"""From the phase (T,), radians, and the part of the clip that is over (T,), -0.5 to 0.5."""


def _posed(phase: Floats, **joints: Floats | float | tuple[Floats | float, Floats | float]) -> Pose:
    """A pose that stands still but for the joints that are given."""

    def full(value: Floats | float) -> Floats:
        return np.broadcast_to(np.asarray(value, np.float64), phase.shape)

    values: dict[str, Floats | tuple[Floats, Floats]] = {}
    for field in dataclasses.fields(Pose):
        given = joints.get(field.name, (0.0, 0.0) if field.name[-1] == "s" else 0.0)
        values[field.name] = (full(given[0]), full(given[1])) if isinstance(given, tuple) else full(given)
    return Pose(**values)  # type: ignore[arg-type]


def _gait(speed: float, swing: float, bent: float, bounce: float) -> Motion:
    """Legs and arms that swing against each other while the figure travels."""

    def motion(phase: Floats, done: Floats, rng: Generator) -> Pose:
        legs = swing * np.sin(phase)
        folds = tuple(-bent * np.clip(np.sin(phase + turn), 0, 1) for turn in (0.6, np.pi + 0.6))
        return _posed(
            phase,
            lean=0.15 * speed,
            hips=(legs, -legs),
            knees=(folds[0], folds[1]),
            shoulders=(-0.8 * legs, 0.8 * legs),
            elbows=(bent, bent),
            lift=bounce * np.abs(np.sin(phase)),
            travel=speed * done,
        )

    return motion


def _jump(speed: float) -> Motion:
    def motion(phase: Floats, done: Floats, rng: Generator) -> Pose:
        air = np.clip(np.sin(phase), 0, 1)
        crouch = np.clip(-np.sin(phase), 0, 1)
        return _posed(
            phase,
            hips=(0.7 * crouch, 0.7 * crouch),
            knees=(-1.3 * crouch, -1.3 * crouch),
            shoulders=(1.2 * air, 1.2 * air),
            lift=0.22 * air - 0.08 * crouch,
            travel=speed * done,
        )

    return motion


def _hop(phase: Floats, done: Floats, rng: Generator) -> Pose:
    air = np.abs(np.sin(phase))
    return _posed(phase, hips=(0.9, 0.1), knees=(-1.4, -0.2 * air), lift=0.15 * air, travel=1.2 * done)


def _gallop(phase: Floats, done: Floats, rng: Generator) -> Pose:
    spread = 0.45 * np.abs(np.sin(phase))
    return _posed(
        phase,
        hips=(spread, -spread),
        shoulders=(0.4, -0.4),
        lift=0.1 * np.abs(np.cos(phase)),
        travel=1.4 * done,
    )


def _bend(phase: Floats, done: Floats, rng: Generator) -> Pose:
    down = 0.5 - 0.5 * np.cos(np.clip((done + 0.45) / 0.9, 0, 1) * 2 * np.pi)
    return _posed(
        phase, lean=1.5 * down, shoulders=(1.2 * down, 1.2 * down), knees=(-0.3 * down, -0.3 * down)
    )


def _wave(arms: int) -> Motion:
    def motion(phase: Floats, done: Floats, rng: Generator) -> Pose:
        up, other = 2.5 + 0.5 * np.sin(phase), 0.1 if arms == 1 else -2.5 - 0.5 * np.sin(phase)
        return _posed(phase, shoulders=(up, other), elbows=(0.3 * np.sin(phase), 0.0))

    return motion


def _jack(phase: Floats, done: Floats, rng: Generator) -> Pose:
    spread = 0.5 - 0.5 * np.cos(phase)
    return _posed(
        phase,
        shoulders=(2.8 * spread, -2.8 * spread),
        hips=(0.5 * spread, -0.5 * spread),
        lift=0.1 * np.abs(np.sin(phase)),
    )


def _strike(limb: str) -> Motion:
    """A kick or a punch, again and again."""

    def motion(phase: Floats, done: Floats, rng: Generator) -> Pose:
        out = np.clip(np.sin(phase), 0, 1) ** 2
        if limb == "leg":
            return _posed(phase, hips=(1.5 * out, 0.0), knees=(-0.8 * out * (1 - out), 0.0), lean=-0.2 * out)
        return _posed(phase, shoulders=(0.6 + 0.9 * out, 0.7), elbows=(1.9 * (1 - out), 1.9), lean=0.15 * out)

    return motion


def _clap(phase: Floats, done: Floats, rng: Generator) -> Pose:
    open_ = 0.5 * (1 + np.sin(phase))
    return _posed(phase, shoulders=(1.1 + 0.5 * open_, 1.1 - 0.5 * open_), elbows=(0.4, 0.4))


def _fall(phase: Floats, done: Floats, rng: Generator) -> Pose:
    over = np.clip((done + rng.uniform(0.1, 0.4)) / 0.35, 0, 1) ** 2
    return _posed(
        phase, lean=1.5 * over, lift=-0.42 * over, hips=(0.1, 1.5 * over), shoulders=(1.5 * over, over)
    )


def _sit(down: bool) -> Motion:
    def motion(phase: Floats, done: Floats, rng: Generator) -> Pose:
        part = np.clip((done + 0.3) / 0.6, 0, 1)
        low = part if down else 1 - part
        return _posed(phase, hips=(1.5 * low, 1.5 * low), knees=(-1.5 * low, -1.5 * low), lift=-0.22 * low)

    return motion


def _throw(phase: Floats, done: Floats, rng: Generator) -> Pose:
    swing = np.clip((done + 0.2) / 0.3, 0, 1)
    return _posed(
        phase, shoulders=(-1.5 + 4 * swing, 0.4), elbows=(1.2 * (1 - swing), 0.2), lean=0.3 * swing - 0.1
    )


def _stand(phase: Floats, done: Floats, rng: Generator) -> Pose:
    return _posed(phase, lean=0.03 * np.sin(phase / 3))


ALONE: Mapping[str, Motion] = {
    "stand": _stand,
    "walk": _gait(0.9, 0.5, 0.5, 0.02),
    "run": _gait(2.2, 0.9, 1.3, 0.06),
    "march": _gait(0.0, 0.7, 1.2, 0.02),
    "jump up": _jump(0.0),
    "jump forward": _jump(1.3),
    "hop": _hop,
    "gallop": _gallop,
    "bend": _bend,
    "wave": _wave(1),
    "wave both": _wave(2),
    "jumping jack": _jack,
    "kick": _strike("leg"),
    "punch": _strike("arm"),
    "clap": _clap,
    "fall": _fall,
    "sit down": _sit(True),
    "stand up": _sit(False),
    "throw": _throw,
}
"""What one figure does."""
PAIRS = ("approach", "part", "follow", "hand over", "push", "hug", "strike another")
"""What two figures do."""
ACTIONS = (*ALONE, *PAIRS)
MANNERS = ("fast", "slow", "to the left", "to the right", "two persons", "with an object", "repeated")
"""How it is done, as far as it has such a manner."""
_PACES = {"slow": (0.4, 0.9), "fast": (1.4, 2.8)}
_REPEATED = {
    "walk",
    "run",
    "march",
    "hop",
    "gallop",
    "wave",
    "wave both",
    "jumping jack",
    "kick",
    "punch",
    "clap",
}


class ActionClips(MotionClips):
    """Random clips of actors; the target is float32 of zeros and ones for all of ``labels``.

    Attributes:
        labels: camera motions, actions, manners.
    """

    labels = (*CAMERA_MOTIONS, *ACTIONS, *MANNERS)

    def __getitem__(self, index: int) -> tuple[Frames, torch.Tensor]:  # type: ignore[override]  # several labels
        """The clip, uint8 RGB (num_frames, height, width, 3), and its labels."""
        if not 0 <= index < self.length:
            raise IndexError(f"Clip {index} doesn't exist; there are {self.length}, from 0.")
        rng = np.random.default_rng([self.seed, 2, index])
        action = ACTIONS[index % len(ACTIONS)]
        # Actions are mostly filmed by cameras that stand.
        camera = "static" if rng.random() < 0.5 else str(rng.choice(CAMERA_MOTIONS))
        aspect = float(rng.choice(ASPECTS)) if self.squeezed else self.size[0] / self.size[1]
        seconds = moments(self.num_frames, self.fps, 1, rng)[:, 0]
        scene = rearranged(self._scene(int(rng.integers(self.scenes))), rng)
        path = draw_path(camera, seconds, rng)
        maps = fit_view(path, aspect, scene.shape[:0:-1], log_uniform(rng, 0.45, 1), rng)
        frames = warp(torch.from_numpy(scene).float(), maps, self.size)
        surfaces = self._scene(int(rng.integers(self.scenes)))
        cast, manners = draw_action(action, aspect, surfaces, seconds, rng)
        if rng.random() < 0.3:
            cast = [*draw_cast(path, aspect, surfaces, seconds, rng)[:2], *cast]
        for actor in cast:
            paste(frames, actor, path, aspect)
        target = torch.zeros(len(self.labels), dtype=torch.float32, device="cpu")
        for name in (camera, action, *manners):
            target[self.labels.index(name)] = 1
        return record(frames, self.size, rng), target


def draw_action(
    action: str, aspect: float, surfaces: Pixels, seconds: Floats, rng: Generator
) -> tuple[list[Actor], set[str]]:
    """The actors of an action, farthest first, and the manners that it has.

    Args:
        action: one of ``ACTIONS``.
        aspect: width of the view per height.
        surfaces: uint8 (3, H, W), whose patches clothe the actors.
        seconds: (T,) the moments.
        rng: source of all chance.
    """
    pace = str(rng.choice(["slow", "fast"]))
    span = max(float(np.ptp(seconds)), 1e-9)
    done = (seconds - seconds.min()) / span - 0.5
    phase = 2 * np.pi * (rng.uniform(*_PACES[pace]) * span * (done + 0.5) + rng.random())
    height = rng.uniform(0.35, 0.85) / aspect
    side = int(rng.choice([-1, 1]))
    manners = {pace}
    if action in ALONE:
        pose = ALONE[action](phase, done, rng)
        scale = 1.6 if pace == "fast" else 0.9
        walked = side * scale * height * pose.travel
        if np.ptp(walked) > 0.1:
            manners.add("to the right" if side > 0 else "to the left")
        if action in _REPEATED:
            manners.add("repeated")
        start = rng.uniform(-0.2, 0.2) + walked
        return _figure(pose, start, rng.uniform(-0.1, 0.1) / aspect, height, side, surfaces, rng), manners
    manners.add("two persons")
    poses, places, thing = _pair(action, phase, done, rng)
    middle, ground = rng.uniform(-0.15, 0.15), rng.uniform(-0.1, 0.1) / aspect
    cast: list[Actor] = []
    for pose, place, facing in zip(poses, places, (side, side if action == "follow" else -side), strict=True):
        cast += _figure(pose, middle + side * place * height, ground, height, facing, surfaces, rng)
    if thing is not None:
        manners.add("with an object")
        half = np.full((len(done), 2), rng.uniform(0.03, 0.08) * height)
        center = np.stack([middle + side * thing * height, np.full(len(done), ground - 0.15 * height)], -1)
        cast.append(Actor(draw_sprite(rng, surfaces, "box"), center, half, np.zeros(len(done))))
    return cast, manners


def _pair(
    action: str, phase: Floats, done: Floats, rng: Generator
) -> tuple[tuple[Pose, Pose], tuple[Floats, Floats], Floats | None]:
    """Both poses, where both are in heights from their middle, the second to the front; an object's place."""
    walk = ALONE["walk"](phase, done, rng)
    still = np.zeros_like(done)
    over = np.clip((done + 0.25) / 0.4, 0, 1)
    reach = _posed(phase, shoulders=(1.4 * np.sin(np.pi * np.clip(done + 0.5, 0, 1)), 0.2))
    if action in ("approach", "part"):
        gap = 0.9 - 1.0 * (done if action == "approach" else -done)
        return (walk, walk), (-gap / 2, gap / 2), None
    if action == "follow":
        return (walk, walk), (1.2 * done - 0.5, 1.2 * done + 0.3), None
    if action == "hand over":
        return (reach, reach), (still - 0.45, still + 0.45), -0.3 + 0.6 * over
    if action == "hug":
        arms = _posed(phase, shoulders=(1.3 * over, 1.5 * over))
        return (arms, arms), (-0.6 + 0.45 * over, 0.6 - 0.45 * over), None
    if action == "push":
        arms = _posed(phase, shoulders=(1.5 * over, 1.5 * over), lean=0.3 * over)
        away = np.clip((done - 0.0) / 0.3, 0, 1)
        return (arms, _posed(phase, lean=-0.6 * away)), (still - 0.3, 0.3 + 0.6 * away), None
    hit = ALONE[str(rng.choice(["punch", "kick"]))](phase, done, rng)
    return (hit, _posed(phase, lean=-0.3 * np.clip(np.sin(phase), 0, 1))), (still - 0.35, still + 0.35), None


def _figure(
    pose: Pose, place: Floats, ground: float, height: float, facing: int, surfaces: Pixels, rng: Generator
) -> list[Actor]:
    """Ten parts about the hip: limbs of two each, torso and head; ``facing`` 1 is to the right.

    Lengths are those of a person, in heights; a view from the front foreshortens what goes forward.
    """
    view = facing * (rng.uniform(0.6, 1.0) if rng.random() < 0.8 else rng.uniform(0.2, 0.5))
    hip = np.stack([place, ground - height * (pose.lift - 0.02)], -1)
    clothes = [draw_sprite(rng, surfaces, "ellipse") for _ in range(3)]
    build = rng.uniform(0.8, 1.3)

    def limb(start: Floats, angle: Floats, long: float, wide: float, sprite: Field) -> tuple[Actor, Floats]:
        """A part that hangs from its start, and where it ends."""
        turned = angle * view
        along = np.stack([np.sin(turned), np.cos(turned)], -1) * height
        half = np.broadcast_to(np.array([wide * build, 0.55 * long]) * height, along.shape)
        return Actor(sprite, start + along * long / 2, half, -turned), start + along * long

    torso, neck = limb(hip, np.pi + 0 * pose.lean, 0.3, 0.09, clothes[0])
    tilt = pose.lean * view
    up = np.stack([np.sin(tilt), -np.cos(tilt)], -1) * height
    torso = Actor(torso.sprite, hip + up * 0.15, torso.half, tilt)
    neck = hip + up * 0.28
    head = Actor(clothes[2], hip + up * 0.38, np.full_like(up, 0.065 * height), tilt)
    parts: list[list[Actor]] = []
    for number in (1, 0):  # the far side first
        thigh, knee = limb(hip, pose.hips[number], 0.24, 0.05, clothes[1])
        shin, _ = limb(knee, pose.hips[number] + pose.knees[number], 0.25, 0.04, clothes[1])
        upper, elbow = limb(neck, pose.shoulders[number], 0.17, 0.035, clothes[0])
        fore, _ = limb(elbow, pose.shoulders[number] + pose.elbows[number], 0.17, 0.03, clothes[2])
        parts.append([shin, thigh, fore, upper] if number else [shin, thigh, upper, fore])
    return [*parts[0], torso, head, *parts[1]]
