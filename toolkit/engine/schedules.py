"""Does a resumed run go by the schedules of its config? mmengine replaces them by those of the checkpoint."""

from typing import Any

from mmengine.runner import BaseLoop, EpochBasedTrainLoop

MOVING = {"last_step", "_global_step", "_last_value", "best", "num_bad_epochs", "cooldown_counter"}  # as a run goes on

States = list[dict[str, Any]] | dict[str, list[dict[str, Any]]]  # of schedulers, by name where optimizers are several


def same_schedules(own: States, saved: States) -> bool:
    """Whether schedulers with these states give equal rates at each step.

    Raises:
        ValueError: they are not as many, or of other kinds: mmengine would mix them.
    """
    one, other = _settings(own), _settings(saved)
    if len(one) != len(other):
        raise ValueError(f"param_scheduler has {len(one)} in the config and {len(other)} in the checkpoint")
    for number, (a, b) in enumerate(zip(one, other, strict=True)):
        if a.keys() != b.keys():
            raise ValueError(f"param_scheduler[{number}] is of another kind in the checkpoint")
    return one == other


def _settings(states: States) -> list[dict[str, Any]]:
    parts = [states[name] for name in sorted(states)] if isinstance(states, dict) else [states]
    return [{key: value for key, value in state.items() if key not in MOVING} for part in parts for state in part]


def describe_length(loop: BaseLoop, info: dict[str, Any]) -> str:
    """How long a run with `max_epochs` and `max_iters` in `info` is, in the unit of `loop`."""
    if isinstance(loop, EpochBasedTrainLoop):
        return f"{info['max_epochs']} epochs ({info['max_iters']} iterations)"
    return f"{info['max_iters']} iterations"
