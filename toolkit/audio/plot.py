"""Spectrograms of files of any length, one above the other."""

from pathlib import Path

import numpy as np

from toolkit.audio.files import SoundReader
from toolkit.plots import png_figure

COLUMNS = 1000  # of the picture, whatever the length
FRAMES = 4  # averaged in a column, spread over its time
RANGE = 90.0  # dB shown below the loudest


def spectrogram(reader: SoundReader) -> np.ndarray:
    """Levels in dB of the mean of the channels: (F, N), F about 23 Hz apart, at most 1000 columns over the file."""
    size = 1 << max(6, round(np.log2(reader.sample_rate / 23)))
    window = np.hanning(size + 1)[:-1]
    columns = max(1, min(COLUMNS, 4 * reader.frames // size))
    power = np.zeros((size // 2 + 1, columns))
    for column in range(columns):
        for part in range(FRAMES):
            start = int((column + part / FRAMES) * reader.frames / columns)
            reader.seek(min(start, max(0, reader.frames - size)))
            frame = reader.read(size).mean(0)
            frame = np.pad(frame, (0, size - len(frame)))
            power[:, column] += np.square(np.abs(np.fft.rfft(frame * window))) / FRAMES
    return 10 * np.log10(power / window.sum() ** 2 * 4 + 1e-20)


def draw_spectrograms(titles: list[str], files: list[Path], path: Path) -> None:
    """Draw the spectrograms of `files` with one scale of levels into the PNG `path`."""
    levels, extents = [], []
    for file in files:
        with SoundReader(file) as reader:
            levels.append(spectrogram(reader))
            extents.append((0, reader.seconds, 0, reader.sample_rate / 2000))
    top = max(float(level.max()) for level in levels)
    with png_figure(path, 11, 3 * len(files), 100) as figure:
        rows = figure.subplots(len(files), sharex=True, squeeze=False)[:, 0]
        for axes, title, level, extent in zip(rows, titles, levels, extents, strict=True):
            picture = axes.imshow(
                level, origin="lower", aspect="auto", extent=extent, vmin=top - RANGE, vmax=top, cmap="magma"
            )
            axes.set_title(title)
            axes.set_ylabel("kHz")
        rows[-1].set_xlabel("s")
        figure.colorbar(picture, ax=list(rows), label="dB")
