"""What a segmentor says of one picture: a class for every pixel."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from toolkit.errors import UserError
from toolkit.files import write_whole

MOST_CLASSES = 255  # of a mask in one byte a pixel; 255 itself is what data sets leave out


@dataclass
class Segmentation:
    """The class of each pixel of a picture.

    Attributes:
        mask: (height, width) uint8, places in `classes`, in pixels of the picture as it is seen (after EXIF rotation).
        classes: names of the model's classes.
        palette: red, green and blue of each class, in 0..255.
        path: the picture's file; None for an array.
        image: the picture (height, width, 3) uint8 BGR, where it was asked to be kept.
    """

    mask: np.ndarray
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    path: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        return self.mask.shape

    @property
    def areas(self) -> dict[str, int]:
        """Pixels of each class, those of classes that do not occur too."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}

    def save_mask(self, path: str | Path) -> None:
        """Write the mask as a PNG of class numbers with the palette: seen in colours, read as numbers.

        `FolderSegmentation` trains on such files.

        Raises:
            UserError: the name does not end in .png, or the disk refuses.
        """
        if Path(path).suffix.lower() != ".png":
            raise UserError(f"{path}: masks are written as .png")
        picture = Image.fromarray(self.mask)
        values = [value for color in self.palette for value in color]
        picture.putpalette(values + [0] * (768 - len(values)))  # with fewer colours Pillow writes fewer bits a pixel
        with io.BytesIO() as buffer:
            picture.save(buffer, "PNG")
            with buffer.getbuffer() as view:
                write_whole(view, path)

    def draw(self, image: np.ndarray | None = None, opacity: float = 0.5) -> np.ndarray:
        """The picture under the colours of the classes, with their outlines and names, (height, width, 3) uint8 BGR.

        Args:
            image: what to draw on; None for the picture itself, read again from `path` where it was not kept.
            opacity: of the colours, 0 to 1.

        Raises:
            UserError: there is no picture to draw on, or it has another size.
        """
        from toolkit.data.images import picture_for
        from toolkit.visualization import draw_regions

        image = picture_for(image, self.image, self.path)
        if image.shape[:2] != self.size:
            raise UserError(f"draw: the picture is {image.shape[:2]}, the mask {self.size}")
        colors = [color[::-1] for color in self.palette]
        return draw_regions(image, self.mask, colors, self.classes, opacity)
