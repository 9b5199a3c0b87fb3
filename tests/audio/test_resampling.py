import numpy as np
import pytest

from toolkit.audio.resampling import Resampler, resample


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 16000), (16000, 44100), (8000, 16000), (96000, 16000)])
def test_a_sine_keeps_its_phase(rate_in: int, rate_out: int):
    wav = np.sin(2 * np.pi * 500 * np.arange(rate_in) / rate_in).astype(np.float32)
    expected = np.sin(2 * np.pi * 500 * np.arange(rate_out) / rate_out)
    inner = slice(rate_out // 10, -rate_out // 10)
    np.testing.assert_allclose(resample(wav, rate_in, rate_out)[inner], expected[inner], atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 100, 1237, 30001])
def test_the_length_is_exact_and_blocks_do_not_matter(length: int):
    wav = np.random.default_rng(0).standard_normal((2, length)).astype(np.float32)
    for rate_in, rate_out in ((44100, 16000), (16000, 44100), (96000, 8000), (8000, 96000), (11025, 16000)):
        whole = resample(wav, rate_in, rate_out)
        assert whole.shape == (2, -(-length * rate_out // rate_in))
        resampler = Resampler(rate_in, rate_out, 2)
        parts = [resampler.push(wav[:, start : start + 777]) for start in range(0, length, 777)]
        np.testing.assert_allclose(np.concatenate([*parts, resampler.finish()], 1), whole, atol=1e-5)


def test_equal_rates_change_nothing():
    wav = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    np.testing.assert_array_equal(resample(wav, 16000, 16000), wav)
