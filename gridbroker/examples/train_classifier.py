"""Trains a small neural network to tell two intertwined spirals apart: plain Python, real gradients, deterministic to the last bit.

    python -m gridbroker.examples.train_classifier --steps 400 --checkpoint-every 50

Interrupted anywhere and resumed from its last checkpoint it ends with the same weights, bit for bit, as if it had run through:
the checkpoint holds the weights, the optimiser's momentum and the state of the random generator that picks the batches.
"""

import argparse
import hashlib
import json
import math
import random
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gridbroker_job import Job

HIDDEN = 24
POINTS_PER_CLASS = 150
TURNS = 1.25
NOISE = 0.03
BATCH = 16
LEARNING_RATE = 0.08
MOMENTUM = 0.9
STATE_FILE = "state.json"
REPORT_EVERY = 20

Point = tuple[float, float]
Example = tuple[Point, float]


@dataclass(slots=True)
class State:
    """All that the next step depends on."""

    step: int
    weights: list[float]
    """Per hidden unit: two input weights, bias, output weight; the output's bias last."""
    velocity: list[float]
    sampler: random.Random

    @classmethod
    def fresh(cls, seed: int) -> "State":
        generator = random.Random(seed)
        weights = [generator.gauss(0, 1.5) for _ in range(4 * HIDDEN)] + [0.0]
        return cls(0, weights, [0.0] * len(weights), generator)

    @classmethod
    def load(cls, checkpoint: Path) -> "State":
        saved = json.loads((checkpoint / STATE_FILE).read_text())
        sampler = random.Random()
        version, internal, gauss_next = saved["sampler"]
        sampler.setstate((version, tuple(internal), gauss_next))
        return cls(saved["step"], saved["weights"], saved["velocity"], sampler)

    def save(self, folder: Path) -> None:
        # repr of a float round-trips, so JSON keeps every bit.
        content = {"step": self.step, "weights": self.weights, "velocity": self.velocity, "sampler": self.sampler.getstate()}
        (folder / STATE_FILE).write_text(json.dumps(content))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(struct.pack(f"<{len(self.weights)}d", *self.weights)).hexdigest()


def spirals(seed: int) -> list[Example]:
    """Two spirals, one per class."""
    generator = random.Random(f"spirals {seed}")
    examples: list[Example] = []
    for label in (0.0, 1.0):
        for n in range(POINTS_PER_CLASS):
            radius = 0.15 + 0.85 * n / POINTS_PER_CLASS
            angle = TURNS * 2 * math.pi * n / POINTS_PER_CLASS + math.pi * label
            x = radius * math.cos(angle) + generator.gauss(0, NOISE)
            y = radius * math.sin(angle) + generator.gauss(0, NOISE)
            examples.append(((3 * x, 3 * y), label))
    return examples


def train_step(state: State, examples: Sequence[Example]) -> None:
    """One step of gradient descent with momentum on a random batch."""
    batch = state.sampler.sample(examples, BATCH)
    gradient = [0.0] * len(state.weights)
    for point, label in batch:
        add_gradient(state.weights, point, label, gradient)
    for n, slope in enumerate(gradient):
        state.velocity[n] = MOMENTUM * state.velocity[n] - LEARNING_RATE * slope / BATCH
        state.weights[n] += state.velocity[n]
    state.step += 1


def predict(weights: Sequence[float], point: Point) -> tuple[float, list[float]]:
    """Probability of class 1, and the hidden units' outputs."""
    x, y = point
    hidden = [math.tanh(weights[4 * h] * x + weights[4 * h + 1] * y + weights[4 * h + 2]) for h in range(HIDDEN)]
    logit = weights[-1] + sum(weights[4 * h + 3] * output for h, output in enumerate(hidden))
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit)))), hidden


def add_gradient(weights: Sequence[float], point: Point, label: float, gradient: list[float]) -> None:
    """Adds the gradient of the cross-entropy of one example."""
    probability, hidden = predict(weights, point)
    error = probability - label
    gradient[-1] += error
    for h, output in enumerate(hidden):
        inner = error * weights[4 * h + 3] * (1 - output * output)
        gradient[4 * h] += inner * point[0]
        gradient[4 * h + 1] += inner * point[1]
        gradient[4 * h + 2] += inner
        gradient[4 * h + 3] += error * output


def evaluate(weights: Sequence[float], examples: Sequence[Example]) -> tuple[float, float]:
    """(mean cross-entropy, accuracy)."""
    loss = right = 0.0
    for point, label in examples:
        probability, _ = predict(weights, point)
        loss -= math.log(max(1e-12, probability if label else 1 - probability))
        right += (probability >= 0.5) == (label == 1.0)
    return loss / len(examples), right / len(examples)


def main() -> None:
    options = parse_options()
    job = Job(checkpoint_dir=options.checkpoint_dir)
    examples = spirals(options.seed)
    state = State.load(job.resume_from) if job.resume_from else State.fresh(options.seed)
    print(f"{'resuming' if job.resume_from else 'training'} from step {state.step} of {options.steps}")
    started_s, first = time.monotonic(), state.step
    for step in job.steps(options.steps, start=state.step):
        train_step(state, examples)
        job.progress(step, options.steps)
        if step % REPORT_EVERY == 0:
            loss, accuracy = evaluate(state.weights, examples)
            print(f"step {step}: loss {loss:.4f}, accuracy {accuracy:.3f}")
        if job.should_checkpoint(step, options.checkpoint_every):
            job.commit(step, state.save)
        # Against the start, not the step before, so that the pace does not drift.
        job.wait(max(0.0, started_s + (step - first) * options.step_s - time.monotonic()))
    if job.should_stop and state.step < options.steps:
        job.commit(state.step, state.save)
        print(f"stopped after step {state.step}, checkpointed")
        job.exit_if_stopped()
    loss, accuracy = evaluate(state.weights, examples)
    print(f"done after step {state.step}: loss {loss:.4f}, accuracy {accuracy:.3f}, weights sha256 {state.sha256}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains a small neural network on two spirals.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step-s", type=float, default=0.0, help="least wall seconds per step, so that a run takes a known time")
    parser.add_argument("--checkpoint-every", type=int, default=50, help="steps between two checkpoints; 0: only when asked")
    parser.add_argument("--checkpoint-dir", type=Path, default=None, help="where to keep checkpoints outside Gridbroker")
    return parser.parse_args()


if __name__ == "__main__":
    main()
