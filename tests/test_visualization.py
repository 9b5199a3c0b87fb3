"""Pictures on a contact sheet: all there, in order, undistorted."""

import numpy as np
import pytest

from toolkit.visualization import SHEET_GAP, contact_sheet


def flat(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_pictures_lie_in_reading_order_and_fill_their_cells():
    sheet = contact_sheet([flat(40, 40, 50 * place) for place in range(1, 6)], columns=3, cell=40)
    step = 40 + SHEET_GAP
    assert sheet.shape == (2 * step + SHEET_GAP, 3 * step + SHEET_GAP, 3)
    for place in range(5):
        top, left = SHEET_GAP + place // 3 * step, SHEET_GAP + place % 3 * step
        assert (sheet[top : top + 40, left : left + 40] == 50 * (place + 1)).all()
    assert (sheet[step + SHEET_GAP :, 2 * step + SHEET_GAP :] == 32).all(), "the last place stays empty"


@pytest.mark.parametrize(("height", "width"), [(20, 80), (80, 20), (500, 300), (1, 400)])
def test_proportions_stay(height, width):
    sheet = contact_sheet([flat(height, width, 255)], cell=80)
    rows, columns = np.nonzero((sheet == 255).all(-1))
    scale = 80 / max(height, width)
    assert rows.max() - rows.min() + 1 == max(1, round(height * scale))
    assert columns.max() - columns.min() + 1 == max(1, round(width * scale))


def test_by_itself_the_sheet_is_about_square_and_large_enough():
    for count in range(1, 30):
        for shape in ((60, 80), (90, 30)):
            sheet = contact_sheet([flat(*shape, 255)] * count, cell=60)
            longer, shorter = max(sheet.shape[:2]), min(sheet.shape[:2])
            assert longer <= 2 * shorter + 60
            assert (sheet == 255).all(-1).sum() == count * round(60 * shape[0] / max(shape)) * round(
                60 * shape[1] / max(shape)
            )


def test_no_picture_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
