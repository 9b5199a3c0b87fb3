"""The rule by which a network that needs the future works through audio that is too long for one pass."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Windows:
    """Overlapping windows; all times in seconds.

    Attributes:
        one_pass: audio up to this length goes through the network whole.
        window: length of one window.
        stride: from the start of one window to the start of the next.
        drop: what the published inference throws away at each inner edge of a window before it joins the rest.
        least: audio shorter than that gets zeros behind it.

    Raises:
        ValueError: windows that leave gaps.
    """

    one_pass: float
    window: float
    stride: float
    drop: float
    least: float = 1.0

    def __post_init__(self):
        if not 0 < self.stride <= self.window or not 0 <= self.drop <= (self.window - self.stride) / 2 + 1e-9:
            raise ValueError(
                "Windows: stride must be in (0, window], drop in [0, (window - stride) / 2], "
                f"got window {self.window}, stride {self.stride}, drop {self.drop}"
            )
